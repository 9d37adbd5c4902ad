"""What pages show of uploaded files."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import Organization
from marketplace.models import AIModel
from media.models import File

register = template.Library()
LARGEST_THUMBNAIL = 960


@register.inclusion_tag("media/gallery.html")
def model_gallery(ai_model: AIModel) -> dict[str, Any]:
    """The screenshots and example files of a model; one query. Nothing is shown where there are none."""
    rows = list(File.objects.filter(ai_model=ai_model).ready().exclude(kind=File.Kind.LOGO))
    return {
        "screenshots": [row for row in rows if row.kind == File.Kind.SCREENSHOT],
        "examples": [row for row in rows if row.kind == File.Kind.EXAMPLE],
    }


@register.simple_tag
def publisher_logo(organization: Organization, instead: str = "") -> SafeString | str:
    """The publisher's own logo at 56 px; `instead` where there is none."""
    row = File.objects.filter(organization=organization, ai_model=None).ready().first()
    if row is None:
        return instead
    return format_html('<img class="tile lg" src="{}" width="56" height="56" alt="">', row.url_of("128.webp"))


@register.filter
def href(file: File) -> str:
    """Where it is: a picture in its largest width."""
    return file.url_of(file.parts[-1])


@register.filter
def preview(file: File) -> str:
    """A picture as wide as a column at most."""
    fitting = [part for part in file.parts if int(part.partition(".")[0]) <= LARGEST_THUMBNAIL]
    return file.url_of((fitting or file.parts[:1])[-1])


@register.filter
def sources(file: File) -> str:
    """Its widths, for `srcset`."""
    return ", ".join(f"{file.url_of(part)} {part.partition('.')[0]}w" for part in file.parts)
