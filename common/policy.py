"""Who may call what: one registry keyed by URL name, default deny.

The table itself is `config.access.ACCESS`, one screen for the whole site. A URL that is not in it answers 403, and the
start-up check refuses to run with one. A policy looks at the method and the actor only; whether the actor may see
*this object* is the query's business (`for_actor`), and a hidden object is a 404.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Protocol, Self, cast
from urllib.parse import urlencode
from uuid import UUID

from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.urls import URLPattern, URLResolver
from django.utils.module_loading import import_string
from rest_framework.permissions import BasePermission

from common import clock
from common.ids import encode
from common.problems import (
    DeveloperRequired,
    InvalidCredentials,
    MissingScope,
    NotAuthenticated,
    NotFound,
    PermissionDeniedProblem,
    Problem,
    RoleRequired,
    SecondFactorStale,
    is_api_path,
    problem_response,
)

logger = logging.getLogger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
ANY = "*"  # any key will do, whatever its scopes
Scope = str | tuple[str, ...]
ORGANIZATION_HEADER = "Agorai-Organization"
SESSION_ORGANIZATION = "organization"  # the one that a person switched to, `org_…`
FRESH = timedelta(minutes=15)  # how long after showing a second factor staff may act


class KeyLike(Protocol):
    """What `request.auth` must offer when the caller is an API key. `request.user` is then the key's creator."""

    id: UUID
    organization_id: UUID
    organization: Any
    rate_limit: int | None  # requests a minute; None: the site's

    def effective_scopes(self, role: str) -> frozenset[str]:
        """What the key grants while its creator has this role in the organization."""


def is_key(auth: Any) -> bool:
    """Whether `request.auth` is an API key and not an access token."""
    return hasattr(auth, "effective_scopes")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is acting, for which organization, with which role in it.

    `scopes` is None for a person (session or access token): a person's role is the whole limit.
    """

    user: Any = None
    organization: Any = None
    role: str | None = None  # owner, admin, developer, billing, member
    scopes: frozenset[str] | None = None
    key: Any = None
    factor_at: datetime | None = None  # of staff: when this sign-in last showed a second factor

    @property
    def is_authenticated(self) -> bool:
        return self.user is not None

    @property
    def is_staff(self) -> bool:
        """Staff powers need the person: a key of a staff member does not carry them."""
        return self.user is not None and self.key is None and self.user.is_staff

    @property
    def platform_role(self) -> str | None:
        """consumer, developer or staff; a staff member's key counts as a developer's."""
        if self.user is None:
            return None
        if self.user.is_staff:
            return "staff" if self.key is None else "developer"
        return cast(str, self.user.platform_role)

    def may(self, permission: str) -> bool:
        """Whether a staff member's groups allow this, in Django's words: `marketplace.view_aimodel`.

        Where STAFF_REQUIRES_MFA says so, a sign-in without the second factor sees no more than anybody's.
        """
        is_proved = not settings.STAFF_REQUIRES_MFA or self.factor_at is not None
        return self.is_staff and is_proved and bool(self.user.has_perm(permission))

    def may_act(self, permission: str) -> bool:
        """As `may`, for what changes something: `marketplace.change_aimodel`.

        Raises SecondFactorStale where STAFF_REQUIRES_MFA says so and the factor was not shown lately, as the
        administration asks for it.
        """
        if not (self.is_staff and self.user.has_perm(permission)):
            return False
        if settings.STAFF_REQUIRES_MFA and (self.factor_at is None or not is_fresh(self.factor_at)):
            raise SecondFactorStale()
        return True


ANONYMOUS = Actor()


def is_fresh(factor_at: datetime) -> bool:
    """Whether a second factor was shown so lately that staff may act by it."""
    return clock.now() - factor_at < FRESH


def factor_shown_at(request: Any) -> datetime | None:
    """When the person of this sign-in last showed a second factor, by the token or in the session; None: never."""
    auth = getattr(request, "auth", None)
    if auth is not None:
        return cast(datetime | None, getattr(auth, "factor_at", None))
    records = get_authentication_records(request, request.user)
    shown = [record["at"] for record in records if record.get("method") == "mfa"]
    return datetime.fromtimestamp(max(shown), UTC) if shown else None


@dataclass(frozen=True, slots=True)
class Policy:
    """What one URL asks of its caller.

    read, write: the scope that a *key* needs for safe and for other methods; of several, one is enough. None: people
    only; ANY: any key.
    roles_read: organization roles that may use safe methods; None: every role.
    roles_write: organization roles that may use other methods; None: every role.
    platform_write: platform roles that may use other methods; None: every one. Staff always may.
    """

    anonymous_read: bool = False
    anonymous_write: bool = False
    staff_only: bool = False
    read: Scope | None = None
    write: Scope | None = None
    roles_read: frozenset[str] | None = None
    roles_write: frozenset[str] | None = None
    platform_write: frozenset[str] | None = None

    @classmethod
    def public(cls) -> Self:
        """Everyone, every method. The view itself answers for what an unknown caller may do."""
        return cls(anonymous_read=True, anonymous_write=True, read=ANY, write=ANY)

    @classmethod
    def signed_in(
        cls,
        read: Scope | None = None,
        write: Scope | None = None,
        roles_read: Iterable[str] | None = None,
        roles_write: Iterable[str] | None = None,
        platform_write: Iterable[str] | None = None,
    ) -> Self:
        """People who signed in, and keys with the scope."""
        return cls(
            read=read,
            write=write,
            roles_read=None if roles_read is None else frozenset(roles_read),
            roles_write=None if roles_write is None else frozenset(roles_write),
            platform_write=None if platform_write is None else frozenset(platform_write),
        )

    @classmethod
    def staff(cls) -> Self:
        return cls(staff_only=True)

    def and_public_read(self) -> Self:
        """The same policy with safe methods open to everyone, whatever their key's scopes."""
        return replace(self, anonymous_read=True, read=ANY)

    def scopes(self, method: str) -> tuple[str, ...] | None:
        """The scopes of which a key needs one; None where no key will do."""
        needed = self.read if method in SAFE_METHODS else self.write
        return (needed,) if isinstance(needed, str) else needed

    def is_open(self, method: str) -> bool:
        return self.anonymous_read if method in SAFE_METHODS else self.anonymous_write


def enforce(policy: Policy, method: str, actor: Actor) -> None:
    """Return if `actor` may use `method`, else raise the problem that says what is missing."""
    if policy.is_open(method):
        return
    if not actor.is_authenticated:
        raise NotAuthenticated()
    if policy.staff_only:
        if not actor.is_staff:
            raise RoleRequired("Only the staff of this site may do this.", required_roles=["staff"])
        return
    if actor.scopes is not None:
        _enforce_scopes(policy.scopes(method), actor.scopes)
    if actor.is_staff:
        return
    if method in SAFE_METHODS:
        _enforce_roles(policy.roles_read, actor)
        return
    if policy.platform_write is not None and actor.platform_role not in policy.platform_write:
        if "developer" in policy.platform_write:
            raise DeveloperRequired()
        raise RoleRequired(required_roles=sorted(policy.platform_write))
    _enforce_roles(policy.roles_write, actor)


def _enforce_roles(needed: frozenset[str] | None, actor: Actor) -> None:
    if needed is not None and actor.role not in needed:
        raise RoleRequired(required_roles=sorted(needed), role=actor.role)


def _enforce_scopes(needed: tuple[str, ...] | None, scopes: frozenset[str]) -> None:
    if needed is None:
        raise PermissionDeniedProblem("An API key cannot do this; sign in, or send an access token.")
    if ANY not in needed and not scopes & frozenset(needed):
        raise MissingScope(f"This key lacks the permission {' or '.join(needed)}.", required_scope=needed[0])


# --- The registry ---


def load_registry() -> Mapping[str, Policy]:
    """The table named by `settings.ACCESS_TABLE`: URL name or wildcard -> policy."""
    table: Mapping[str, Policy] = import_string(getattr(settings, "ACCESS_TABLE", "config.access.ACCESS"))
    return table


def find_policy(name: str, table: Mapping[str, Policy] | None = None) -> Policy | None:
    """The policy of a URL name: the exact entry, else the longest wildcard that fits. None: not in the table."""
    table = load_registry() if table is None else table
    if (policy := table.get(name)) is not None:
        return policy
    fitting = [pattern for pattern in table if "*" in pattern and fnmatchcase(name, pattern)]
    return table[max(fitting, key=len)] if fitting else None


def policy_of(request: Any) -> Policy:
    """The policy of the URL that `request` resolved to; raises when there is none, and says so in the log."""
    match = request.resolver_match
    name = match.view_name if match is not None else ""
    policy = find_policy(name)
    if policy is None:
        logger.error("url_without_policy", extra={"url_name": name})
        raise PermissionDeniedProblem("This address has no access policy, so nobody may use it.")
    return policy


def url_names(resolver: URLResolver, namespace: str = "") -> Iterator[str]:
    """Every URL name below `resolver` as `request.resolver_match.view_name` spells it."""
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            inner = f"{namespace}{entry.namespace}:" if entry.namespace else namespace
            yield from url_names(entry, inner)
        elif isinstance(entry, URLPattern):
            yield f"{namespace}{entry.name or entry.lookup_str}"


def missing_policies(resolver: URLResolver, table: Mapping[str, Policy] | None = None) -> list[str]:
    """URL names without a policy, for the start-up check."""
    table = load_registry() if table is None else table
    return sorted({name for name in url_names(resolver) if find_policy(name, table) is None})


def stale_policies(resolver: URLResolver, table: Mapping[str, Policy] | None = None) -> list[str]:
    """Entries of the table that fit no URL: a typing error, or a URL that has gone."""
    table = load_registry() if table is None else table
    names = set(url_names(resolver))
    return sorted(entry for entry in table if not any(fnmatchcase(name, entry) for name in names))


# --- Who is calling ---

ActorResolver = Callable[[Any, str | None], tuple[Any, str]]


def resolve_actor(request: Any) -> Actor:
    """The actor of a request that is already authenticated (Django's or DRF's).

    The organization is the key's own, else the one named in the header, else the one that the session was switched to,
    else the user's personal one. Raises NotFound for a header with an organization that the user is no member of.
    """
    user = request.user
    if user is None or not user.is_authenticated:
        return ANONYMOUS
    resolver = cast(
        ActorResolver, import_string(getattr(settings, "ACTOR_RESOLVER", "accounts.services.resolve_actor"))
    )
    wanted: str | None = request.headers.get(ORGANIZATION_HEADER) or None
    if not is_key(auth := getattr(request, "auth", None)):  # an access token, or a session
        if wanted is None and auth is None:
            organization, role = _of_session(request, resolver)
        else:
            organization, role = resolver(user, wanted)
        factor_at = factor_shown_at(request) if user.is_staff else None
        return Actor(user=user, organization=organization, role=role, factor_at=factor_at)
    key = cast(KeyLike, auth)
    require_own_organization(key.organization_id, wanted)
    try:
        organization, role = resolver(user, encode("org", key.organization_id))
    except Problem as problem:
        raise InvalidCredentials("The person who made this key is no longer in its organization.") from problem
    return Actor(user=user, organization=organization, role=role, scopes=key.effective_scopes(role), key=key)


def require_own_organization(organization_id: UUID, wanted: str | None) -> None:
    """A key acts for its own organization alone. wanted: the header. Raises PermissionDeniedProblem for another."""
    if wanted and wanted != encode("org", organization_id):
        raise PermissionDeniedProblem(f"This key acts for another organization than {ORGANIZATION_HEADER} names.")


def _of_session(request: Any, resolver: ActorResolver) -> tuple[Any, str]:
    """What the session was switched to, as long as the person is in it; from then on their personal organization."""
    session = getattr(request, "session", {})
    if chosen := session.get(SESSION_ORGANIZATION):
        try:
            return resolver(request.user, chosen)
        except NotFound:
            session.pop(SESSION_ORGANIZATION)
    return resolver(request.user, None)


def actor_of(request: Any) -> Actor:
    """`resolve_actor`, once per request.

    DRF's request keeps its own: what the session said before a key was read must not count after it.
    """
    found = vars(request).get("actor")
    if found is None:
        found = request.actor = resolve_actor(request)
        if (inner := vars(request).get("_request")) is not None:
            inner.actor = found  # for the access line
    return cast(Actor, found)


# --- The two doors ---


class PolicyPermission(BasePermission):
    """For DRF. Raises the problem instead of returning False, so that the answer says what is missing."""

    def has_permission(self, request: Any, view: Any) -> bool:
        policy = policy_of(request)
        enforce(policy, request.method, ANONYMOUS if policy.is_open(request.method) else actor_of(request))
        return True


class PolicyMiddleware:
    """For everything that is not a DRF view of ours: pages, the admin, other packages' views.

    Stands after the authentication middleware. Anonymous people are sent to log in; what only staff may see is a 404
    for the others.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        if PolicyPermission in getattr(getattr(view, "cls", None), "permission_classes", ()):
            return None  # DRF authenticates first and asks then
        try:
            policy = policy_of(request)
            if not policy.is_open(request.method or "GET"):
                enforce(policy, request.method or "GET", _page_actor(request, policy))
        except NotAuthenticated as problem:
            return problem_response(problem, request) if is_api_path(request.path) else to_login(request)
        except RoleRequired as problem:
            hidden = policy.staff_only and not is_api_path(request.path)
            return problem_response(NotFound() if hidden else problem, request)
        except Problem as problem:
            return problem_response(problem, request)
        return None


def _page_actor(request: HttpRequest, policy: Policy) -> Actor:
    """Staff pages need no organization, and the resolver must not stand between staff and the admin."""
    user = request.user
    if policy.staff_only or not user.is_authenticated:
        return Actor(user=user) if user.is_authenticated else ANONYMOUS
    return actor_of(request)


def to_login(request: HttpRequest) -> HttpResponse:
    """Send a person to log in and back. A fragment's request reloads the whole page instead of showing a form in it."""
    login = resolve_url(settings.LOGIN_URL)
    if request.headers.get("HX-Request") == "true":
        return HttpResponse(status=401, headers={"HX-Redirect": login})
    return HttpResponseRedirect(f"{login}?{urlencode({'next': request.get_full_path()})}")
