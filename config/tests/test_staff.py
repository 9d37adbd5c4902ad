"""What each group of staff may see and do in the administration, and the second factor that it takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from allauth.mfa.totp.internal.auth import yield_hotp_counters_from_time as counters
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.test import Client

from accounts.models import Organization, User
from accounts.services import find_bearer, open_family
from accounts.tests.factories import PASSWORD, later, make_client, make_user
from apikeys.models import APIKey
from common import clock
from common.policy import FRESH, Actor
from config import staff as table
from config.staff import ACTS, GROUPS, permissions_of, sync_groups
from config.tests.test_admin import list_of
from config.tests.test_admin import staff as staff
from config.tests.test_admin import world as world
from marketplace.models import AIModel
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db


def member_of(*groups: str, **fields: Any) -> SimpleNamespace:
    user = make_user(is_staff=True, **fields)
    user.groups.set(Group.objects.filter(name__in=groups))
    client = Client()
    client.force_login(user)
    return SimpleNamespace(client=client, user=user)


def act(person: SimpleNamespace, model: type[Model], action: str, *rows: Model) -> str:
    body = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    answer = person.client.post(list_of(model), body, follow=True)
    return answer.content.decode() if answer.status_code == 200 else ""


# --- The table ---


def test_the_groups_are_there_and_hold_what_the_table_says():
    for name, facts in GROUPS.items():
        held = {
            f"{app}.{codename}"
            for app, codename in Group.objects.get(name=name).permissions.values_list(
                "content_type__app_label", "codename"
            )
        }
        assert held == permissions_of(facts)


def test_every_act_of_a_group_is_in_words():
    assert {right for facts in GROUPS.values() for right in facts.may} == set(ACTS)


def test_migrating_again_brings_a_changed_group_back_and_leaves_others_alone():
    finance, own = Group.objects.get(name="finance"), Group.objects.create(name="ours")
    extra = Permission.objects.get(codename="delete_user")
    finance.permissions.add(extra)
    own.permissions.add(extra)
    sync_groups()
    assert extra not in finance.permissions.all()
    assert list(own.permissions.all()) == [extra]


def test_a_permission_that_does_not_exist_is_noticed(monkeypatch: pytest.MonkeyPatch):
    broken = {"finance": table.StaffGroup("", ("accounts.nothing",), ())}
    monkeypatch.setattr(table, "GROUPS", broken)
    with pytest.raises(LookupError, match=r"accounts\.view_nothing"):
        sync_groups()


# --- A walk through the administration ---


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_opens_its_tables_and_no_others(group: str, world: Callable[[], dict[type[Model], Model]]):
    rows = world()
    person = member_of(group)
    facts = GROUPS[group]
    index = person.client.get("/admin/").content.decode()
    for model, row in rows.items():
        label = model._meta.label_lower
        path = list_of(model)
        opens = 200 if label in facts.sees else 403
        assert person.client.get(path).status_code == opens, label
        assert person.client.get(f"{path}{row.pk}/change/").status_code == opens, label
        assert person.client.get(f"{path}{row.pk}/history/").status_code == opens, label
        assert (f'href="{path}"' in index) == (label in facts.sees), label
        may_add = f"{model._meta.app_label}.add_{model._meta.model_name}" in facts.may
        assert person.client.get(f"{path}add/").status_code == (200 if may_add else 403), label
        assert person.client.get(f"{path}{row.pk}/delete/").status_code == 403, label
        assert person.client.post(f"{path}{row.pk}/delete/", {"post": "yes"}).status_code == 403, label
        may_save = admin.site._registry[model].has_change_permission(SimpleNamespace(user=person.user), row)  # type: ignore[arg-type]
        saves = b'name="_save"' in person.client.get(f"{path}{row.pk}/change/").content
        assert saves == may_save
        assert not saves or f"{model._meta.app_label}.change_{model._meta.model_name}" in facts.may, label


QUEUES = {
    "Listings to review": {"moderation"},
    "People who ask to publish": {"moderation"},
    "Published models that cannot be called": {"moderation"},
    "Suspended models": {"moderation"},
    "Spend limits and credit used up": {"finance"},
    "Mail that was given up": {"support", "operator"},
    "Calls that never ended": {"operator"},
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_sees_the_queues_that_it_works_on(group: str):
    html = member_of(group).client.get("/admin/").content.decode()
    for label, groups in QUEUES.items():
        assert (label in html) == (group in groups), label


def test_staff_without_a_group_find_an_empty_house(world: Callable[[], dict[type[Model], Model]]):
    rows, person = world(), member_of()
    html = person.client.get("/admin/").content.decode()
    assert not [label for label in QUEUES if label in html]
    assert not re.search(r'href="/admin/\w+/\w+/"', html)
    for model in rows:
        assert person.client.get(list_of(model)).status_code == 403


#: Act -> who may.
DEEDS = {
    (User, "end_sessions"): {"support"},
    (User, "remove_second_factor"): {"support"},
    (User, "grant_developer_role"): {"moderation"},
    (User, "withdraw_developer_role"): {"moderation"},
    (APIKey, "revoke"): {"support"},
    (AIModel, "suspend"): {"moderation"},
    (AIModel, "publish"): {"moderation"},
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_offered_its_acts_and_no_others(group: str, world: Callable[[], dict[type[Model], Model]]):
    world()
    person = member_of(group)
    for (model, action), groups in DEEDS.items():
        page = person.client.get(list_of(model)).content.decode()
        assert (f'<option value="{action}">' in page) == (group in groups), (model, action)


def test_what_is_not_offered_is_not_done_either(world: Callable[[], dict[type[Model], Model]]):
    rows = world()
    finance, operator = member_of("finance"), member_of("operator")
    act(finance, APIKey, "revoke", rows[APIKey])
    act(operator, APIKey, "revoke", rows[APIKey])
    act(operator, AIModel, "suspend", rows[AIModel])
    act(finance, AIModel, "suspend", rows[AIModel])
    assert APIKey.objects.get(pk=rows[APIKey].pk).revoked_at is None
    assert AIModel.objects.get(pk=rows[AIModel].pk).status == "published"
    act(member_of("support"), APIKey, "revoke", rows[APIKey])
    act(member_of("moderation"), AIModel, "suspend", rows[AIModel])
    assert APIKey.objects.get(pk=rows[APIKey].pk).revoked_at is not None
    assert AIModel.objects.get(pk=rows[AIModel].pk).status == "suspended"


def test_nobody_below_a_superuser_touches_staff():
    support, moderation = member_of("support"), member_of("moderation")
    colleague = make_user(is_staff=True)
    assert "0 people" in act(support, User, "end_sessions", colleague)
    colleague.refresh_from_db()
    assert colleague.session_version == 1
    page = moderation.client.get(f"/admin/accounts/user/{colleague.pk}/change/")
    assert page.status_code == 200
    assert b'name="_save"' not in page.content
    assert moderation.client.post(f"/admin/accounts/user/{colleague.pk}/change/", {"name": "Eve"}).status_code == 403


def test_nobody_below_a_superuser_makes_staff():
    moderation, person = member_of("moderation"), make_user()
    body = {"name": "Eve", "is_active": "on", "is_staff": "on", "is_superuser": "on", "groups": ["1"]}
    for inline in ("memberships", "emailaddress_set", "authenticator_set"):
        body |= {f"{inline}-TOTAL_FORMS": "0", f"{inline}-INITIAL_FORMS": "0"}
    answer = moderation.client.post(f"/admin/accounts/user/{person.pk}/change/", body)
    person.refresh_from_db()
    assert answer.status_code == 302
    assert (person.name, person.is_staff, person.is_superuser, person.groups.count()) == ("Eve", False, False, 0)


def test_an_operator_sets_a_rate_limit_and_no_name():
    operator, organization = member_of("operator"), make_user().personal_organization
    body = {"rate_limit": "12000", "name": "Evil", "slug": "evil"}
    answer = operator.client.post(f"/admin/accounts/organization/{organization.pk}/change/", body)
    assert answer.status_code == 302, answer.context["errors"]
    changed = Organization.objects.get(pk=organization.pk)
    assert (changed.rate_limit, changed.name, changed.slug) == (12000, organization.name, organization.slug)
    body["rate_limit"] = "0"
    assert operator.client.post(f"/admin/accounts/organization/{organization.pk}/change/", body).status_code == 200


# --- The API obeys the same groups ---


def bearer(user: User) -> Client:
    return make_client(authorization=f"Bearer {open_family(user=user, client='test').access}")


def test_the_api_asks_for_the_same_permissions():
    draft, waiting = make_model(), make_model(status="in_review")
    for group, sees in (("moderation", 200), ("finance", 200), ("operator", 200), (None, 404)):
        caller = bearer(member_of(*([group] if group else [])).user)
        assert caller.get(f"/api/models/{draft.public_id}").status_code == sees, group
        if group != "moderation":
            refused = caller.post(f"/api/models/{waiting.public_id}/publish", {}, content_type="application/json")
            assert refused.status_code in (403, 404), group
    moderator = bearer(member_of("moderation").user)
    endpoint = f"/api/models/{waiting.public_id}/endpoint"
    assert moderator.get(endpoint).json()["detail"] == "This model has no endpoint yet."
    assert bearer(member_of("finance").user).get(endpoint).status_code == 403
    body = {"url": "https://evil.example", "protocol": "json"}
    assert moderator.put(endpoint, body, content_type="application/json").status_code == 403
    published = moderator.post(f"/api/models/{waiting.public_id}/publish", {}, content_type="application/json")
    assert published.status_code == 200


# --- The second factor ---


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, next(iter(counters()))))


@pytest.fixture
def guarded(settings: Any) -> SimpleNamespace:
    """A superuser with an authenticator app, who logged in with it just now, where a second factor is needed."""
    settings.STAFF_REQUIRES_MFA = True
    user, secret = make_user(is_staff=True, is_superuser=True), generate_totp_secret()
    TOTP.activate(user, secret)
    client = make_client()
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    client.post("/accounts/2fa/authenticate/", {"code": code_of(secret)})
    return SimpleNamespace(client=client, user=user, secret=secret)


def let_it_age(client: Client) -> None:
    session = client.session
    for record in session["account_authentication_methods"]:
        record["at"] -= FRESH.total_seconds() + 1
    session.save()


def test_staff_without_a_second_factor_are_sent_to_set_one_up(settings: Any):
    settings.STAFF_REQUIRES_MFA = True
    user = make_user(is_staff=True, is_superuser=True)
    client = make_client()
    client.force_login(user)
    for path in ("/admin/", "/admin/accounts/user/", "/admin/jsi18n/"):
        answer = client.get(path)
        assert (answer.status_code, answer["Location"]) == (302, "/accounts/2fa/")
    assert "Staff need a second factor." in client.get("/accounts/2fa/").content.decode()
    client.post("/admin/accounts/user/", {"action": "end_sessions", "_selected_action": [str(user.pk)]})
    user.refresh_from_db()
    assert user.session_version == 1
    caller, _token = find_bearer(open_family(user=user, client="test").access)
    assert not Actor(user=caller, factor_at=clock.now()).may("marketplace.view_aimodel")
    settings.STAFF_REQUIRES_MFA = False
    assert client.get("/admin/").status_code == 200


def test_staff_who_logged_in_with_it_may_look_and_act(guarded: SimpleNamespace):
    assert guarded.client.get("/admin/").status_code == 200
    person = make_user()
    assert "1 person" in act(guarded, User, "grant_developer_role", person)
    assert Actor(user=guarded.user, factor_at=clock.now()).may("marketplace.view_aimodel")


def test_a_session_that_never_showed_it_sees_nothing(guarded: SimpleNamespace):
    client = make_client()
    client.force_login(guarded.user)
    answer = client.get("/admin/accounts/user/?q=ada")
    assert answer["Location"] == "/accounts/2fa/reauthenticate/?next=%2Fadmin%2Faccounts%2Fuser%2F%3Fq%3Dada"


def test_an_act_asks_for_it_again_and_is_done_then(guarded: SimpleNamespace):
    person = make_user()
    let_it_age(guarded.client)
    assert guarded.client.get("/admin/accounts/user/").status_code == 200, "to look, having shown it once is enough"
    body = {"action": "grant_developer_role", "_selected_action": [str(person.pk)]}
    step = guarded.client.post("/admin/accounts/user/", body)
    assert step["Location"] == "/accounts/2fa/reauthenticate/?next=%2Fadmin%2Faccounts%2Fuser%2F"
    person.refresh_from_db()
    assert person.role == "consumer"
    guarded.user.authenticator_set.get(type="totp").delete()
    secret = generate_totp_secret()
    TOTP.activate(guarded.user, secret)  # a code works once, and the one of this half minute is used
    page = guarded.client.post(
        step["Location"], {"code": code_of(secret), "next": "/admin/accounts/user/"}, follow=True
    )
    assert "1 person may publish now." in page.content.decode()
    person.refresh_from_db()
    assert person.role == "developer"


# --- The same factor in the API ---


def publish(client: Client, ai_model: AIModel) -> tuple[int, str]:
    answer = client.post(f"/api/models/{ai_model.public_id}/publish", {}, content_type="application/json")
    return answer.status_code, answer.json().get("code", "")


def test_a_program_acts_for_staff_by_a_factor_that_it_showed_lately(guarded: SimpleNamespace):
    first, second = make_model(status="in_review"), make_model(status="in_review")
    guarded.user.authenticator_set.get(type="totp").delete()
    secret = generate_totp_secret()
    TOTP.activate(guarded.user, secret)  # a code works once, and the one of this half minute is used
    body = {"email": guarded.user.email, "password": PASSWORD, "code": code_of(secret)}
    pair = make_client().post("/api/auth/login", body, content_type="application/json").json()
    program = make_client(authorization=f"Bearer {pair['access']}")
    assert publish(program, first) == (200, "")
    with later("16 minutes"):
        fresh = make_client().post("/api/auth/refresh", {"refresh": pair["refresh"]}, content_type="application/json")
        program = make_client(authorization=f"Bearer {fresh.json()['access']}")
        assert publish(program, second) == (403, "second_factor_stale")
        assert program.get(f"/api/models/{second.public_id}").status_code == 200, "to look, having shown it is enough"


def test_a_program_that_never_showed_it_is_nobody_in_particular(guarded: SimpleNamespace):
    draft = make_model(status="in_review")
    program = bearer(guarded.user)
    assert program.get(f"/api/models/{draft.public_id}").status_code == 404
    assert publish(program, draft) == (403, "second_factor_stale")
    endpoint = program.put(f"/api/models/{draft.public_id}/endpoint", {}, content_type="application/json")
    assert (endpoint.status_code, endpoint.json()["code"]) == (403, "second_factor_stale")


def test_a_session_acts_in_the_api_as_it_does_in_the_administration(guarded: SimpleNamespace):
    first, second = make_model(status="in_review"), make_model(status="in_review")
    assert publish(guarded.client, first) == (200, "")
    let_it_age(guarded.client)
    assert publish(guarded.client, second) == (403, "second_factor_stale")
