"""What the address of a page asks for: a period, some of the calls, and how to show them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from django import forms
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from analytics.querysets import PLAYGROUND, Period, Selection
from common.ids import decode

#: Days, the present one included; "24h" are hours, the present one included.
RANGES = {"24h": 1, "7d": 7, "30d": 30}
DEFAULT_RANGE, CUSTOM = "30d", "custom"
MAX_DAYS = 366
FIRST_DAY = date(2000, 1, 1)
#: Up to so many days are cut into hours, and into days; the rest into months.
HOURS_UP_TO, DAYS_UP_TO = 2, 92


class DayInput(forms.DateInput):
    """The browser's own choice of a day, which takes nothing else for its value."""

    input_type = "date"

    def format_value(self, value: Any) -> str | None:
        text = super().format_value(value)
        return text if text and re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None


class DatesForm(forms.Form):
    """From one day to another, both included, in the organization's calendar."""

    def __init__(self, data: Mapping[str, Any] | None, *, today: date, is_chosen: bool = True) -> None:
        initial = {"from": today - timedelta(days=RANGES[DEFAULT_RANGE] - 1), "to": today} if is_chosen else {}
        super().__init__(data, initial=initial)
        self.today = today
        for name, label in (("from", gettext_lazy("First day")), ("to", gettext_lazy("Last day"))):
            widget = DayInput(format="%Y-%m-%d", attrs={"min": FIRST_DAY, "max": today})
            self.fields[name] = forms.DateField(
                label=label, widget=widget, required=False, input_formats=["%Y-%m-%d"], localize=False
            )

    def clean(self) -> dict[str, Any]:
        """Where one day is missing, the last is today, and the first so that it is the usual period."""
        given = self.cleaned_data
        if self.errors:
            return given
        last = given["to"] or self.today
        first = given["from"] or date.fromordinal(max(last.toordinal() - RANGES[DEFAULT_RANGE] + 1, 1))
        if first < FIRST_DAY or first > self.today:
            name = "from" if given["from"] else "to"
            self.add_error(name, _("Choose a day between %(first)s and today.") % {"first": _day(FIRST_DAY)})
        elif last < first:
            self.add_error("to", _("The last day is before the first."))
        elif (last - first).days >= MAX_DAYS:
            self.add_error("to", _("At most %(days)s days at a time.") % {"days": MAX_DAYS})
        return {"from": first, "to": last}


@dataclass(frozen=True, slots=True)
class Span:
    """A period with its words and the equally long one before it."""

    range: str
    period: Period
    before: Period
    days: int

    @property
    def words(self) -> str:
        """“the last 7 days”, “1 Nov 2026 to 5 Nov 2026”."""
        if self.range == "24h":
            return _("the last 24 hours")
        if self.range != CUSTOM:
            return ngettext("the last %(days)s day", "the last %(days)s days", self.days) % {"days": self.days}
        first = self.period.start.astimezone(self.period.zone).date()
        if self.days == 1:
            return _day(first)
        last = first + timedelta(days=self.days - 1)
        return _("%(first)s to %(last)s") % {"first": _day(first), "last": _day(last)}

    @property
    def before_words(self) -> str:
        if self.range == "24h":
            return _("the 24 hours before")
        return ngettext("the day before", "the %(days)s days before", self.days) % {"days": self.days}


def read_span(data: Mapping[str, str], *, now: datetime, zone: ZoneInfo) -> tuple[Span, DatesForm]:
    """The period that an address names. The form holds what is wrong with its dates; the period is the usual one then.

    Days and hours are whole but for the present one, so that a chart has no stump at its beginning.
    """
    today = now.astimezone(zone).date()
    is_dated = bool(data.get("from") or data.get("to"))
    chosen = data.get("range", "")
    form = DatesForm(data if is_dated else None, today=today, is_chosen=chosen == CUSTOM)
    if is_dated or chosen == CUSTOM:
        if is_dated and not form.is_valid():
            return _last_days(DEFAULT_RANGE, now, zone), form
        dates = form.cleaned_data if is_dated else form.initial
        return _dates(dates["from"], dates["to"], now, zone), form
    if chosen == "24h":
        hour = now.astimezone(zone).replace(minute=0, second=0, microsecond=0)
        start, day = hour.astimezone(UTC) - timedelta(hours=23), timedelta(hours=24)
        return Span(chosen, Period(start, now, zone, "hour"), Period(start - day, now - day, zone, "total"), 1), form
    return _last_days(chosen if chosen in RANGES else DEFAULT_RANGE, now, zone), form


def _last_days(name: str, now: datetime, zone: ZoneInfo) -> Span:
    today = now.astimezone(zone).date()
    return _span(name, today - timedelta(days=RANGES[name] - 1), RANGES[name], now, zone)


def _dates(first: date, last: date, now: datetime, zone: ZoneInfo) -> Span:
    days = (last - first).days + 1
    return _span(CUSTOM, first, days, min(now, _midnight(first + timedelta(days=days), zone)), zone)


def _span(name: str, first: date, days: int, end: datetime, zone: ZoneInfo) -> Span:
    granularity = "hour" if days <= HOURS_UP_TO else "day" if days <= DAYS_UP_TO else "month"
    end_before = end.astimezone(zone) - timedelta(days=days)  # the same time of day there
    return Span(
        name,
        Period(_midnight(first, zone), end, zone, granularity),
        Period(_midnight(first - timedelta(days=days), zone), end_before.astimezone(UTC), zone, "total"),
        days,
    )


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, tzinfo=zone)


def _day(day: date) -> str:
    return date_format(day, "j M Y")


def read_selection(data: Mapping[str, str]) -> Selection:
    """The calls that an address names; a value that names nothing is as if it were not there."""
    key: UUID | str | None = PLAYGROUND if data.get("key") == PLAYGROUND else read_id("key", data.get("key"))
    status = data.get("status", "")
    return Selection(
        model=read_id("mdl", data.get("model")),
        key=key,
        status=status if re.fullmatch("[a-z_]{1,40}|[1-5][0-9][0-9]", status) else "",
    )


def read_id(prefix: str, text: str | None) -> UUID | None:
    try:
        return decode(prefix, text or "")
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Address:
    """The parameters that a page goes by, to link to the page with a few of them changed."""

    path: str
    parameters: Mapping[str, str]

    def link(self, fragment: str = "", **changes: str) -> str:
        """The same page with these parameters; an empty one is left out."""
        kept = {name: value for name, value in {**self.parameters, **changes}.items() if value}
        query = f"?{urlencode(kept)}" if kept else ""
        return f"{self.path}{query}{fragment and f'#{fragment}'}"

    def hidden(self, *given: str) -> list[tuple[str, str]]:
        """What a form carries along beside its own fields."""
        return [(name, value) for name, value in self.parameters.items() if value and name not in given]
