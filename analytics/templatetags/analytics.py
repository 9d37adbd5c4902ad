"""What the pages of this app draw."""

from decimal import Decimal

from django import template
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

register = template.Library()


@register.filter
def speed(tenths: int) -> str:
    """Tenths of tokens a second as "41.5 tok/s"."""
    return _("%(number)s tok/s") % {"number": number_format(Decimal(tenths) / 10, 1, use_l10n=True)}


@register.simple_tag
def timing_bar(first_token_ms: int | None, latency_ms: int) -> SafeString:
    """How the time of a call was spent, as one bar. The words stand under it, so it is hidden from readers."""
    first = 100.0 if first_token_ms is None or not latency_ms else min(first_token_ms * 100 / latency_ms, 100.0)
    return format_html(
        '<svg class="parts" height="12" aria-hidden="true"><rect class="s1" width="{}%" height="12" rx="2"/>'
        '<rect class="s6" x="{}%" width="{}%" height="12" rx="2"/></svg>',
        *(f"{value:.1f}" for value in (first, first, 100 - first)),
    )
