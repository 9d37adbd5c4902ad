"""What reviews lend to pages."""

from __future__ import annotations

from datetime import timedelta

from django import template
from django.utils.formats import number_format
from django.utils.timesince import timesince

from accounts.models import Organization
from common import clock
from reviews.services import COUNTED, first_reply_seconds

register = template.Library()


@register.filter
def calls_words(calls: int) -> str:
    """How many calls a review rests on: "214", "100,000+" where no further was counted."""
    return f"{number_format(calls, force_grouping=True)}{'+' if calls >= COUNTED else ''}"


@register.simple_tag
def first_reply(publisher: Organization) -> str:
    """How long the publisher takes to reply to a review, as a median: "3 hours". "" where too few replies say so."""
    seconds = first_reply_seconds(publisher)
    if seconds is None:
        return ""
    now = clock.now()
    return timesince(now - timedelta(seconds=max(seconds, 60)), now, depth=1)
