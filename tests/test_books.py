"""What nobody may write into the books, neither the application's role nor the owner of the tables."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from django.db import DatabaseError, connection, transaction

from billing.models import LedgerAccount, LedgerEntry, LedgerTransaction
from billing.services import account_of, post_usage
from billing.tests.test_ledger import adjust
from config.roles import as_owner
from gateway.services import check_books
from gateway.tests.test_posting import make_customer, spend
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db(transaction=True)

LEDGER = [
    "UPDATE billing_ledgerentry SET amount_nano = amount_nano + 1",
    "DELETE FROM billing_ledgerentry",
    "TRUNCATE billing_ledgerentry CASCADE",
    "UPDATE billing_ledgertransaction SET memo = 'other'",
    "UPDATE billing_ledgertransaction SET occurred_at = occurred_at - interval '1 day'",
    "DELETE FROM billing_ledgertransaction",
    "TRUNCATE billing_ledgertransaction CASCADE",
    "UPDATE billing_ledgeraccount SET balance_nano = 0",
    "UPDATE billing_ledgeraccount SET balance_nano = balance_nano + 1 WHERE kind = 'fees'",
    "UPDATE billing_ledgeraccount SET currency = 'EUR'",
    "UPDATE billing_ledgeraccount SET kind = 'taxes' WHERE kind = 'fees'",
    "DELETE FROM billing_ledgeraccount",
    "TRUNCATE billing_ledgeraccount CASCADE",
    "INSERT INTO billing_ledgeraccount (id, kind, currency, balance_nano) VALUES (uuid7_now(), 'taxes', 'USD', 5)",
    "INSERT INTO billing_ledgeraccount (id, kind, currency, balance_nano) VALUES (uuid7_now(), 'nonsense', 'USD', 0)",
    "INSERT INTO billing_ledgeraccount (id, kind, currency, balance_nano) VALUES (uuid7_now(), 'credit', 'USD', 0)",
    "INSERT INTO billing_ledgeraccount (id, kind, currency, balance_nano) VALUES (uuid7_now(), 'fees', 'USD', 0)",
    "INSERT INTO billing_ledgerentry (id, transaction_id, account_id, amount_nano)"
    " SELECT uuid7_now(), t.id, a.id, 1 FROM billing_ledgertransaction t, billing_ledgeraccount a"
    " WHERE a.kind = 'taxes'",
    "INSERT INTO billing_ledgertransaction (id, kind, key, memo, occurred_at)"
    " VALUES (uuid7_now(), 'adjustment', 'alone', '', now())",
    "INSERT INTO billing_ledgertransaction (id, kind, key, memo, occurred_at)"
    " VALUES (uuid7_now(), 'adjustment', 'adjustment:1', '', now())",
    "INSERT INTO billing_ledgertransaction (id, kind, key, memo, occurred_at)"
    " VALUES (uuid7_now(), 'adjustment', '', '', now())",
    "INSERT INTO billing_ledgertransaction (id, kind, key, memo, occurred_at)"
    " VALUES (uuid7_now(), 'reversal', 'r', '', now())",
]

CHARGES_AND_CREDIT = [
    "UPDATE billing_usageevent SET cost_nano = 0",
    "UPDATE billing_usageevent SET posted_at = NULL, charge_id = NULL",
    "UPDATE billing_usageevent SET posted_at = now()",
    "DELETE FROM billing_usageevent",
    "UPDATE billing_charge SET amount_nano = 1",
    "UPDATE billing_charge SET fee_nano = 0",
    "DELETE FROM billing_charge",
    "TRUNCATE billing_charge CASCADE",
    "UPDATE billing_creditgrant SET remaining_nano = amount_nano + 1",
    "UPDATE billing_creditgrant SET remaining_nano = -1",
    "DELETE FROM billing_creditgrant",
    "UPDATE billing_grantuse SET amount_nano = 1",
    "DELETE FROM billing_grantuse",
    "INSERT INTO billing_creditgrant (id, organization_id, source, key, reason, amount_nano, remaining_nano,"
    " ended_nano, priority, granted_at) SELECT uuid7_now(), organization_id, 'given', 'x', '', 0, 0, 0, 1, now()"
    " FROM billing_creditgrant",
]


@pytest.mark.parametrize("role", [nullcontext, as_owner], ids=["application", "owner"])
def test_what_is_posted_stands(role):
    adjust()
    account_of("taxes")
    ai_model, organization = make_model(status="published"), make_customer(100)
    spend(ai_model, organization, 60)
    post_usage()
    before = state()
    with role():
        passed = [statement for statement in LEDGER + CHARGES_AND_CREDIT if not is_refused(statement)]
    assert passed == []
    assert state() == before
    assert check_books() == []


def is_refused(statement: str) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    except DatabaseError:
        return True
    return False


def state() -> list[object]:
    return [
        list(table.objects.order_by("pk").values_list()) for table in (LedgerAccount, LedgerTransaction, LedgerEntry)
    ]
