"""From settled calls to the books: every call once, every nano-unit on both sides, every credit from a grant."""

from __future__ import annotations

import random
import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, connections, transaction

from accounts.models import Budget, Organization
from billing.models import Charge, CreditGrant, GrantUse, LedgerAccount, LedgerTransaction, UsageEvent
from billing.services import end_grant, end_grants, ensure_account, grant_credit, post_usage
from common import clock
from common.ids import uuid7
from gateway.models import Rule
from gateway.services import check_books
from gateway.services.calls import Reserve, Settle, move
from marketplace.models import AIModel
from marketplace.tests.factories import make_model, make_organization

pytestmark = pytest.mark.django_db


def make_customer(credit: int, **grant) -> Organization:
    organization = make_organization()
    if credit:
        give(organization, credit, **grant)
    return organization


def give(organization: Organization, amount: int, **values) -> CreditGrant:
    return grant_credit(
        organization=organization, amount_nano=amount, **{"source": "given", "key": f"given:{uuid7()}", **values}
    )


def start(ai_model: AIModel, organization: Organization, cost: int, *, mode: str = "live") -> Reserve:
    """A call that holds `cost`, as the gateway would take it; with test keys nothing is held."""
    credit = ensure_account(organization)
    call = Reserve.of(
        id=uuid7(),
        organization_id=organization.pk,
        user_id=None,
        api_key_id=None,
        publisher_id=ai_model.publisher_id,
        ai_model_id=ai_model.pk,
        version_id=ai_model.current_version_id,
        price_id=ai_model.price.pk,
        kind="invoke",
        mode=mode,
        is_streamed=False,
        hold_nano=cost,
        budget_ids=(credit.pk,),
    )
    assert move(reserves=[call]).refused == {}
    return call


def finish(call: Reserve, cost: int) -> None:
    settle = Settle(call.id, Rule.DEMO, cost, 3, 4, "reported", 200, "", 5, None)
    assert move(settles=[settle]).unsettled == frozenset()


def spend(ai_model: AIModel, organization: Organization, cost: int, **values) -> None:
    finish(start(ai_model, organization, cost, **values), cost)


def balance(kind: str, organization: Organization | None = None) -> int:
    return LedgerAccount.objects.balance_of(kind, organization and organization.pk)


def remaining(*grants: CreditGrant) -> list[int]:
    for grant in grants:
        grant.refresh_from_db()
    return [grant.remaining_nano for grant in grants]


def test_calls_become_charges_and_entries_that_add_up(settings):
    settings.PLATFORM_FEE = Decimal("12.5")
    one, two = make_model(status="published"), make_model(status="published")
    ada, bob = make_customer(10_000), make_customer(10_000)
    for ai_model, organization, cost in ((one, ada, 1_001), (one, ada, 7), (two, ada, 300), (one, bob, 15)):
        spend(ai_model, organization, cost)
    assert post_usage() == 4
    charges = {(c.ai_model_id, c.organization_id): (c.calls, c.amount_nano, c.fee_nano) for c in Charge.objects.all()}
    assert charges == {  # the fee is rounded down call by call
        (one.pk, ada.pk): (2, 1_008, 125),
        (two.pk, ada.pk): (1, 300, 37),
        (one.pk, bob.pk): (1, 15, 1),
    }
    assert (balance("credit", ada), balance("credit", bob)) == (10_000 - 1_308, 10_000 - 15)
    assert (balance("payable", one.publisher), balance("payable", two.publisher)) == (1_023 - 126, 300 - 37)
    assert (balance("fees"), balance("promotions")) == (163, -20_000)
    for charge in Charge.objects.all():
        assert charge.usage_events.count() == charge.calls
        assert (charge.input_tokens, charge.output_tokens) == (3 * charge.calls, 4 * charge.calls)
    assert LedgerTransaction.objects.filter(kind="usage").count() == 1
    assert check_books() == []
    assert post_usage() == 0
    spend(one, ada, 5)
    assert post_usage() == 1
    assert balance("payable", one.publisher) == 1_023 - 126 + 5
    assert check_books() == []


def test_what_costs_nothing_is_not_posted():
    ai_model, organization = make_model(status="published"), make_customer(100)
    spend(ai_model, organization, 0)
    spend(ai_model, organization, 0, mode="test")
    start(ai_model, organization, 40)
    assert post_usage() == 0
    assert check_books() == []


def test_a_publisher_pays_its_own_model_as_anybody_does(settings):
    settings.PLATFORM_FEE = Decimal(10)
    ai_model = make_model(status="published")
    give(ai_model.publisher, 100)
    spend(ai_model, ai_model.publisher, 50)
    assert post_usage() == 1
    assert (balance("credit", ai_model.publisher), balance("payable", ai_model.publisher), balance("fees")) == (
        50,
        45,
        5,
    )


def test_grants_are_used_in_their_order():
    ai_model, organization = make_model(status="published"), make_customer(0)
    soon = clock.now() + timedelta(days=1)
    bought = give(organization, 100, source="purchased")
    ending = give(organization, 100, expires_at=soon + timedelta(days=1))
    sooner = give(organization, 100, expires_at=soon)
    first = give(organization, 100, priority=1)
    for cost, expected in ((30, [100, 100, 100, 70]), (120, [100, 100, 50, 0]), (151, [99, 0, 0, 0])):
        spend(ai_model, organization, cost)
        assert post_usage() == 1
        assert remaining(bought, ending, sooner, first) == expected
    assert [use.amount_nano for use in GrantUse.objects.filter(grant=sooner).order_by("id")] == [50, 50]
    assert first.ended_at is not None
    assert bought.ended_at is None
    assert check_books() == []


def test_what_is_left_of_a_grant_ends_on_its_day_and_what_is_used_or_held_does_not():
    ai_model, organization = make_model(status="published"), make_customer(0)
    grant = give(organization, 100, expires_at=clock.now() + timedelta(hours=1))
    bought = give(organization, 50, source="purchased", expires_at=clock.now() + timedelta(hours=1))
    spend(ai_model, organization, 30)
    running = start(ai_model, organization, 25)
    assert end_grants() == 0, "not yet"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL agorai.clock_offset = '2 hours'")
        assert end_grant(grant=grant, reason="expired") is None, "first the calls that may have used it are posted"
        assert post_usage() == 1
        assert end_grants() == 2
        assert remaining(grant, bought) == [0, 25], "what a running call holds stays"
        finish(running, 10)
        post_usage()
        assert end_grants() == 1
    assert remaining(grant, bought) == [0, 0]
    assert Budget.objects.get(subject_id=organization.pk, purpose="credit").limit == 40
    assert (balance("credit", organization), balance("breakage"), balance("promotions")) == (0, 40, -30)
    assert end_grants() == 0
    assert check_books() == []


def test_one_who_lacks_credit_holds_nobody_up(caplog):
    ai_model, poor, rich = make_model(status="published"), make_customer(10), make_customer(100)
    Budget.objects.filter(subject_id=poor.pk).update(limit=1_000)  # past the books
    spend(ai_model, poor, 500)
    spend(ai_model, rich, 60)
    assert post_usage(most=1) == 1
    assert balance("credit", rich) == 40
    assert "credit_does_not_cover_usage" in caplog.text
    assert any(poor.slug in fault for fault in check_books())
    give(poor, 600)
    Budget.objects.filter(subject_id=poor.pk).update(limit=610)
    assert post_usage() == 1
    assert check_books() == []


def test_welcome_credit_is_a_grant_once(settings, django_user_model):
    from accounts.services import open_account

    settings.WELCOME_CREDIT = Decimal("5.00")
    person = open_account(email="ada@example.org", password=None, name="Ada")
    budget = ensure_account(person.personal_organization)
    assert ensure_account(person.personal_organization) == budget
    assert budget.limit == 5 * 10**9
    (grant,) = CreditGrant.objects.filter(organization=person.personal_organization)
    assert (grant.source, grant.amount_nano) == ("welcome", 5 * 10**9)
    assert ensure_account(make_organization()).limit == 0
    assert check_books() == []


def test_a_grant_is_given_once_for_its_key():
    organization = make_customer(0)
    assert give(organization, 5, key="invoice:7") == give(organization, 5, key="invoice:7")
    assert Budget.objects.get(subject_id=organization.pk).limit == 5
    assert check_books() == []


def test_random_days_of_many_customers_balance_after_every_step(settings):
    chance = random.Random(7)
    settings.PLATFORM_FEE = Decimal("17.43")
    models = [make_model(status="published") for _ in range(3)]
    customers = [make_customer(chance.randrange(1, 10**6)) for _ in range(4)]
    running: list[tuple[Reserve, int]] = []
    for step in range(120):
        match chance.choice(["call", "call", "call", "end", "give", "post", "take"]):
            case "call":
                organization, hold = chance.choice(customers), chance.randrange(0, 10**5)
                budget = ensure_account(organization)
                if budget.limit - budget.spent - budget.held >= hold:
                    running.append((start(chance.choice(models), organization, hold), hold))
            case "end" if running:
                call, hold = running.pop(chance.randrange(len(running)))
                finish(call, chance.randrange(0, hold + 1))
            case "give":
                give(chance.choice(customers), chance.randrange(1, 10**6), priority=chance.randrange(3))
            case "post":
                post_usage(most=chance.choice([1, 3, 1000]))
            case "take":
                grant = CreditGrant.objects.order_by("?").first()
                end_grant(grant=grant, reason="taken back")
        if step % 10 == 0:
            assert check_books() == []
    for call, hold in running:
        finish(call, hold)
    post_usage()
    assert check_books() == []
    spent = sum(Charge.objects.values_list("amount_nano", flat=True))
    earned = sum(balance("payable", ai_model.publisher) for ai_model in models)
    assert earned + balance("fees") == spent
    assert sum(LedgerAccount.objects.values_list("balance_nano", flat=True)) == 0


@pytest.mark.django_db(transaction=True)
def test_several_post_while_calls_are_made_and_each_call_is_posted_once():
    ai_model, customers = make_model(status="published"), [make_customer(10**6) for _ in range(3)]
    failed: list[BaseException] = []
    is_over = threading.Event()

    def call(number: int) -> None:
        try:
            for n in range(30):
                spend(ai_model, customers[(number + n) % 3], 10 + n)
        except BaseException as error:
            failed.append(error)
        finally:
            connections.close_all()

    def post_on() -> None:
        try:
            while not is_over.is_set():
                post_usage(most=7)
        except BaseException as error:
            failed.append(error)
        finally:
            connections.close_all()

    callers = [threading.Thread(target=call, args=(number,)) for number in range(3)]
    posters = [threading.Thread(target=post_on) for _ in range(3)]
    for thread in callers + posters:
        thread.start()
    for thread in callers:
        thread.join()
    is_over.set()
    for thread in posters:
        thread.join()
    post_usage()
    assert failed == []
    assert UsageEvent.objects.unposted().count() == 0
    assert sum(Charge.objects.values_list("calls", flat=True)) == 90
    assert balance("payable", ai_model.publisher) == 3 * sum(range(10, 40))
    assert check_books() == []


def test_what_is_not_posted_is_found_by_its_index():
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT id FROM billing_usageevent WHERE posted_at IS NULL AND mode = 'live' AND cost_nano > 0"
            " AND organization_id <> ALL ('{}'::uuid[]) ORDER BY id LIMIT 5000"
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())
    partitions = plan.count("Scan")
    assert partitions > 0
    assert plan.count("Index Scan") + plan.count("Index Only Scan") == partitions
    assert "Sort" not in plan
