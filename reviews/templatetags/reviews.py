"""What reviews lend to pages."""

from __future__ import annotations

from django import template
from django.utils.formats import number_format

from reviews.services import COUNTED

register = template.Library()


@register.filter
def calls_words(calls: int) -> str:
    """How many calls a review rests on: "214", "100,000+" where no further was counted."""
    return f"{number_format(calls, force_grouping=True)}{'+' if calls >= COUNTED else ''}"
