"""Credit that staff give, and what they may not touch."""

from __future__ import annotations

import pytest

from accounts.models import Budget
from accounts.tests.factories import make_user
from billing.models import CreditGrant
from billing.services import check_ledger, ensure_account, grant_credit
from marketplace.tests.factories import make_organization
from observability.models import AuditEvent

pytestmark = pytest.mark.django_db
ADD = "/admin/billing/creditgrant/add/"


@pytest.fixture
def browser(client):
    client.force_login(make_user(is_staff=True, is_superuser=True))
    return client


def fields(**values):
    return {"amount": "5.00", "reason": "Sorry.", "expires_at": "", **values}


def test_staff_give_credit_with_a_reason(browser):
    organization = make_organization()
    answer = browser.post(ADD, fields(organization=str(organization.pk)))
    assert answer.status_code == 302, answer.context["errors"]
    grant = CreditGrant.objects.get()
    assert (grant.amount_nano, grant.source, grant.reason) == (5 * 10**9, "given", "Sorry.")
    assert Budget.objects.get(subject_id=organization.pk).limit == 5 * 10**9
    assert AuditEvent.objects.filter(action="credit.granted", organization_id=organization.pk).count() == 1
    assert check_ledger() == []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"amount": "0"}, "more than nothing"),
        ({"amount": "-5"}, "more than nothing"),
        ({"amount": "a lot"}, "not a plain decimal number"),
        ({"amount": "0.0000000001"}, "nine decimals"),
        ({"reason": ""}, "required"),
        ({"expires_at": "2001-01-01T00:00"}, "over"),
    ],
)
def test_what_is_not_given_says_why(browser, values, says):
    organization = make_organization()
    answer = browser.post(ADD, fields(organization=str(organization.pk), **values))
    assert answer.status_code == 200
    assert says in answer.content.decode()
    assert CreditGrant.objects.count() == 0


def test_a_limit_of_credit_is_not_changed_by_hand(browser):
    organization = make_organization()
    budget = ensure_account(organization)
    grant = grant_credit(organization=organization, amount_nano=5, source="given", key="x")
    page = f"/admin/accounts/budget/{budget.pk}/change/"
    assert b'name="_save"' not in browser.get(page).content
    assert browser.post(page, {"amount": "7"}).status_code == 403
    assert b'name="_save"' not in browser.get(f"/admin/billing/creditgrant/{grant.pk}/change/").content
    assert check_ledger() == []
