"""What the database itself refuses."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.models import Budget, EmailCode, Membership, Organization, RefreshFamily, RefreshToken, User
from accounts.tests.factories import make_member, make_organization, make_user
from common import clock
from common.ids import uuid7

pytestmark = pytest.mark.django_db
START = datetime(2026, 1, 1, tzinfo=UTC)


def refused_by(constraint):
    return pytest.raises(IntegrityError, match=constraint)


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"email": "Ada@example.org"}, "user_email_is_lower_case"),
        ({"name": ""}, "user_name_not_empty"),
        ({"platform_role": "staff"}, "user_platform_role"),
    ],
)
def test_a_user_is_refused(changes, constraint):
    user = make_user()
    with refused_by(constraint), transaction.atomic():
        User.objects.filter(pk=user.pk).update(**changes)


def test_an_address_has_one_user():
    with refused_by("accounts_user_email_key"), transaction.atomic():
        User.objects.create(email=make_user().email, name="Another")


@pytest.mark.parametrize("slug", ["Upper", "-a", "a-", "a--b", "a_b", "", "ä"])
def test_a_slug_has_a_shape(slug):
    with refused_by("organization_slug_shape"), transaction.atomic():
        Organization.objects.create(slug=slug, name="X")


def test_an_organization_has_a_name_and_a_slug_of_its_own():
    organization = make_organization()
    with refused_by("organization_name_not_empty"), transaction.atomic():
        Organization.objects.create(slug="x-y", name="")
    with refused_by("accounts_organization_slug_key"), transaction.atomic():
        Organization.objects.create(slug=organization.slug, name="X")


def test_a_person_has_one_personal_organization():
    with refused_by("personal_owner_id_key"), transaction.atomic():
        Organization.objects.create(slug="second", name="X", personal_owner=make_user())


def test_a_membership_is_one_and_has_a_known_role():
    member = make_member()
    with refused_by("membership_once_per_organization"), transaction.atomic():
        Membership.objects.create(organization=member.organization, user=member.user, role="admin")
    with refused_by("membership_role"), transaction.atomic():
        Membership.objects.filter(pk=member.pk).update(role="boss")


def budget(**changes):
    values = {
        "subject_kind": "key",
        "subject_id": uuid7(),
        "purpose": "spend_limit",
        "window": "day",
        "starts_at": START,
        "ends_at": START + timedelta(days=1),
        "limit": 5,
    }
    return Budget(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"limit": -1}, "budget_limit_not_negative"),
        ({"spent": -1}, "budget_spent_not_negative"),
        ({"held": -1}, "budget_held_not_negative"),
        ({"ends_at": None}, "budget_window_has_an_end_unless_lifetime"),
        ({"ends_at": START}, "budget_window_has_an_end_unless_lifetime"),
        ({"window": "lifetime"}, "budget_window_has_an_end_unless_lifetime"),
        ({"subject_kind": "user"}, "budget_subject_kind"),
        ({"purpose": "gift"}, "budget_purpose"),
        ({"window": "year"}, "budget_window"),
    ],
)
def test_a_budget_is_refused(changes, constraint):
    with refused_by(f'"{constraint}"'), transaction.atomic():
        budget(**changes).save()


def test_a_window_has_one_open_budget():
    first = budget()
    first.save()
    with refused_by("budget_once_per_window"), transaction.atomic():
        budget(subject_id=first.subject_id).save()
    budget(subject_id=first.subject_id, closed_at=START).save()


def test_what_is_left_of_a_budget_is_never_negative():
    assert budget(limit=5, spent=2, held=1).left == 2
    assert budget(limit=5, spent=5, held=1).left == 0


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"attempts": 6}, "email_code_attempts_limited"),
        ({"purpose": "anything"}, "email_code_purpose"),
        ({"email": "A@example.org"}, "email_code_email_is_lower_case"),
    ],
)
def test_a_code_is_refused(changes, constraint):
    values = {"purpose": "login", "digest": b"x" * 32, "expires_at": clock.now(), "email": "a@example.org"}
    with refused_by(constraint), transaction.atomic():
        EmailCode.objects.create(user=make_user(), **{**values, **changes})


@pytest.mark.parametrize("changes", [{"reason": "logout"}, {"revoked_at": START}])
def test_a_family_ends_with_a_reason(changes):
    with refused_by("refresh_family_revoked_with_reason"), transaction.atomic():
        RefreshFamily.objects.create(user=make_user(), client="x", **changes)


def test_a_refresh_token_has_one_successor_and_a_digest_of_its_own():
    family = RefreshFamily.objects.create(user=make_user(), client="x")
    first = RefreshToken.objects.create(family=family, digest=b"1" * 32, expires_at=START)
    RefreshToken.objects.create(family=family, digest=b"2" * 32, expires_at=START, parent=first)
    with refused_by("parent_id_key"), transaction.atomic():
        RefreshToken.objects.create(family=family, digest=b"3" * 32, expires_at=START, parent=first)
    with refused_by("digest"), transaction.atomic():
        RefreshToken.objects.create(family=family, digest=b"1" * 32, expires_at=START)


def test_the_application_moves_no_money():
    """Its role may change what a budget allows, never what it has spent or holds, and it deletes none."""
    row = budget()
    row.save()
    Budget.objects.filter(pk=row.pk).update(limit=7, closed_at=START)
    for statement in (
        "UPDATE accounts_budget SET spent = 0",
        "UPDATE accounts_budget SET held = 0",
        "UPDATE accounts_budget SET subject_id = gen_random_uuid()",
        "DELETE FROM accounts_budget",
    ):
        with pytest.raises(Exception, match="permission denied"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
