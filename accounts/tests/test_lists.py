"""Every list of this app costs as many queries for thirty rows as for three."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import services
from accounts.models import Organization, User
from accounts.tests.factories import make_client, make_member, make_organization, make_user, new_address
from observability.services import record

pytestmark = pytest.mark.django_db


def more_organizations(user: User, organization: Organization) -> None:
    made = make_organization(owner=make_user())
    make_member(organization=made, user=user)
    services.limit_spending(organization=made, limit_nano=10**9)


def more_members(user: User, organization: Organization) -> None:
    make_member(organization=organization)


def more_invitations(user: User, organization: Organization) -> None:
    services.invite_member(organization=organization, by=user, email=new_address(), role="member")


def more_sign_ins(user: User, organization: Organization) -> None:
    make_client().force_login(user)
    services.open_family(user=user, client="x")


def more_events(user: User, organization: Organization) -> None:
    record("account.logged_in", target=user, subject_user_id=user.pk, after={"by": "browser"})


LISTS: dict[str, Callable[[User, Organization], None]] = {
    "/api/organizations?limit=100": more_organizations,
    "/api/organizations/{id}/members?limit=100": more_members,
    "/api/organizations/{id}/invitations?limit=100": more_invitations,
    "/settings/sessions": more_sign_ins,
    "/settings/security-log": more_events,
}


@pytest.mark.parametrize("path", LISTS)
def test_a_list_costs_the_same_queries_for_3_and_30_rows(path: str):
    user = make_user()
    organization = make_organization(owner=user)
    client = Client(headers={"Agorai-Organization": organization.public_id})
    client.force_login(user)
    path = path.format(id=organization.public_id)

    def cost() -> tuple[int, Any]:
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(path)
        assert answer.status_code == 200
        return len(queries), answer.content

    costs = []
    for number in (3, 27):
        for _ in range(number):
            LISTS[path.replace(organization.public_id, "{id}")](user, organization)
        cost()  # what is noted once a minute is noted
        costs.append(cost())
    (few, short), (many, long) = costs
    assert len(long) > len(short), "there is more to see"
    assert many == few
