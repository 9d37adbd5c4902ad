"""Deployments through their door: made, changed, deleted, and nobody else's business."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import services as accounts
from accounts.models import Budget
from accounts.tests.factories import later, make_organization
from apikeys.tests.factories import make_key, make_person
from common.ids import encode, uuid7
from gateway.models import Deployment, Rule
from gateway.services import create_deployment, delete_deployment
from gateway.services.calls import Reserve, Settle, move
from gateway.tests.factories import make_endpoint
from marketplace.models import AIModel
from marketplace.services import add_version, delete_model
from marketplace.tests.factories import make_model
from observability.models import AuditEvent

pytestmark = pytest.mark.django_db
NANO = 10**9
ANYTHING = {"input": {"type": "object"}, "output": {"type": "object"}}


@pytest.fixture
def person():
    return make_person()


@pytest.fixture
def ai_model():
    return make_model(name="Mood", status="published")


@pytest.fixture
def client(person):
    client = Client()
    client.force_login(person)
    return client


def post(client, **body):
    return client.post("/api/deployments", body, content_type="application/json")


def patch(client, made, **body):
    return client.patch(f"/api/deployments/{made['id']}", body, content_type="application/json")


def faults(answer):
    assert answer.status_code == 422, answer.content
    return {error["pointer"]: error["code"] for error in answer.json()["errors"]}


def test_a_deployment_is_made_read_listed_changed_and_deleted(client, ai_model, person):
    other = make_model(name="Other", status="published")
    answer = post(
        client,
        name="support-bot",
        model_id=ai_model.public_id,
        version="1.0.0",
        rate_limit=60,
        spend_limit={"amount": "5.00", "window": "day"},
        fallback_model_id=other.public_id,
    )
    assert answer.status_code == 201, answer.content
    made = answer.json()
    spent = made.pop("spent")
    assert spent == {
        "used": {"amount": "0.00", "currency": "USD"},
        "held": {"amount": "0.00", "currency": "USD"},
        "remaining": {"amount": "5.00", "currency": "USD"},
        "resets_at": spent["resets_at"],
    }
    assert made == {
        "id": made["id"],
        "name": "support-bot",
        "model_id": ai_model.public_id,
        "version": "1.0.0",
        "status": "active",
        "rate_limit": 60,
        "spend_limit": {"amount": "5.00", "currency": "USD", "window": "day"},
        "fallback_model_id": other.public_id,
        "created_at": made["created_at"],
    }
    assert made["id"].startswith("dep_")
    assert client.get(f"/api/deployments/{made['id']}").json() == {**made, "spent": spent}
    assert client.get("/api/deployments").json()["data"] == [{**made, "spent": spent}]
    changed = patch(
        client, made, status="paused", version=None, rate_limit=None, spend_limit=None, fallback_model_id=None
    )
    assert changed.status_code == 200, changed.content
    nothing = {"version": None, "rate_limit": None, "spend_limit": None, "spent": None, "fallback_model_id": None}
    assert changed.json() == {**made, "status": "paused", **nothing}
    assert client.delete(f"/api/deployments/{made['id']}").status_code == 204
    assert client.get(f"/api/deployments/{made['id']}").status_code == 404
    assert client.delete(f"/api/deployments/{made['id']}").status_code == 404
    assert client.get("/api/deployments").json()["data"] == []
    assert post(client, name="support-bot", model_id=ai_model.public_id).status_code == 201, "the name is free again"


def test_a_model_knows_how_many_deployments_there_are(client, ai_model):
    first = post(client, name="one", model_id=ai_model.public_id).json()
    assert post(client, name="two", model_id=ai_model.public_id, status="paused").status_code == 201
    create_deployment(organization=make_organization(), name="one", ai_model_id=ai_model.pk)
    assert Client().get(f"/api/models/{ai_model.public_id}").json()["stats"]["deployments"] == 3
    client.delete(f"/api/deployments/{first['id']}")
    assert Client().get(f"/api/models/{ai_model.public_id}").json()["stats"]["deployments"] == 2


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "Upper"}, {"/name": "invalid"}),
        ({"name": "a/b"}, {"/name": "invalid"}),
        ({"name": "mdl_x"}, {"/name": "invalid"}),
        ({"name": "-a"}, {"/name": "invalid"}),
        ({"name": "a--b"}, {"/name": "invalid"}),
        ({"name": "a\n"}, None),  # white space at the ends is nobody's wish
        ({"name": "x" * 61}, {"/name": "max_length"}),
        ({"name": ""}, {"/name": "blank"}),
        ({"model_id": "mdl_x"}, {"/model_id": "invalid"}),
        ({"model_id": encode("mdl", uuid7())}, {"/model_id": "unknown_model"}),
        ({"model_id": None}, {"/model_id": "null"}),
        ({"version": "9.9.9"}, {"/version": "unknown_version"}),
        ({"status": "deleted"}, {"/status": "invalid_choice"}),
        ({"rate_limit": 0}, {"/rate_limit": "min_value"}),
        ({"spend_limit": {"amount": "1", "window": "year"}}, {"/spend_limit/window": "invalid_choice"}),
        ({"fallback_model_id": encode("mdl", uuid7())}, {"/fallback_model_id": "unknown_model"}),
        ({"organization_id": "org_x"}, {"/organization_id": "unknown_field"}),
        (
            {"name": "A", "version": "9.9.9", "fallback_model_id": encode("mdl", uuid7())},
            {"/name": "invalid", "/version": "unknown_version", "/fallback_model_id": "unknown_model"},
        ),
    ],
)
def test_what_does_not_fit_is_named(client, ai_model, body, expected):
    answer = post(client, **{"name": "support", "model_id": ai_model.public_id, **body})
    if expected is None:
        assert answer.status_code == 201
    else:
        assert faults(answer) == expected
        assert not Deployment.objects.exists()


def test_a_name_is_an_organizations_own_once(client, ai_model, person):
    made = post(client, name="support", model_id=ai_model.public_id).json()
    assert faults(post(client, name="support", model_id=ai_model.public_id)) == {"/name": "taken"}
    other = post(client, name="other", model_id=ai_model.public_id).json()
    assert faults(patch(client, other, name="support")) == {"/name": "taken"}
    assert patch(client, made, name="support").status_code == 200
    stranger = Client()
    stranger.force_login(make_person())
    assert post(stranger, name="support", model_id=ai_model.public_id).status_code == 201


def test_a_hidden_model_is_as_unknown_as_none(client, ai_model):
    hidden = make_model(name="Hidden")
    for pointer in ("model_id", "fallback_model_id"):
        given = {"name": "a", "model_id": ai_model.public_id}
        there = post(client, **{**given, pointer: hidden.public_id}).json()
        nowhere = post(client, **{**given, pointer: encode("mdl", uuid7())}).json()
        assert {**there, "request_id": ""} == {**nowhere, "request_id": ""}


def test_a_version_that_is_not_published_is_its_publishers_alone(client, ai_model, person):
    own = make_model(publisher=person.personal_organization, name="Own")
    assert post(client, name="own", model_id=own.public_id, version="1.0.0").status_code == 201
    add_version(ai_model=ai_model, version="1.1.0", api_spec=ANYTHING)
    assert post(client, name="pinned", model_id=ai_model.public_id, version="1.0.0").status_code == 201


def test_a_fallback_is_another_model_that_is_called_in_the_same_way(client, ai_model):
    alike, unlike = (make_model(name=name, status="published") for name in ("Alike", "Unlike"))
    make_endpoint(ai_model, protocol="openai")
    make_endpoint(alike, protocol="openai")
    make_endpoint(unlike, protocol="json")
    made = post(client, name="a", model_id=ai_model.public_id, fallback_model_id=alike.public_id)
    assert made.status_code == 201, made.content
    for other in (ai_model, unlike):
        assert faults(patch(client, made.json(), fallback_model_id=other.public_id)) == {"/fallback_model_id": "unfit"}


@pytest.mark.parametrize(("role", "status"), [("admin", 201), ("developer", 201), ("billing", 403), ("member", 403)])
def test_who_may_make_one_is_decided_by_the_role(ai_model, role, status):
    organization, person = make_organization(), make_person()
    accounts.add_member(organization=organization, user=person, role=role)
    client = Client(headers={"Agorai-Organization": organization.public_id})
    client.force_login(person)
    answer = post(client, name="support", model_id=ai_model.public_id)
    assert answer.status_code == status
    assert client.get("/api/deployments").status_code == 200
    made = create_deployment(organization=organization, name="theirs", ai_model_id=ai_model.pk)
    assert client.delete(f"/api/deployments/{made.public_id}").status_code == (204 if status == 201 else 403)


@pytest.mark.parametrize(
    ("scopes", "reads", "writes"),
    [(["deployments:read"], 200, 403), (["deployments:write"], 403, 201), (["models:invoke"], 403, 403)],
)
def test_a_key_needs_the_permission(ai_model, scopes, reads, writes):
    _, secret = make_key(permissions=scopes)
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    assert client.get("/api/deployments").status_code == reads
    assert post(client, name="support", model_id=ai_model.public_id).status_code == writes


def test_those_of_others_do_not_exist(client, ai_model):
    theirs = create_deployment(organization=make_organization(), name="theirs", ai_model_id=ai_model.pk)
    missing = encode("dep", uuid7())
    for method in ("get", "patch", "delete"):
        found, nowhere = (
            getattr(client, method)(f"/api/deployments/{id}", content_type="application/json").json()
            for id in (theirs.public_id, missing)
        )
        assert {**found, "request_id": ""} == {**nowhere, "request_id": ""}
        assert found["status"] == 404
    assert client.get("/api/deployments").json()["data"] == []
    assert client.get("/api/limits?deployment=theirs").status_code == 404


def test_a_list_of_many_costs_as_many_queries_as_one_of_few(client, ai_model, person, django_assert_max_num_queries):
    organization = person.personal_organization
    client.get("/api/deployments")  # the session is noted once
    counts = []
    for first, last in ((0, 3), (3, 30)):
        for number in range(first, last):
            made = create_deployment(
                organization=organization, name=f"d{number}", ai_model_id=ai_model.pk, version="1.0.0"
            )
            accounts.set_spend_limit(
                subject_kind="deployment", subject_id=made.pk, limit_nano=NANO, window="day", time_zone="UTC"
            )
        with django_assert_max_num_queries(30) as queries:
            assert len(client.get("/api/deployments?limit=100").json()["data"]) == last
        counts.append(len(queries))
    assert counts[0] == counts[1]
    page = client.get("/api/deployments?limit=20").json()
    rest = client.get(f"/api/deployments?limit=20&cursor={page['next_cursor']}").json()
    assert [len(page["data"]), len(rest["data"]), rest["has_more"]] == [20, 10, False]
    assert client.get("/api/deployments?status=active").status_code == 400


def test_each_act_is_recorded_with_what_was_there_before(client, ai_model, person):
    made = post(client, name="support", model_id=ai_model.public_id).json()
    patch(client, made, status="paused", spend_limit={"amount": "5"})
    patch(client, made, status="paused")  # nothing new
    client.delete(f"/api/deployments/{made['id']}")
    events = AuditEvent.objects.filter(target_type="deployment").order_by("id")
    assert [event.action for event in events] == ["deployment.created", "deployment.changed", "deployment.deleted"]
    created, changed, deleted = events
    slug = f"{ai_model.publisher.slug}/{ai_model.slug}"
    assert (created.after["name"], created.after["model"], created.after["version"]) == ("support", slug, None)
    assert changed.before == {"status": "active", "spend_limit_nano": None, "spend_window": None}
    assert changed.after == {"status": "paused", "spend_limit_nano": 5 * NANO, "spend_window": "month"}
    assert deleted.before["status"] == "paused"
    assert {event.organization_id for event in events} == {person.personal_organization.pk}


def test_a_draft_that_is_deleted_takes_its_own_tries_along(person, ai_model):
    organization = person.personal_organization
    draft = make_model(publisher=organization, name="Draft")
    create_deployment(organization=organization, name="try", ai_model_id=draft.pk, version="1.0.0")
    other = create_deployment(organization=organization, name="b", ai_model_id=ai_model.pk, fallback_id=draft.pk)
    assert delete_model(ai_model=draft) is None
    assert list(Deployment.objects.all()) == [other]
    other.refresh_from_db()
    assert other.fallback_id is None


# --- What is shown is what counts ---


def spend(deployment, cost, *, hold=None, is_settled=True):
    [budget] = accounts.current_budgets([deployment.pk])
    call = Reserve.of(
        id=uuid7(),
        organization_id=deployment.organization_id,
        user_id=None,
        api_key_id=None,
        publisher_id=uuid7(),
        ai_model_id=uuid7(),
        version_id=uuid7(),
        price_id=uuid7(),
        kind="invoke",
        mode="live",
        is_streamed=False,
        hold_nano=hold or cost,
        budget_ids=(budget.pk,),
        deployment_id=deployment.pk,
    )
    assert move(reserves=[call]).refused == {}
    if is_settled:
        ending = {"input_tokens": 0, "output_tokens": 0, "usage_source": "", "http_status": 200, "error_code": ""}
        move(settles=[Settle(id=call.id, rule=Rule.DEMO, cost_nano=cost, latency_ms=1, first_token_ms=None, **ending)])


@pytest.fixture
def limited(client, person, ai_model):
    made = post(client, name="support", model_id=ai_model.public_id, spend_limit={"amount": "5", "window": "day"})
    return Deployment.objects.get(name=made.json()["name"])


def shown(client, deployment):
    """What the deployment's answer and `GET /api/limits` say is left; and the row that is enforced."""
    told = client.get(f"/api/deployments/{deployment.public_id}").json()["spent"]
    [limit] = [
        one for one in client.get("/api/limits?deployment=support").json()["limits"] if one["source"] == "deployment"
    ]
    assert limit["remaining"] == told["remaining"]
    assert limit["used"] == told["used"]
    assert limit["resets_at"] == told["resets_at"]
    [budget] = accounts.current_budgets([deployment.pk])
    assert told["remaining"]["amount"] == f"{budget.left / NANO:.2f}"
    return told["used"]["amount"], told["held"]["amount"], told["remaining"]["amount"]


def test_the_numbers_shown_are_those_that_count_also_right_after_a_window_has_turned(client, limited):
    assert shown(client, limited) == ("0.00", "0.00", "5.00")
    spend(limited, 2 * NANO)
    spend(limited, NANO, is_settled=False)
    assert shown(client, limited) == ("2.00", "1.00", "2.00")
    with later("1 day"):
        assert shown(client, limited) == ("0.00", "0.00", "5.00")
        spend(limited, 5 * NANO)
        assert shown(client, limited) == ("5.00", "0.00", "0.00")


def test_a_deleted_one_limits_nothing_any_more(limited):
    spend(limited, NANO)
    delete_deployment(deployment=limited)
    assert accounts.current_budgets([limited.pk]) == []
    assert Budget.objects.get(subject_id=limited.pk).spent == NANO
    assert AIModel.objects.get(pk=limited.ai_model_id).deployment_count == 0


def test_models_are_locked_before_the_deployments_that_may_go_with_them(person, ai_model):
    """In that order whoever deletes a model locks them too; in another one both could wait for each other."""
    with CaptureQueriesContext(connection) as made:
        deployment = create_deployment(
            organization=person.personal_organization, name="support-bot", ai_model_id=ai_model.pk
        )
    with CaptureQueriesContext(connection) as deleted:
        delete_deployment(deployment=deployment)

    for queries in (made, deleted):
        touched = [query["sql"] for query in queries if "FOR " in query["sql"] or "INSERT" in query["sql"]]
        assert 'FROM "marketplace_aimodel"' in touched[0]
        assert touched[0].rstrip().endswith("FOR NO KEY UPDATE")
        assert any('"gateway_deployment"' in sql for sql in touched[1:])
