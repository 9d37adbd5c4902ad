import logging
from dataclasses import dataclass, field
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import get_resolver, include, path, resolve

from common import ids, policy
from common.policy import ANONYMOUS, ANY, Actor, Policy, enforce, find_policy
from common.problems import (
    DeveloperRequired,
    InvalidCredentials,
    MissingScope,
    NotAuthenticated,
    NotFound,
    PermissionDeniedProblem,
    RoleRequired,
)

HOME, OTHER = UUID(int=1), UUID(int=2)


@dataclass
class Person:
    is_staff: bool = False
    platform_role: str = "consumer"
    is_authenticated: bool = True


@dataclass
class Key:
    id: UUID = OTHER
    organization_id: UUID = HOME
    scopes: frozenset[str] = frozenset({"models:read"})
    asked_for: list[str] = field(default_factory=list)

    def effective_scopes(self, role: str) -> frozenset[str]:
        self.asked_for.append(role)
        return self.scopes


def resolve_membership(user, organization_id):
    """The person is a developer at home and a stranger elsewhere."""
    if organization_id not in (None, ids.encode("org", HOME)):
        raise NotFound()
    return SimpleNamespace(pk=HOME), "developer"


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


urlpatterns = [
    path("open", page, name="open"),
    path("mine", page, name="mine"),
    path("back-office", page, name="back-office"),
    path("forgotten", page, name="forgotten"),
    path("login", page, name="login"),
    path("api/mine", page, name="api-mine"),
    path("api/back-office", page, name="api-back-office"),
    path("area/", include(([path("one", page, name="one"), path("two", page)], "area"))),
]
ACCESS = {
    "open": Policy.public(),
    "login": Policy.public(),
    "mine": Policy.signed_in(),
    "api-mine": Policy.signed_in(),
    "back-office": Policy.staff(),
    "api-back-office": Policy.staff(),
    "area:*": Policy.public(),
    "gone": Policy.public(),
}


@pytest.fixture(autouse=True)
def site(settings):
    settings.ROOT_URLCONF = __name__
    settings.ACCESS_TABLE = f"{__name__}.ACCESS"
    settings.ACTOR_RESOLVER = f"{__name__}.resolve_membership"
    settings.LOGIN_URL = "/login"


def person(role="member", **attributes):
    return Actor(user=Person(**attributes), organization=SimpleNamespace(pk=HOME), role=role)


def machine(*scopes, role="developer", **attributes):
    return Actor(user=Person(**attributes), role=role, scopes=frozenset(scopes), key=Key())


class TestEnforce:
    def test_public_asks_nothing(self):
        enforce(Policy.public(), "POST", ANONYMOUS)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_signed_in_needs_someone(self, method):
        with pytest.raises(NotAuthenticated):
            enforce(Policy.signed_in(ANY, ANY), method, ANONYMOUS)

    def test_reading_may_be_open_while_writing_is_not(self):
        rule = Policy.signed_in(write="models:write").and_public_read()

        enforce(rule, "GET", ANONYMOUS)
        enforce(rule, "HEAD", machine())
        with pytest.raises(NotAuthenticated):
            enforce(rule, "POST", ANONYMOUS)

    def test_a_person_needs_no_scope(self):
        enforce(Policy.signed_in(), "POST", person())

    def test_a_key_needs_the_scope_of_the_method(self):
        rule = Policy.signed_in(read="models:read", write="models:write")

        enforce(rule, "GET", machine("models:read"))
        with pytest.raises(MissingScope) as caught:
            enforce(rule, "POST", machine("models:read"))
        assert caught.value.extra == {"required_scope": "models:write"}

    def test_one_of_several_scopes_is_enough(self):
        rule = Policy.signed_in(read=("models:invoke", "analytics:read"))

        enforce(rule, "GET", machine("analytics:read"))
        with pytest.raises(MissingScope, match="models:invoke or analytics:read"):
            enforce(rule, "GET", machine("models:read"))

    def test_without_a_scope_in_the_policy_no_key_passes(self):
        with pytest.raises(PermissionDeniedProblem):
            enforce(Policy.signed_in(write="keys:write"), "GET", machine("keys:write", "keys:read"))

    def test_any_lets_every_key_pass(self):
        enforce(Policy.signed_in(read=ANY), "GET", machine())

    def test_organization_roles_limit_writing_only(self):
        rule = Policy.signed_in(roles_write=["owner", "admin"])

        enforce(rule, "GET", person("member"))
        enforce(rule, "DELETE", person("admin"))
        with pytest.raises(RoleRequired) as caught:
            enforce(rule, "DELETE", person("member"))
        assert caught.value.extra == {"required_roles": ["admin", "owner"], "role": "member"}

    def test_a_key_is_limited_by_its_creators_role_too(self):
        rule = Policy.signed_in(write="keys:write", roles_write=["owner"])

        with pytest.raises(RoleRequired):
            enforce(rule, "POST", machine("keys:write", role="member"))

    def test_publishing_needs_a_platform_developer(self):
        rule = Policy.signed_in(platform_write=["developer", "staff"])

        enforce(rule, "POST", person("owner", platform_role="developer"))
        with pytest.raises(DeveloperRequired):
            enforce(rule, "POST", person("owner"))

    def test_staff_is_for_staff(self):
        enforce(Policy.staff(), "GET", person(is_staff=True))
        with pytest.raises(RoleRequired):
            enforce(Policy.staff(), "GET", person("owner"))
        with pytest.raises(NotAuthenticated):
            enforce(Policy.staff(), "GET", ANONYMOUS)

    def test_a_key_of_a_staff_member_has_no_staff_powers(self):
        actor = machine("models:write", is_staff=True)

        assert not actor.is_staff
        assert actor.platform_role == "developer"
        with pytest.raises(RoleRequired):
            enforce(Policy.staff(), "GET", actor)

    def test_staff_needs_no_role_in_the_organization(self):
        enforce(Policy.signed_in(roles_write=["owner"]), "POST", person("member", is_staff=True))


class TestRegistry:
    def test_an_exact_entry_wins_over_wildcards_and_a_long_one_over_a_short_one(self):
        table = {"*": Policy.public(), "admin:*": Policy.staff(), "admin:login": Policy.signed_in()}

        assert find_policy("admin:login", table) == Policy.signed_in()
        assert find_policy("admin:index", table) == Policy.staff()
        assert find_policy("home", table) == Policy.public()

    def test_a_url_without_a_policy_is_found(self):
        assert policy.missing_policies(get_resolver()) == ["forgotten"]

    def test_an_entry_without_a_url_is_found(self):
        assert policy.stale_policies(get_resolver()) == ["gone"]

    def test_names_are_those_that_requests_resolve_to(self):
        names = set(policy.url_names(get_resolver()))

        for address in ("/open", "/area/one", "/area/two"):
            assert resolve(address).view_name in names


class TestActor:
    def request(self, *, user=None, auth=None, organization=None):
        headers = {"Agorai-Organization": organization} if organization else {}
        request = RequestFactory().get("/", headers=headers)
        request.user, request.auth = user or Person(), auth
        return request

    def test_a_person_acts_for_the_organization_of_the_resolver(self):
        actor = policy.resolve_actor(self.request())

        assert (actor.organization.pk, actor.role, actor.scopes, actor.key) == (HOME, "developer", None, None)

    def test_a_stranger_to_the_organization_in_the_header_finds_nothing(self):
        with pytest.raises(NotFound):
            policy.resolve_actor(self.request(organization=ids.encode("org", OTHER)))

    def test_a_key_carries_its_organization_and_its_scopes(self):
        key = Key()

        actor = policy.resolve_actor(self.request(auth=key))

        assert actor.key is key
        assert actor.scopes == {"models:read"}
        assert key.asked_for == ["developer"]

    def test_a_key_cannot_act_for_another_organization(self):
        with pytest.raises(PermissionDeniedProblem, match="another organization"):
            policy.resolve_actor(self.request(auth=Key(), organization=ids.encode("org", OTHER)))

    def test_a_key_dies_with_its_creators_membership(self):
        with pytest.raises(InvalidCredentials, match="no longer"):
            policy.resolve_actor(self.request(auth=Key(organization_id=OTHER)))

    def test_nobody_is_anonymous(self):
        assert policy.resolve_actor(self.request(user=Person(is_authenticated=False))) is ANONYMOUS

    def test_what_the_session_said_does_not_outlive_the_key(self):
        inner = self.request()
        policy.actor_of(inner)
        outer = SimpleNamespace(user=inner.user, auth=Key(), headers=inner.headers, _request=inner)

        assert policy.actor_of(outer).key is outer.auth
        assert inner.actor.key is outer.auth


class TestMiddleware:
    def answer(self, address, user=None, **headers):
        request = RequestFactory().get(address, headers=headers)
        request.user, request.resolver_match = user or Person(is_authenticated=False), resolve(address.split("?")[0])
        middleware = policy.PolicyMiddleware(page)
        return middleware.process_view(request, request.resolver_match.func, (), {})

    def test_an_open_page_is_served(self):
        assert self.answer("/open") is None

    def test_the_anonymous_log_in_and_come_back(self):
        response = self.answer("/mine?tab=2")

        assert response.status_code == 302
        assert response["Location"] == "/login?next=%2Fmine%3Ftab%3D2"

    def test_a_fragment_reloads_the_page_instead_of_holding_the_form(self):
        response = self.answer("/mine", **{"HX-Request": "true"})

        assert (response.status_code, response["HX-Redirect"]) == (401, "/login")

    def test_programs_are_not_sent_to_a_form(self):
        assert self.answer("/api/mine").status_code == 401

    def test_someone_who_is_signed_in_is_served(self):
        assert self.answer("/mine", Person()) is None

    def test_staff_pages_do_not_ask_for_an_organization(self, settings):
        settings.ACTOR_RESOLVER = "no.such.resolver"

        assert self.answer("/back-office", Person(is_staff=True)) is None

    def test_programs_are_told_that_staff_only_is_staff_only(self):
        assert self.answer("/api/back-office", Person()).status_code == 403

    def test_a_url_without_a_policy_is_denied_and_reported(self, caplog, settings):
        request = RequestFactory().get("/api/forgotten")
        request.user, request.resolver_match = Person(is_staff=True), resolve("/forgotten")

        with caplog.at_level(logging.ERROR):
            response = policy.PolicyMiddleware(page).process_view(request, page, (), {})

        assert response.status_code == 403
        assert caplog.records[0].url_name == "forgotten"


def test_the_middleware_guards_every_view_of_the_site():
    response = Client().get("/mine")

    assert response.status_code == 302
    assert response["Location"] == "/login?next=%2Fmine"
