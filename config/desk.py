"""What staff see first: today against last week, what waits for them, and whether everything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import wraps
from typing import Any

from allauth.account.decorators import secure_admin_login
from django.conf import settings
from django.contrib.admin import AdminSite, ModelAdmin
from django.core.cache import cache
from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import Budget, DeveloperRequest, User
from common import clock
from common.ids import first_uuid
from common.staff import CEILING
from config.staff import second_factor_step
from config.staff_log import recorded
from config.templatetags.site import count, money, percent
from gateway.models import Invocation, SweepMark
from marketplace.models import AIModel
from marketplace.services import MODERATE
from notifications.models import Message
from observability.services import Check, check_readiness
from reviews.models import Report
from reviews.services import DECIDE

FIGURES_SECONDS = 60  # a busy site has millions of calls a day, and staff reload
STUCK_AFTER = timedelta(minutes=10)
LATE_AFTER = timedelta(minutes=5)  # mail is looked for every five seconds, calls are swept every minute


class StaffSite(AdminSite):
    index_title = gettext_lazy("Administration")

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        super().register(model_or_iterable, recorded(admin_class or ModelAdmin), **options)

    def index(self, request: HttpRequest, extra_context: Mapping[str, Any] | None = None) -> Any:
        return super().index(request, {**desk(request.user), **(extra_context or {})})

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        inner = super().admin_view(view, cacheable)

        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            step = second_factor_step(request) if self.has_permission(request) else None
            return inner(request, *args, **kwargs) if step is None else step

        return guarded

    def login(self, request: HttpRequest, extra_context: Mapping[str, Any] | None = None) -> HttpResponse:
        """By the site's own log-in, which asks for a second factor."""
        answer: HttpResponse = secure_admin_login(super().login)(request, extra_context=extra_context)
        return answer

    def password_change(self, request: HttpRequest, extra_context: Mapping[str, Any] | None = None) -> Any:
        """On the site's own page, which ends tokens too and tells the person by mail."""
        return HttpResponseRedirect(resolve_url("account_change_password"))


@dataclass(frozen=True, slots=True)
class Queue:
    """Work that waits, and the list to do it in. Whoever may not do it is not told. right: what doing it takes."""

    label: str
    count: int
    page: str  # of the admin
    query: str
    right: str

    @property
    def href(self) -> str:
        return f"{reverse(f'admin:{self.page}_changelist')}?{self.query}"

    @property
    def words(self) -> str:
        return _("%(count)s or more") % {"count": count(CEILING)} if self.count == CEILING else count(self.count)

    def is_open_to(self, user: Any) -> bool:
        app, _separator, model = self.page.partition("_")
        return bool(user.has_perm(f"{app}.view_{model}") and user.has_perm(self.right))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the running site, and how it is."""

    name: str
    is_ok: bool
    words: str


def desk(user: Any) -> dict[str, Any]:
    """For the template of the first page: `tiles`, `queues`, `parts`, and the `zone` in which it is today."""
    zone = timezone.get_current_timezone()
    now = clock.now()
    if (measured := cache.get(f"staff:{zone}")) is None:
        measured = _measure(now)
        cache.set(f"staff:{zone}", measured, FIGURES_SECONDS)
    return {
        "tiles": list(_tiles(*measured["days"])) if user.has_perm("gateway.view_invocation") else [],
        "queues": [queue for queue in _queues(measured) if queue.is_open_to(user)],
        "parts": list(_parts(now)),
    }


def _measure(now: datetime) -> dict[str, Any]:
    """What takes long on a large site."""
    midnight = datetime.combine(timezone.localdate(now), time.min)
    starts = [timezone.make_aware(midnight - timedelta(days=ago)) for ago in (0, 7)]
    return {
        "days": [_day(start, start + (now - starts[0])) for start in starts],
        "used_up": _few(Budget.objects.used_up(now)),
        "stuck": _few(_stuck(now)),
    }


def _day(start: datetime, end: datetime) -> dict[str, int]:
    found: dict[str, int] = (
        Invocation.objects.during(start, end)
        .final()
        .aggregate(
            calls=Count("id"), errors=Count("id", filter=Q(http_status__gte=400)), spend=Sum("cost_nano", default=0)
        )
    )
    people = User.objects.filter(id__gte=first_uuid(start), id__lt=first_uuid(end)).count()
    return {**found, "sign_ups": people}


def _stuck(now: datetime) -> QuerySet[Invocation]:
    """Calls that ended without a word, and that no sweep has ended since; all before the mark is done."""
    mark = SweepMark.objects.filter(name=SweepMark.ORPHANS).first()
    started = Invocation.objects.filter(state=Invocation.State.STARTED, beat_at__lt=now - STUCK_AFTER)
    return started.filter(id__gte=mark.low_water) if mark else started


def _few(rows: QuerySet[Any]) -> int:
    """How many there are, looking no further than a list for staff does."""
    return rows.order_by()[:CEILING].count()


def _tiles(today: dict[str, int], before: dict[str, int]) -> Iterator[dict[str, str]]:
    a_week_ago = _("%(figure)s by this time a week ago")
    for label, shown in (
        (_("Requests"), lambda day: count(day["calls"])),
        (_("Spend"), lambda day: money(day["spend"])),
        (_("Error rate"), lambda day: percent(day["errors"], day["calls"])),
        (_("Sign-ups"), lambda day: count(day["sign_ups"])),
    ):
        yield {"label": label, "value": shown(today), "text": a_week_ago % {"figure": shown(before)}}


def _queues(measured: dict[str, Any]) -> list[Queue]:
    status, listings = AIModel.Status, AIModel.objects
    asked = DeveloperRequest.objects.filter(decision="", user__is_active=True)
    return [
        Queue(
            _("Listings to review"),
            _few(listings.filter(status=status.IN_REVIEW)),
            "marketplace_aimodel",
            "status__exact=in_review",
            MODERATE,
        ),
        Queue(
            _("Reports of reviews and models"),
            _few(Report.objects.open()),
            "reviews_report",
            "decision=undecided",
            DECIDE,
        ),
        Queue(
            _("People who ask to publish"),
            _few(asked),
            "accounts_developerrequest",
            "decision=undecided",
            "accounts.change_developerrequest",
        ),
        Queue(
            _("Published models that cannot be called"),
            _few(listings.filter(status=status.PUBLISHED, is_callable=False)),
            "marketplace_aimodel",
            "status__exact=published&is_callable__exact=0",
            MODERATE,
        ),
        Queue(
            _("Suspended models"),
            _few(listings.filter(status=status.SUSPENDED)),
            "marketplace_aimodel",
            "status__exact=suspended",
            MODERATE,
        ),
        Queue(
            _("Spend limits and credit used up"),
            measured["used_up"],
            "accounts_budget",
            "left=none",
            "accounts.change_budget",
        ),
        Queue(
            _("Mail that was given up"),
            _few(Message.objects.dead()),
            "notifications_message",
            "state__exact=dead",
            "notifications.change_message",
        ),
        Queue(
            _("Calls that never ended"),
            measured["stuck"],
            "gateway_invocation",
            "state__exact=started&made=any",
            "gateway.view_sweepmark",
        ),
    ]


def _parts(now: datetime) -> Iterator[Part]:
    names = {"database": _("Database"), "redis": _("Redis"), "migrations": _("Migrations")}
    for check in check_readiness():
        yield Part(names.get(check.name, check.name), check.is_ok, _check_words(check))
    waiting = Message.objects.due().first()
    since = waiting.next_attempt_at if waiting else None
    yield Part(
        _("Mail"),
        since is None or now - since < LATE_AFTER,
        _("Nothing waits") if since is None else _("The oldest has waited %(time)s") % {"time": _span(since, now)},
    )
    mark = SweepMark.objects.filter(name=SweepMark.ORPHANS).first()
    yield Part(
        _("Worker"),
        mark is not None and now - mark.swept_at < LATE_AFTER,
        _("Has not run yet") if mark is None else _("Ran %(time)s ago") % {"time": _span(mark.swept_at, now)},
    )
    yield Part(_("Version"), True, settings.VERSION)


def _span(start: datetime, end: datetime) -> str:
    seconds = int((end - start).total_seconds())
    if seconds < 60:
        return ngettext("%(count)d second", "%(count)d seconds", seconds) % {"count": seconds}
    return timesince(start, end, depth=1)


def _check_words(check: Check) -> str:
    if not check.is_ok:
        return _("Some are not applied") if check.name == "migrations" else _("Does not answer")
    if check.name == "migrations":
        return _("All are applied")
    return _("Answered in %(time)s ms") % {"time": check.ms}
