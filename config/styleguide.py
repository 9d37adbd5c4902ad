"""The style guide: every component in both themes and its states. Not translated: it is for those who write pages."""

from typing import Any

from django import forms
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import format_html
from django.views.decorators.http import require_safe

from config import snippets
from config.context import THEMES
from config.templatetags.site import ICONS
from marketplace.models import Category

LONG = "A name that is far too long for the width of a card, and has one_word_that_nobody_would_think_of_breaking"
DAYS = [f"{day} Oct" for day in range(1, 31)]
HOURS = [f"{hour:02}:00" for hour in range(24)]


class ExampleForm(forms.Form):
    """Every kind of field."""

    name = forms.CharField(label="Name", help_text="What you will recognise it by.")
    limit = forms.DecimalField(label="Monthly limit", required=False, help_text="Requests stop at this amount.")
    category = forms.ChoiceField(label="Task", choices=Category.choices)
    mode = forms.ChoiceField(label="Mode", widget=forms.RadioSelect, choices=[("live", "Live"), ("test", "Test")])
    supports = forms.MultipleChoiceField(
        label="Supports",
        widget=forms.CheckboxSelectMultiple,
        choices=[("streaming", "Streaming"), ("tools", "Tools")],
        required=False,
    )
    text = forms.CharField(label="Text", widget=forms.Textarea)
    file = forms.FileField(label="File", required=False)
    stream = forms.BooleanField(label="Stream the answer", required=False)


class CardsForm(forms.Form):
    plan = forms.ChoiceField(
        label="Plan",
        widget=forms.RadioSelect,
        choices=[
            (name, format_html('<b>{}</b><span class="small muted">{}</span>', title, words))
            for name, title, words in [("go", "Pay as you go", "No fee, no limit."), ("team", "Team", "$40 a month.")]
        ],
    )


def side(theme: str) -> dict[str, Any]:
    """What differs between the two halves of the page: ids, which must be unique."""
    disabled = ExampleForm(prefix=f"{theme}-off", initial={"name": "production", "mode": "live", "stream": True})
    for field in disabled.fields.values():
        field.disabled = True
    return {
        "theme": theme,
        "form": ExampleForm(prefix=theme),
        "wrong": ExampleForm({f"{theme}-wrong-limit": "x", f"{theme}-wrong-name": LONG}, prefix=f"{theme}-wrong"),
        "disabled": disabled,
        "cards": CardsForm(prefix=f"{theme}-cards", initial={"plan": "go"}),
        "facet": {
            "label": "Task",
            "name": "category",
            "is_open": True,
            "options": [
                {"id": f"{theme}-chat", "label": "Chat", "value": "chat", "count": 48, "is_chosen": True},
                {"id": f"{theme}-long", "label": LONG, "value": "long", "count": 0},
            ],
        },
    }


EXAMPLES: dict[str, Any] = {
    "long": LONG,
    "icons": list(ICONS),
    "crumbs": [{"label": "Models", "href": "/models"}, {"label": "acme", "href": "#acme"}, {"label": "aurora-70b"}],
    "items": [
        {"label": "Overview", "href": "#overview", "current": True, "count": None},
        {"label": "Versions", "href": "#versions", "count": 4},
        {"label": "Reviews", "href": "#reviews", "count": 128},
    ],
    "menu": {
        "label": "All models",
        "is_on": False,
        "items": [{"label": "All models", "href": "#all", "current": True}, {"label": LONG, "href": "#long"}],
    },
    "cells": [
        {"label": "Input", "per": "per M", "value": "$0.40"},
        {"label": "Output", "per": "per M", "value": "$1.20"},
        {"label": "Context", "value": "128k"},
        {"label": "First token", "per": "p50", "value": "412", "unit": "ms"},
        {"label": "Throughput", "value": "86", "unit": "tok/s"},
        {"label": "Uptime", "per": "30 d", "value": "99.93", "unit": "%"},
        {"label": "License", "value": "Apache-2.0"},
    ],
    "pairs": [
        {"label": "Publisher", "value": "Acme Research", "href": "#acme"},
        {"label": "Version", "value": "2026-10-02", "mono": True},
        {"label": "Slug", "value": LONG},
    ],
    "steps": [
        {"title": "Reached the endpoint", "text": "TLS 1.3, public address", "state": "done", "note": "212 ms"},
        {"title": "Streamed the same answer", "text": "The last chunk has no usage.", "state": "fail", "note": "1.8 s"},
        {"title": "Make a key", "text": "Programs call models with it.", "href": "#key", "link": "Make a key"},
        {"title": "Held under 10 parallel requests", "text": "Not run yet", "current": True},
    ],
    "days": ["none"] * 6 + ["ok"] * 60 + ["warn", "bad"] + ["ok"] * 22,
    "values": [3, 4, 8, 5, 9, 12, 7, 11],
    "broken": [3, 4, None, None, 9, 12, 7, 11],
    "metrics": [
        {"label": "Spend", "href": "#spend", "current": True},
        {"label": "Tokens", "href": "#tokens"},
        {"label": "Requests", "href": "#requests"},
    ],
    "dates": DAYS,
    "spend": [
        ("acme/aurora-70b", [20 + day * 7 % 13 for day in range(30)]),
        ("tern/code-15b", [8 + day * 5 % 7 for day in range(30)]),
        ("nordlys/embed-multi", [3 + day * 3 % 4 for day in range(30)]),
    ],
    "hours": HOURS,
    "speed": [
        ("p50", [None if 9 <= hour < 12 else 380 + hour * 37 % 60 for hour in range(24)]),
        ("p95", [None if 9 <= hour < 12 else 700 + hour * 53 % 240 for hour in range(24)]),
        ("p99", [None if 9 <= hour < 12 and hour != 10 else 1200 + hour * 71 % 500 for hour in range(24)]),
    ],
    "edges": ["0", "100 ms", "200 ms", "400 ms", "800 ms", "1.6 s", ""],
    "durations": [("Requests", [120, 840, 2310, 960, 210, 12])],
    "one": [("Requests", [3])],
    "many": [(f"{LONG} {number}", [number + day * number % 5 for day in range(30)]) for number in range(1, 7)],
    "none": [("p50", [None] * 24)],
}


@require_safe
def components(request: HttpRequest) -> HttpResponse:
    """Where to look before making a new component. In DEBUG only."""
    if not settings.DEBUG:
        raise Http404
    tabs = snippets.call_tabs(settings.SITE_URL, "acme/aurora-70b", Category.CHAT)
    context = {**EXAMPLES, "tabs": tabs, "sides": [side(theme) for theme in THEMES]}
    return render(request, "config/components.html", context)
