"""That whoever reads a log reads sentences: every act that is recorded anywhere has its words."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from accounts.tests.factories import make_client, make_user
from observability.services import record
from observability.services.words import ACTIONS, OF_ORGANIZATIONS, words_of

PRODUCT = (
    *("accounts", "analytics", "apikeys", "billing", "config", "gateway", "marketplace", "media"),
    *("notifications", "reviews"),
)
#: Functions that record: which of their arguments names the act, and what stands before it.
RECORDERS = {
    "record": (0, ""),
    "_record": (0, ""),
    "record_about": (0, "account."),
    "_move": (3, "model."),  # marketplace: from state to state
    "_remove": (2, ""),  # accounts: a member goes
}
#: Where a name is handed on, by function: the names themselves are at its callers, which are in RECORDERS.
HAND_ON = {
    "accounts/services/developers.py:_record",
    "accounts/services/events.py:record_about",
    "accounts/services/invitations.py:_record",
    "accounts/services/members.py:_record",
    "accounts/services/members.py:_remove",
    "apikeys/services/keys.py:_record",
    "config/staff_log.py:_record",
    "gateway/services/deployments.py:_record",
    "marketplace/services/listings.py:_move",
    "media/services/uploads.py:_record",
    "marketplace/services/listings.py:_record",
}


def recorded(tree: ast.Module, where: str) -> Iterator[tuple[str, str]]:
    """Each act that is recorded in a file, and where; the act is empty where it is handed on."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for call in ast.walk(function):
            name = getattr(call.func, "id", getattr(call.func, "attr", "")) if isinstance(call, ast.Call) else ""
            if not isinstance(call, ast.Call) or name not in RECORDERS:
                continue
            position, prefix = RECORDERS[name]
            if len(call.args) <= position:  # another function of that name
                continue
            given = call.args[position]
            act = prefix + given.value if isinstance(given, ast.Constant) else ""
            yield act, f"{where}:{function.name}"


def all_recorded() -> list[tuple[str, str]]:
    root: Path = settings.BASE_DIR
    return [
        found
        for app in PRODUCT
        for path in sorted((root / app).rglob("*.py"))
        if "tests" not in path.parts and "migrations" not in path.parts
        for found in recorded(ast.parse(path.read_text()), str(path.relative_to(root)))
    ]


def test_every_act_that_is_recorded_has_words():
    found = all_recorded()
    acts = {act for act, _where in found if act}
    assert {where for act, where in found if not act} == HAND_ON, "which acts are recorded there?"
    assert acts - ACTIONS.keys() == set()
    assert ACTIONS.keys() - acts == set(), "words for what nobody records"


def test_an_organization_is_offered_what_its_log_can_hold():
    assert {"key.revoked", "staff.changed", "model.published"} <= OF_ORGANIZATIONS.keys()
    assert not {"account.closed", "developer.granted"} & OF_ORGANIZATIONS.keys()


@pytest.mark.django_db
def test_a_security_log_calls_each_act_by_its_own_name():
    user = make_user()
    record("key.changed", target_type="apikey", subject_user_id=user.pk, after={"name": "till"})
    record("developer.granted", target=user, subject_user_id=user.pk)
    client = make_client()
    client.force_login(user)
    shown = {str(row["words"]) for row in client.get("/settings/security-log").context["rows"]}
    assert {"Key changed", "May publish now"} <= shown
    assert "Profile changed" not in shown
    changes = {row["event"].action for row in client.get("/settings/security-log?show=changes").context["rows"]}
    assert "developer.granted" in changes
    assert words_of("nobody.knows_this") == "Nobody: knows this"
