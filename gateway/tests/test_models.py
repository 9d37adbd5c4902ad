"""The database refuses rows that break a rule, whoever writes them."""

import psycopg
import pytest
from django.conf import settings
from django.db import IntegrityError, transaction

from gateway.models import Endpoint
from gateway.tests.factories import make_endpoint
from marketplace.tests.factories import make_model


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"protocol": "grpc"}, "endpoint_protocol"),
        ({"timeout_seconds": 0}, "endpoint_timeout_within_600_s"),
        ({"timeout_seconds": 601}, "endpoint_timeout_within_600_s"),
        ({"max_cost_nano": 0}, "endpoint_max_cost_positive"),
    ],
)
def test_an_endpoint_that_breaks_a_rule_is_refused(values, constraint):
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        make_endpoint(make_model(), **values)
    assert not Endpoint.objects.exists()


CALL = {
    "id": "uuid7_now()",
    "state": "'final'",
    "settled_at": "now()",
    "rule": "'demo'",
    "organization_id": "gen_random_uuid()",
    "publisher_id": "gen_random_uuid()",
    "ai_model_id": "gen_random_uuid()",
    "version_id": "gen_random_uuid()",
    "price_id": "gen_random_uuid()",
    "kind": "'invoke'",
    "mode": "'live'",
    "is_streamed": "false",
    "is_demo": "false",
    "budget_ids": "'{}'",
    "hold_nano": "10",
    "cost_nano": "10",
    "overrun_nano": "0",
    "started_at": "now()",
    "beat_at": "now()",
    "input_tokens": "0",
    "output_tokens": "0",
    "usage_source": "''",
    "error_code": "''",
}


def insert(table: str, row: dict) -> None:
    with psycopg.connect(settings.DATABASE_OWNER_URL) as owner:
        owner.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(row.values())})")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"settled_at": "NULL"}, "invocation_final_once_settled"),
        ({"rule": "''"}, "invocation_final_once_settled"),
        ({"state": "'started'"}, "invocation_final_once_settled"),
        ({"hold_nano": "-1", "cost_nano": "-1"}, "invocation_hold_not_negative|invocation_cost_within_its_hold"),
        ({"cost_nano": "11"}, "invocation_cost_within_its_hold"),
        ({"cost_nano": "-1"}, "invocation_cost_within_its_hold"),
        ({"overrun_nano": "-1"}, "invocation_overrun_not_negative"),
        ({"input_tokens": "-1"}, "invocation_tokens_not_negative"),
        ({"output_tokens": "-1"}, "invocation_tokens_not_negative"),
    ],
)
def test_not_even_the_owner_writes_a_call_that_breaks_a_rule(values, constraint):
    insert("gateway_invocation", CALL)
    with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
        insert("gateway_invocation", CALL | values)


EVENT = {
    name: CALL[name]
    for name in ("id", "organization_id", "publisher_id", "ai_model_id", "version_id", "price_id", "mode", "cost_nano")
} | {"input_tokens": "0", "output_tokens": "0", "occurred_at": "now()"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"cost_nano": "-1"}, "usage_event_cost_not_negative"),
        ({"input_tokens": "-1"}, "usage_event_quantity_not_negative"),
    ],
)
def test_not_even_the_owner_writes_usage_that_breaks_a_rule(values, constraint):
    insert("billing_usageevent", EVENT)
    with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
        insert("billing_usageevent", EVENT | values)
