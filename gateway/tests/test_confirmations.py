"""What publishers say that a call used: signed, once, deciding of orphans and compared with all else; and the books."""

import base64
import hmac
import json
import time
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from accounts.models import Budget
from apikeys.tests.factories import make_person
from common.ids import encode, uuid7
from gateway.models import Endpoint, Invocation, Rule, UsageConfirmation
from gateway.serializers import EndpointOut
from gateway.services import check_books, compare_confirmations, gaps, set_endpoint, settle_orphans
from gateway.services.calls import move
from gateway.tests.test_calls import later, make_budget, reserve, settle, state
from marketplace.services import Terms
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db

RATES = {"input_nano_per_million": 10**6, "output_nano_per_million": 2 * 10**6}
PATH = "/api/usage-confirmations"


@pytest.fixture
def model():
    organization = make_person().personal_organization
    found = make_model(publisher=organization, status="published", pricing=Terms(type="paid", **RATES))
    set_endpoint(ai_model=found, url="https://models.example.org", protocol="json")
    return found


@pytest.fixture
def started(model):
    """A call of the model that is under way, with a hold of 1,000."""

    def begin(budget: Budget, **values):
        ids = {
            "publisher_id": model.publisher_id,
            "ai_model_id": model.pk,
            "version_id": model.current_version_id,
            "price_id": model.price.pk,
        }
        call = reserve(1000, budget, **{**ids, **values})
        move(reserves=[call])
        return call

    return begin


def secret_of(model) -> bytes:
    shown = EndpointOut(Endpoint.objects.of_model(model.pk).get()).data["signing_secret"]
    return base64.b64decode(shown.removeprefix("whsec_"))


def send(key: bytes, body, *, at: int | None = None, request_id: str | None = None, raw: bytes | None = None):
    raw = json.dumps(body).encode() if raw is None else raw
    moment = int(time.time()) if at is None else at
    signed = f"{moment}.{request_id or body['request_id']}.".encode() + raw
    signature = f"t={moment},v1={hmac.digest(key, signed, 'sha256').hex()}"
    return Client().post(PATH, raw, content_type="application/json", headers={"X-Agorai-Signature": signature})


def told(call, input_tokens=100, output_tokens=200, **more):
    return {
        "request_id": encode("req", call.id),
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        **more,
    }


def test_an_orphan_costs_what_its_publisher_confirmed(model, started):
    budget = make_budget(10_000)
    call = started(budget)
    answer = send(secret_of(model), told(call))
    assert answer.status_code == 200, answer.content
    assert answer.json()["output_tokens"] == 200
    later(seconds=151)
    assert settle_orphans() == 1
    row = Invocation.objects.get(pk=call.id)
    assert (row.rule, row.cost_nano, row.usage_source) == (Rule.ORPHAN_CONFIRMED, 500, "reported")
    assert state(budget) == (0, 500)
    assert compare_confirmations() == 1
    assert UsageConfirmation.objects.get().gap_nano == 0
    assert check_books() == []


def test_an_orphan_costs_what_was_noted_of_it_and_never_more_than_its_hold(started):
    budget = make_budget(10_000)
    call, large, silent = started(budget), started(budget), started(budget)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT gateway_beat(%s::uuid[], %s::bigint[], %s::bigint[])",
            [[call.id, large.id, silent.id], [10, 10, 10], [20, 5000, 0]],
        )
    later(seconds=151)
    assert settle_orphans() == 3
    rows = Invocation.objects.in_bulk([call.id, large.id, silent.id])
    assert (rows[call.id].rule, rows[call.id].cost_nano) == (Rule.ORPHAN_PROGRESS, 50)
    assert (rows[large.id].cost_nano, rows[large.id].overrun_nano) == (1000, 9010)
    assert (rows[silent.id].rule, rows[silent.id].cost_nano) == (Rule.ORPHAN_VOID, 0)
    assert state(budget) == (0, 1050)
    assert check_books() == []


def test_a_confirmation_outweighs_a_note(model, started):
    call = started(make_budget(10_000))
    with connection.cursor() as cursor:
        cursor.execute("SELECT gateway_beat(ARRAY[%s]::uuid[], ARRAY[10]::bigint[], ARRAY[20]::bigint[])", [call.id])
    send(secret_of(model), told(call, 1, 1))
    later(seconds=151)
    settle_orphans()
    assert Invocation.objects.get(pk=call.id).cost_nano == 3


def test_the_first_confirmation_counts_and_a_replay_is_harmless(model, started):
    call, key = started(make_budget(10_000)), secret_of(model)
    first, again, other = send(key, told(call)), send(key, told(call)), send(key, told(call, 1, 1))
    assert first.json() == again.json() == other.json()
    assert UsageConfirmation.objects.get().output_tokens == 200


def test_what_is_not_signed_rightly_is_refused_alike_and_leaves_no_row(model, started):
    call, key = started(make_budget(10_000)), secret_of(model)
    other = make_model(publisher=make_person().personal_organization, name="Other", status="published")
    set_endpoint(ai_model=other, url="https://models.example.org", protocol="json")
    missing = {"request_id": encode("req", uuid7()), "input_tokens": 1, "output_tokens": 1}
    now = int(time.time())
    tries = [
        Client().post(PATH, json.dumps(told(call)), content_type="application/json"),
        Client().post(PATH, b"{", content_type="application/json"),
        Client().post(PATH, b"[]", content_type="application/json"),
        send(b"x" * 32, told(call)),
        send(secret_of(other), told(call)),
        send(key, missing),
        send(key, told(call), at=now - 400),
        send(key, told(call), at=now + 400),
        send(key, told(call), request_id=missing["request_id"]),
        send(key, {"request_id": "req_x"}),
        send(key, {"request_id": 5}, request_id="5"),
    ]
    assert {answer.status_code for answer in tries} == {401}
    documents = [{**answer.json(), "request_id": ""} for answer in tries]
    assert all(document == documents[0] for document in documents)
    assert not UsageConfirmation.objects.exists()


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"input_tokens": -1}, "/input_tokens"),
        ({"output_tokens": 1.5}, "/output_tokens"),
        ({"output_tokens": True}, "/output_tokens"),
        ({"output_tokens": 10**12}, "/output_tokens"),
        ({"cost": 5}, "/cost"),
    ],
)
def test_what_is_signed_and_makes_no_sense_says_where(model, started, values, pointer):
    answer = send(secret_of(model), {**told(started(make_budget(10_000))), **values})
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert not UsageConfirmation.objects.exists()


def test_a_difference_is_a_gap_that_nobody_is_charged_for(model, started):
    budget = make_budget(10_000)
    call = started(budget)
    move(settles=[settle(call, 500, rule=Rule.USAGE_REPORTED, input_tokens=100, output_tokens=200)])
    send(secret_of(model), told(call, 100, 250))
    assert compare_confirmations() == 1
    assert compare_confirmations() == 0, "once"
    row = UsageConfirmation.objects.get()
    assert (row.gap_nano, row.compared_at is not None) == (100, True)
    assert state(budget) == (0, 500)
    (gap,) = gaps()
    assert (gap.charged_nano, gap.overrun_nano, gap.gap_nano, gap.is_alarming) == (500, 0, 100, True)
    out = StringIO()
    call_command("check_books", stdout=out)
    assert "metering gap" in out.getvalue()


def test_check_books_names_what_was_left_behind_and_what_was_rated_wrongly(started):
    budget = make_budget(10_000)
    left, wrong, void = started(budget), started(budget), started(budget)
    move(settles=[settle(wrong, 501, rule=Rule.USAGE_REPORTED, input_tokens=100, output_tokens=200)])
    move(settles=[settle(void, 7, rule=Rule.UPSTREAM_ERROR)])
    later(seconds=300)
    found = check_books()
    assert len(found) == 3
    for call, words in ((left, "not renewed"), (wrong, "rated 500"), (void, "rated 0")):
        assert any(encode("req", call.id) in line and words in line for line in found)
    with pytest.raises(CommandError, match="not renewed"):
        call_command("check_books")


# --- Holds that grow --------------------------------------------------------------------------------------------------


def extend(call, to_nano: int):
    with connection.cursor() as cursor:
        cursor.execute("SELECT is_held, refused_by FROM gateway_extend(%s, %s)", [call.id, to_nano])
        return cursor.fetchone()


def test_a_hold_grows_in_all_budgets_or_in_none(started):
    wide, tight = make_budget(10_000), make_budget(1_500)
    call = reserve(1000, wide, tight)
    move(reserves=[call])
    assert extend(call, 1500) == (True, None)
    assert extend(call, 1500) == (True, None), "repeating it changes nothing"
    assert (state(wide), state(tight)) == ((1500, 0), (1500, 0))
    assert extend(call, 1501) == (False, tight.id)
    assert (state(wide), state(tight)) == ((1500, 0), (1500, 0))
    row = Invocation.objects.get(pk=call.id)
    assert (row.hold_nano, row.extended_nano) == (1500, 500)
    move(settles=[settle(call, 1400)])
    assert (state(wide), state(tight)) == ((0, 1400), (0, 1400))
    assert extend(call, 9000) == (False, None), "it is over"


def test_a_limit_that_was_removed_refuses_no_step(started):
    call = reserve(1000, budget := make_budget(1000))
    move(reserves=[call])
    Budget.objects.filter(pk=budget.pk).update(closed_at="2026-01-01T00:00:00Z")
    assert extend(call, 5000) == (True, None)
    assert state(budget) == (5000, 0)


def test_the_application_changes_no_confirmation(started):
    from django.db import DatabaseError

    with pytest.raises(DatabaseError, match="permission denied"), connection.cursor() as cursor:
        cursor.execute("UPDATE gateway_usageconfirmation SET output_tokens = 5")
