"""What owners see of their organization's logs: theirs, all of it, page by page; and that nobody else sees it."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import make_client, make_member, make_organization, make_user
from apikeys.services import revoke_key
from apikeys.tests.factories import make_key
from common.ids import encode, uuid7
from observability.models import AuditEvent
from observability.services import Seen, forget_waiting_requests, note_request, record, write_requests

pytestmark = pytest.mark.django_db
PAGES = ["/settings/audit", "/settings/api-log"]


@pytest.fixture(autouse=True)
def empty_queue():
    yield
    forget_waiting_requests()


@pytest.fixture
def shop():
    """An organization with an owner, an admin and a member; the owner is logged in for it."""
    owner = make_user(name="Olga Owner")
    organization = make_organization(owner=owner, name="Shop")
    admin = make_member(organization=organization, role="admin", user=make_user(name="Adam Admin")).user
    member = make_member(organization=organization, role="member").user
    return organization, owner, admin, member


def visitor(user, organization):
    client = make_client(**{"Agorai-Organization": organization.public_id})
    client.force_login(user)
    return client


def seal():
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")


def note(organization, number=1, **changes):
    for _ in range(number):
        values = {"method": "GET", "route": "api:keys", "status": 200, "ms": 3.4, "error_code": ""}
        values |= {"user_id": None, "key_id": None, "address": "203.0.113.9", "client": "curl/8"} | changes
        note_request(Seen(id=uuid7(), organization_id=organization.pk, **values))
    write_requests()


@pytest.mark.parametrize("path", [*PAGES, "/api/audit-events"])
def test_owners_and_admins_see_it_and_members_do_not(shop, path):
    organization, owner, admin, member = shop

    assert visitor(owner, organization).get(path).status_code == 200
    assert visitor(admin, organization).get(path).status_code == 200
    assert visitor(member, organization).get(path).status_code == 403
    assert visitor(make_user(), organization).get(path).status_code == 404
    assert make_client().get(path).status_code == (401 if path.startswith("/api") else 302)


def test_a_key_reads_no_audit_log(shop):
    organization, owner, _admin, _member = shop
    _key, secret = make_key(user=owner, organization=organization, permissions=["keys:read", "keys:write"])

    assert make_client(authorization=f"Bearer {secret}").get("/api/audit-events").status_code == 403


def test_the_audit_log_tells_who_did_what(shop):
    organization, owner, _admin, _member = shop
    key, secret = make_key(user=owner, organization=organization, name="till", permissions=["keys:read", "keys:write"])
    make_client(authorization=f"Bearer {secret}").patch(
        f"/api/keys/{key.public_id}", {"name": "register"}, content_type="application/json"
    )
    seal()

    page = visitor(owner, organization).get("/settings/audit").content.decode()

    assert "Key changed" in page
    assert "till → register" in page
    assert "Olga Owner" in page
    assert "by the key register" in page
    assert key.public_id in page
    assert secret not in page


def test_what_others_did_elsewhere_is_not_there(shop):
    organization, owner, _admin, _member = shop
    other = make_organization(owner=owner, name="Elsewhere")
    record("thing.done", organization_id=other.pk, after={"word": "otherwhere"})
    record("account.password_changed", target=owner, subject_user_id=owner.pk, actor_user_id=owner.pk)
    seal()

    page = visitor(owner, organization).get("/settings/audit").content.decode()

    assert "otherwhere" not in page
    assert "password" not in page.lower().split("</header>")[-1].split('id="events-title"')[-1]


def test_staff_are_told_as_staff_and_those_who_left_as_such(shop):
    organization, owner, _admin, _member = shop
    staff, gone = make_user(name="Stan Staff", is_staff=True), make_user(name="Greta Gone")
    for actor in (staff, gone):
        record("model.suspended", organization_id=organization.pk, actor_user_id=actor.pk)
    seal()

    page = visitor(owner, organization).get("/settings/audit").content.decode()

    assert "Staff of this site" in page
    assert "Stan Staff" not in page
    assert "Greta Gone (no longer a member)" in page


def test_events_are_found_by_act_and_person(shop):
    organization, owner, admin, _member = shop
    record("key.created", organization_id=organization.pk, actor_user_id=owner.pk, after={"word": "alpha-1"})
    record("key.revoked", organization_id=organization.pk, actor_user_id=admin.pk, after={"word": "beta-2"})
    seal()
    client = visitor(owner, organization)

    by_act = client.get("/settings/audit?action=key.revoked").content.decode()
    by_person = client.get(f"/settings/audit?person={encode('usr', owner.pk)}&action=key.created").content.decode()

    assert "beta-2" in by_act
    assert "alpha-1" not in by_act
    assert "alpha-1" in by_person
    assert "beta-2" not in by_person
    assert "No event matches" in client.get("/settings/audit?action=model.deleted").content.decode()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("query", ["?cursor=x", "?person=usr_x&action=%00&key=1&route=%ff&status=no&span=year"])
def test_a_bad_address_is_no_bug(shop, path, query):
    organization, owner, _admin, _member = shop

    assert visitor(owner, organization).get(path + query).status_code in (200, 400)


def test_pages_follow_each_other_without_a_gap(shop):
    organization, owner, _admin, _member = shop
    for number in range(60):
        record("key.created", organization_id=organization.pk, after={"word": f"word-{number:02d}."})
        note(organization, route=f"api:route-{number:02d}.")
    seal()
    client = visitor(owner, organization)

    lists = (
        ("/settings/audit?action=key.created", 'wrap-any">word-{:02d}.<'),
        ("/settings/api-log", 'clip">route-{:02d}.<'),
    )
    for path, word in lists:
        first = client.get(path)
        second = client.get(path.partition("?")[0] + first.context["older"])
        on_first, on_second = (
            {n for n in range(60) if word.format(n) in response.content.decode()} for response in (first, second)
        )
        assert (len(on_first), len(on_second)) == (50, 10)
        assert on_first.isdisjoint(on_second)
        assert second.context["older"] == ""
        assert second.context["newest"]


@pytest.mark.parametrize("path", [*PAGES, "/api/audit-events"])
def test_a_long_list_costs_no_more_queries_than_a_short_one(shop, path):
    organization, owner, _admin, _member = shop
    client = visitor(owner, organization)

    def fill(number):
        for _ in range(number):
            key, _secret = make_key(user=make_member(organization=organization).user, organization=organization)
            record("key.changed", target=key, organization_id=organization.pk, actor_user_id=key.user_id)
            note(organization, key_id=key.pk, user_id=key.user_id)
        seal()

    def cost():
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(path).status_code == 200
        return len(queries)

    fill(3)
    client.get(path)
    few = cost()
    fill(12)
    assert cost() == few


def test_requests_are_found_by_key_status_and_address(shop):
    organization, owner, _admin, _member = shop
    key, _secret = make_key(user=owner, organization=organization, name="till")
    note(organization, key_id=key.pk, user_id=owner.pk, route="api:v1-models")
    note(organization, status=404, error_code="model_not_found")
    note(organization, status=503, error_code="upstream_unavailable")
    note(make_organization(), route="api:foreign")
    client = visitor(owner, organization)

    def shown(query):
        page = client.get(f"/settings/api-log?{query}").content.decode()
        words = ("v1-models</span>", "model_not_found", "upstream_unavailable", "foreign")
        return [word.partition("<")[0] for word in words if word in page]

    assert shown("") == ["v1-models", "model_not_found", "upstream_unavailable"]
    assert shown(f"key={key.public_id}") == ["v1-models"]
    assert shown("status=ok") == ["v1-models"]
    assert shown("status=4xx") == ["model_not_found"]
    assert shown("status=5xx") == ["upstream_unavailable"]
    assert shown("route=api:v1-models") == ["v1-models"]
    assert shown("span=7d&status=errors") == ["model_not_found", "upstream_unavailable"]


def test_the_api_lists_events_in_its_shape(shop):
    organization, owner, _admin, _member = shop
    key, _secret = make_key(user=owner, organization=organization, name="till")
    revoke_key(key=key)
    seal()

    response = visitor(owner, organization).get("/api/audit-events?limit=1&action=key.revoked")

    body = response.json()
    assert (body["has_more"], body["next_cursor"]) == (False, None)
    (event,) = body["data"]
    assert event["target"] == {"type": "key", "id": key.public_id}
    assert event["id"].startswith("evt_")
    assert event["before"]["name"] == "till"
    assert event["actor"] == {"user_id": None, "key_id": None}
    assert len(event["hash"]) == 64
    more = visitor(owner, organization).get("/api/audit-events?limit=1").json()
    assert more["has_more"] is True
    assert visitor(owner, organization).get(f"/api/audit-events?cursor={more['next_cursor']}").json()["data"]
    assert visitor(owner, organization).get("/api/audit-events?colour=red").status_code == 400


def test_an_owner_reads_the_log_by_an_index(shop):
    organization = shop[0]
    for number in range(300):
        record("key.created", organization_id=uuid7() if number % 30 else organization.pk)
    seal()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    events = AuditEvent.objects.of_organization(organization.pk)

    for rows in (events, events.filter(action="key.created"), events.filter(actor_user_id=uuid7())):
        plan = rows.order_by("-seq")[:51].explain()
        assert "Index" in plan
        assert "Sort" not in plan
