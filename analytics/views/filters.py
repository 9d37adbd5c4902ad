"""What the usage page and the request log have in common: their period, and the models and keys to choose from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Organization
from analytics.forms import CUSTOM, DEFAULT_RANGE, Address, DatesForm, Span
from analytics.querysets import PLAYGROUND, Selection
from apikeys.models import APIKey
from common.ids import encode
from marketplace.models import AIModel

RANGE_WORDS = {
    "24h": gettext_lazy("24 h"),
    "7d": gettext_lazy("7 d"),
    "30d": gettext_lazy("30 d"),
    CUSTOM: gettext_lazy("Custom"),
}


def parameters(span: Span, selection: Selection, dates: DatesForm) -> dict[str, str]:
    """What the address says, without what is so anyway."""
    ids = {"model": selection.model and encode("mdl", selection.model), "key": selection.key}
    if isinstance(selection.key, UUID):
        ids["key"] = encode("key", selection.key)
    found = {"range": "" if span.range == DEFAULT_RANGE else span.range, **ids}
    if dates.is_bound and span.range == CUSTOM:
        found |= {"from": dates.cleaned_data["from"].isoformat(), "to": dates.cleaned_data["to"].isoformat()}
    return {name: value for name, value in found.items() if value}


def range_links(page: Address, span: Span, dates: DatesForm) -> list[dict[str, Any]]:
    """24 h, 7 d, 30 d and dates of one's own; wrong dates are custom too, though another period is shown."""
    chosen = CUSTOM if dates.errors else span.range
    return [
        {
            "label": words,
            "href": page.link(**{"range": "" if name == DEFAULT_RANGE else name, "from": "", "to": ""}),
            "current": name == chosen,
        }
        for name, words in RANGE_WORDS.items()
    ]


def model_names(ids: Iterable[UUID]) -> dict[UUID, str]:
    """“publisher/name” of these models, in the order of the names."""
    rows = AIModel.objects.filter(id__in=set(ids)).order_by("publisher__slug", "slug")
    return {id: f"{publisher}/{slug}" for id, publisher, slug in rows.values_list("id", "publisher__slug", "slug")}


def key_names(organization: Organization) -> dict[UUID, str]:
    """The organization's keys, revoked ones too, newest first; of one name, told apart by their ends."""
    rows = list(APIKey.objects.of_organization(organization).order_by("-id").values_list("id", "name", "last_four"))
    times = Counter(name for _id, name, _last in rows)
    return {id: f"{name} (…{last})" if times[name] > 1 else name for id, name, last in rows}


def key_options(keys: Mapping[UUID, str]) -> dict[str, str]:
    return {PLAYGROUND: _("Playground (no key)")} | {encode("key", id): name for id, name in keys.items()}
