"""The books: posting, reversing, and whether they are right. The laws are the database's (migration 0004)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from accounts.models import Organization
from billing.models import LedgerAccount, LedgerTransaction
from common import clock
from common.ids import encode

Kind = LedgerAccount.Kind


@transaction.atomic
def account_of(kind: str, organization: Organization | None = None) -> LedgerAccount:
    """The account, opened now if nobody has opened it yet."""
    id = _value("SELECT ledger_account(%s, %s, %s)", [kind, organization and organization.pk, settings.CURRENCY])
    return LedgerAccount.objects.get(pk=id)


@transaction.atomic
def post(
    *, kind: str, key: str, legs: Mapping[LedgerAccount, int], memo: str = "", at: datetime | None = None
) -> LedgerTransaction:
    """One transaction. legs: account -> what enters it, in nano-units; they add up to zero.

    key: derived from what happened, never random; a second time the first transaction is returned. Raises
    IntegrityError for legs that do not add up (at commit at the latest), and for a key that stands for something else.
    """
    accounts = list(legs)
    id = _value(
        "SELECT ledger_post(%s, %s, %s, %s, %s::uuid[], %s::bigint[])",
        [kind, key, memo, at or clock.now(), [one.pk for one in accounts], [legs[one] for one in accounts]],
    )
    return LedgerTransaction.objects.get(pk=id)


@transaction.atomic
def reverse(*, wrong: LedgerTransaction, memo: str, at: datetime | None = None) -> LedgerTransaction:
    """Undo an adjustment by the same legs the other way round; a second time returns the same reversal."""
    id = _value("SELECT ledger_reverse(%s, %s, %s)", [wrong.pk, memo, at or clock.now()])
    return LedgerTransaction.objects.get(pk=id)


BALANCES = """
SELECT a.id, a.kind, a.balance_nano, coalesce(e.sum, 0) FROM billing_ledgeraccount a
  LEFT JOIN (SELECT account_id, sum(amount_nano) AS sum FROM billing_ledgerentry GROUP BY 1) e ON e.account_id = a.id
 WHERE a.balance_nano <> coalesce(e.sum, 0)
"""
UNBALANCED = """
SELECT t.id, t.key FROM billing_ledgertransaction t
  LEFT JOIN billing_ledgerentry e ON e.transaction_id = t.id LEFT JOIN billing_ledgeraccount a ON a.id = e.account_id
 GROUP BY t.id, a.currency HAVING coalesce(sum(e.amount_nano), 0) <> 0 OR count(e.id) < 2
"""
# Credit's limit - spent = its balance in the books - what is not posted yet; and that balance is what grants have left.
CREDIT = """
SELECT o.slug, coalesce(b.left_over, 0), coalesce(a.balance_nano, 0) - coalesce(u.due, 0),
       coalesce(a.balance_nano, 0), coalesce(g.remaining, 0)
  FROM accounts_organization o
  LEFT JOIN (SELECT subject_id, sum("limit" - spent) AS left_over FROM accounts_budget
              WHERE purpose = 'credit' AND closed_at IS NULL GROUP BY 1) b ON b.subject_id = o.id
  LEFT JOIN billing_ledgeraccount a ON a.kind = 'credit' AND a.organization_id = o.id AND a.currency = %(currency)s
  LEFT JOIN (SELECT organization_id, sum(cost_nano) AS due FROM billing_usageevent
              WHERE posted_at IS NULL AND mode = 'live' AND cost_nano > 0 GROUP BY 1) u ON u.organization_id = o.id
  LEFT JOIN (SELECT organization_id, sum(remaining_nano) AS remaining FROM billing_creditgrant GROUP BY 1) g
         ON g.organization_id = o.id
 WHERE coalesce(b.left_over, 0) <> coalesce(a.balance_nano, 0) - coalesce(u.due, 0)
    OR coalesce(a.balance_nano, 0) <> coalesce(g.remaining, 0)
"""
CHARGES = """
SELECT c.id, c.calls, c.amount_nano, count(e.id), coalesce(sum(e.cost_nano), 0) FROM billing_charge c
  JOIN billing_usageevent e ON e.charge_id = c.id
 GROUP BY c.id HAVING count(e.id) <> c.calls OR sum(e.cost_nano) <> c.amount_nano
"""
POSTINGS = """
SELECT t.key, c.amount, coalesce(-e.credit, 0), c.fee, coalesce(e.fees, 0) FROM billing_ledgertransaction t
  JOIN (SELECT transaction_id, sum(amount_nano) AS amount, sum(fee_nano) AS fee FROM billing_charge GROUP BY 1) c
    ON c.transaction_id = t.id
  LEFT JOIN (SELECT e.transaction_id, sum(e.amount_nano) FILTER (WHERE a.kind = 'credit') AS credit,
                    sum(e.amount_nano) FILTER (WHERE a.kind = 'fees') AS fees
               FROM billing_ledgerentry e JOIN billing_ledgeraccount a ON a.id = e.account_id GROUP BY 1) e
    ON e.transaction_id = t.id
 WHERE t.kind = 'usage' AND (c.amount <> coalesce(-e.credit, 0) OR c.fee <> coalesce(e.fees, 0))
"""


def check_ledger() -> list[str]:
    """What disagrees within the books and between them, credit and usage, in plain words; empty when nothing does."""
    return list(_faults())


def _faults() -> Iterator[str]:
    for id, kind, balance, entries in _rows(BALANCES):
        yield f"ledger account {id} ({kind}): balance {balance}, its entries add up to {entries}"
    for id, key in _rows(UNBALANCED):
        yield f"ledger transaction {encode('txn', id)} ({key}): does not balance"
    for slug, left, booked, balance, remaining in _rows(CREDIT, {"currency": settings.CURRENCY}):
        yield f"credit of {slug}: its budget leaves {left}, the books {booked}, its grants {remaining} of {balance}"
    for id, calls, amount, found, cost in _rows(CHARGES):
        yield f"charge {encode('chg', id)}: {calls} calls for {amount}, found are {found} for {cost}"
    for key, amount, credit, fee, fees in _rows(POSTINGS):
        yield f"posting {key}: charges {amount} (fee {fee}), booked {credit} (fee {fees})"


def _value(statement: str, parameters: list[Any]) -> UUID:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        found: UUID = cursor.fetchone()[0]
        return found


def _rows(query: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
