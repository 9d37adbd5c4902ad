"""The ledger: what balances is posted once, what does not is refused by the database, whoever writes it."""

from __future__ import annotations

import threading

import pytest
from django.db import IntegrityError, connection, connections, transaction

from billing.models import LedgerAccount, LedgerTransaction
from billing.services import account_of, check_ledger, post, reverse
from marketplace.tests.factories import make_organization

pytestmark = pytest.mark.django_db

BANK, FEES = "bank", "fees"


def adjust(key: str = "adjustment:1", amount: int = 5) -> LedgerTransaction:
    return post(kind="adjustment", key=key, legs={account_of(BANK): -amount, account_of(FEES): amount})


def balance(kind: str) -> int:
    return LedgerAccount.objects.balance_of(kind)


def post_now(legs: dict[LedgerAccount, int]) -> None:
    """As if it were committed at once."""
    with transaction.atomic(), connection.cursor() as cursor:
        post(kind="adjustment", key="now", legs=legs)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def test_a_transaction_moves_its_accounts():
    adjust()
    adjust("adjustment:2", 7)
    assert (balance(BANK), balance(FEES)) == (-12, 12)
    assert check_ledger() == []


def test_an_account_is_opened_once():
    organization = make_organization()
    assert account_of("credit", organization) == account_of("credit", organization)
    assert account_of("credit", organization) != account_of("payable", organization)
    assert account_of("credit", organization).floor_nano == 0
    assert account_of(FEES) == account_of(FEES)


def test_legs_that_do_not_add_up_are_refused():
    with pytest.raises(IntegrityError, match="does not balance"):
        post_now({account_of(BANK): -5, account_of(FEES): 4})
    with pytest.raises(IntegrityError, match="does not balance"):
        post_now({account_of(BANK): -5})
    with pytest.raises(IntegrityError, match="has no entries"):
        post_now({})
    assert LedgerTransaction.objects.count() == 0


def test_the_same_fact_is_posted_once():
    assert adjust() == adjust()
    assert balance(FEES) == 5
    with pytest.raises(IntegrityError, match="stands for something else"), transaction.atomic():
        adjust(amount=6)
    with pytest.raises(IntegrityError, match="stands for something else"), transaction.atomic():
        post(kind="grant", key="adjustment:1", legs={account_of(BANK): -5, account_of(FEES): 5})


def test_a_reversal_undoes_once():
    wrong = adjust()
    undone = reverse(wrong=wrong, memo="typo")
    assert reverse(wrong=wrong, memo="typo") == undone
    assert undone.reverses == wrong
    assert balance(FEES) == 0
    with pytest.raises(IntegrityError, match="not one to be reversed"), transaction.atomic():
        reverse(wrong=undone, memo="and back")
    assert check_ledger() == []


def test_prepaid_credit_never_goes_below_nothing():
    organization = make_organization()
    with pytest.raises(IntegrityError, match="above_its_floor"), transaction.atomic():
        post(kind="adjustment", key="x", legs={account_of("credit", organization): -1, account_of(FEES): 1})


def test_currencies_do_not_make_up_for_each_other(settings):
    dollars = account_of(BANK)
    settings.CURRENCY = "EUR"
    euros = account_of(FEES)
    with pytest.raises(IntegrityError, match="does not balance"):
        post_now({dollars: -1, euros: 1})


@pytest.mark.django_db(transaction=True)
def test_many_at_once_neither_lose_nor_lock_each_other():
    organizations = [make_organization() for _ in range(4)]
    accounts = [account_of("payable", one) for one in organizations]
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for n in range(10):
                legs = {accounts[(number + n) % 4]: -1, accounts[(number + n + 1) % 4]: 1}
                post(kind="adjustment", key=f"adjustment:{number}:{n}", legs=legs)
                post(kind="adjustment", key=f"shared:{n}", legs={account_of(BANK): -1, account_of(FEES): 1})
        except BaseException as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert LedgerTransaction.objects.count() == 6 * 10 + 10
    assert balance(FEES) == 10
    assert check_ledger() == []
