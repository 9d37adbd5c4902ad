"""Which limits a request falls under, and what is said when one is reached.

Under `/api` and `/v1` everyone has a limit over all addresses: a key its own and that of its organization, a person
theirs, and nobody in particular that of the network they come from. Addresses that cost more have one of their own
beside it: `config.limits.ROUTES`, keyed by URL name, which counts the forms and searches of the pages too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django_ratelimit.core import get_usage

from common import limiter
from common.address import client_network
from common.limiter import Bucket, Decision, headers_of, tightest_of
from common.policy import KeyLike, is_key
from common.problems import Problem, RateLimited, is_api_path, problem_response

WORDS = {
    "key": _("This key may send %(limit)s requests a minute."),
    "deployment": _("By the name of this deployment, %(limit)s calls a minute can be made."),
    "organization": _("All keys of this organization together may send %(limit)s requests a minute."),
    "person": _("One person may send %(limit)s requests a minute."),
    "network": _("From one network address, %(limit)s requests a minute are answered."),
}


@dataclass(frozen=True, slots=True)
class Route:
    """A limit of its own for some addresses; those of the same `name` share it.

    setting: of which setting, in requests a minute; share: one how-manyeth of it.
    by_network: counted by network address, whoever asks; else by key, person or, of nobody in particular, network.
    methods: None for all.  when: only the requests for which it is true.
    """

    name: str
    setting: str = "API_RATE_PER_MINUTE"
    share: int = 1
    by_network: bool = False
    methods: frozenset[str] | None = None
    when: Callable[[Any], bool] | None = None

    @property
    def per_minute(self) -> int:
        limit: int = getattr(settings, self.setting) // self.share
        return max(1, limit)

    def counts(self, request: Any) -> bool:
        return (self.methods is None or request.method in self.methods) and (self.when is None or self.when(request))

    def bucket(self, subject: str) -> Bucket:
        return Bucket(f"route:{self.name}:{subject}", self.per_minute, name=self.name)


def load_routes() -> Mapping[str, Route]:
    """The table named by `settings.LIMITS_TABLE`: URL name or wildcard -> limit."""
    return cast(Mapping[str, Route], import_string(getattr(settings, "LIMITS_TABLE", "config.limits.ROUTES")))


def find_route(name: str, table: Mapping[str, Route] | None = None) -> Route | None:
    """The limit of a URL name: the exact entry, else the longest wildcard that fits, else None."""
    table = load_routes() if table is None else table
    if (route := table.get(name)) is not None:
        return route
    fitting = [pattern for pattern in table if "*" in pattern and fnmatchcase(name, pattern)]
    return table[max(fitting, key=len)] if fitting else None


# --- Buckets ---


def buckets_of_key(key_id: Any, rate_limit: int | None, organization_id: Any, organization_limit: int | None) -> Any:
    """What a call with a key draws from, in the gateway as under `/api`. None stands for the site's own limit."""
    return (
        Bucket(f"key:{key_id}", rate_limit or settings.API_RATE_PER_MINUTE, name="key"),
        bucket_of_organization(organization_id, organization_limit),
    )


def bucket_of_organization(organization_id: Any, rate_limit: int | None) -> Bucket:
    limit = rate_limit or settings.ORGANIZATION_RATE_PER_MINUTE
    return Bucket(f"organization:{organization_id}", limit, name="organization")


def buckets_of_deployment(deployment_id: Any, rate_limit: int | None) -> tuple[Bucket, ...]:
    """What a call by a deployment's name draws from beside its caller's; nothing where it has no limit."""
    return () if rate_limit is None else (Bucket(f"deployment:{deployment_id}", rate_limit, name="deployment"),)


def bucket_of_person(user_id: Any) -> Bucket:
    return Bucket(f"person:{user_id}", settings.API_RATE_PER_MINUTE, name="person")


def bucket_of_network(network: str) -> Bucket:
    return Bucket(f"network:{network}", settings.API_RATE_PER_MINUTE, name="network")


def buckets_of(request: Any, *, is_authenticated: bool = True) -> list[Bucket]:
    """Everything that a request of the REST API draws from. is_authenticated: False where that has just failed."""
    auth = getattr(request, "auth", None) if is_authenticated else None
    user = request.user if is_authenticated else None
    if is_key(auth):
        key = cast(KeyLike, auth)
        organization = key.organization
        buckets = list(buckets_of_key(key.id, key.rate_limit, key.organization_id, organization.rate_limit))
    elif user is not None and user.is_authenticated:
        buckets = [bucket_of_person(user.pk)]
    else:
        buckets = [bucket_of_network(client_network(request))]
    match = request.resolver_match
    route = find_route(match.view_name) if match is not None else None
    if route is not None and route.counts(request):
        buckets.append(route.bucket(client_network(request) if route.by_network else buckets[0].key))
    return buckets


# --- Refusals ---


def require(decisions: Sequence[Decision]) -> None:
    """Raises RateLimited, which names the limit that was reached, unless there was room in every bucket."""
    if all(decision.allowed for decision in decisions):
        return
    reached = tightest_of([decision for decision in decisions if not decision.allowed])
    raise RateLimited(
        words_for(reached.name, reached.limit),
        headers=headers_of(decisions),
        limit_source=reached.name,
        limit=reached.limit,
        period_seconds=reached.period_seconds,
        retry_after_seconds=reached.retry_after_seconds,
    )


def words_for(name: str, limit: int) -> str:
    """Which limit it is, in one sentence."""
    words = WORDS.get(name, _("This may be asked %(limit)s times a minute."))
    return str(words % {"limit": f"{limit:,}"})


class LimitMiddleware:
    """Stands outermost but one. Counts the pages that have a limit, and answers of the API that no view counted.

    Pages are counted by django-ratelimit, in the cache, which falls back to one of this process.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if is_api_path(request.path) and "RateLimit-Policy" not in response.headers:
            return self._count(request, response)
        return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        match = request.resolver_match
        route = find_route(match.view_name) if match is not None else None
        if route is None or is_api_path(request.path) or not route.counts(request):
            return None
        usage = get_usage(
            request,
            group=route.name,
            key=lambda group, request: _page_subject(request, route),
            rate=f"{route.per_minute}/m",
            increment=True,
        )
        if not usage or not usage["should_limit"]:
            return None
        return problem_response(_page_refusal(request, route, usage["time_left"]), request)

    def _count(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Nobody was known when this was answered: no such address, a wrong method, a bug."""
        decisions = limiter.check_all([bucket_of_network(client_network(request))])
        try:
            require(decisions)
        except Problem as problem:
            response = problem_response(problem, request)
        for name, value in headers_of(decisions).items():
            response.headers.setdefault(name, value)
        return response


def _page_subject(request: HttpRequest, route: Route) -> str:
    if not route.by_network and request.user.is_authenticated:
        return f"person:{request.user.pk}"
    return client_network(request)


def _page_refusal(request: HttpRequest, route: Route, wait_seconds: int) -> RateLimited:
    count = route.per_minute
    if not route.by_network and request.user.is_authenticated:
        words = ngettext(
            "You tried this once within a minute, which is as often as we allow. Nothing was done.",
            "You tried this %(limit)s times within a minute, which is as often as we allow. Nothing was done.",
            count,
        )
    else:
        words = ngettext(
            "From your network address this was tried once within a minute, which is as often as we allow. "
            "Nothing was done.",
            "From your network address this was tried %(limit)s times within a minute, which is as often as we allow. "
            "Nothing was done.",
            count,
        )
    return RateLimited(
        words % {"limit": f"{count:,}"},
        limit_source=route.name,
        limit=count,
        period_seconds=60,
        retry_after_seconds=max(1, wait_seconds),
    )
