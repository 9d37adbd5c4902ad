"""What an organization's webhooks are signed with is read by those who may, and by nobody else."""

from __future__ import annotations

import pytest

from apikeys.tests.factories import make_key, make_person
from notifications.services import shown_secret, webhook_secret

pytestmark = pytest.mark.django_db
PATH = "/api/webhooks/secret"


@pytest.mark.parametrize(
    ("role", "scope", "status"),
    [
        ("owner", "webhooks:read", 200),
        ("developer", "webhooks:read", 200),
        ("owner", "models:read", 403),
        ("member", "models:read", 403),
    ],
)
def test_a_key_needs_the_permission(client, role, scope, status):
    organization = make_person().personal_organization
    person = make_person(organization=organization, role=role)
    _key, secret = make_key(user=person, organization=organization, permissions=[scope])
    answer = client.get(PATH, headers={"authorization": f"Bearer {secret}"})
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"secret": shown_secret(webhook_secret(organization.pk))}


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("billing", 403), ("member", 403)])
def test_a_person_needs_the_role(client, role, status):
    organization = make_person().personal_organization
    client.force_login(make_person(organization=organization, role=role))
    answer = client.get(PATH, headers={"agorai-organization": organization.public_id})
    assert answer.status_code == status
