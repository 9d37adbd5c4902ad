"""The written table of roles is the one that the code obeys."""

import pytest

from accounts.models import ROLE_TABLE, Membership, role_may, roles_with
from apikeys.models import scopes_of_role
from common.policy import load_registry
from config.management.commands.role_table import FILE, document

#: What a key carries, and the right of the person behind it. The rest of the permissions are about what is yet to come.
RIGHTS = {
    "models:invoke": "models.call",
    "models:write": "models.publish",
    "analytics:read": "usage.see",
    "billing:read": "billing.see",
    "billing:write": "billing.change",
}


def test_the_document_is_current():
    assert FILE.read_text() == document(), "Run: manage.py role_table --write"


@pytest.mark.parametrize("role", Membership.Role.values)
def test_keys_reach_no_further_than_the_person(role):
    for scope, right in RIGHTS.items():
        assert (scope in scopes_of_role(role)) == role_may(role, right), scope


def test_the_access_policy_takes_its_roles_from_the_table():
    sets = {frozenset(right.roles) for right in ROLE_TABLE.values()}
    for name, policy in load_registry().items():
        assert policy.roles_write is None or policy.roles_write in sets, name
    assert load_registry()["api:models"].roles_write == frozenset(roles_with("models.publish"))
