"""Organizations: who is in them, as what, and how that changes."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connection, transaction

from accounts import services
from accounts.errors import (
    AlreadyInvited,
    AlreadyMember,
    InvitationInvalid,
    InvitationNotYours,
    LastOwner,
    OrganizationInUse,
    PersonalOrganization,
)
from accounts.models import ROLE_TABLE, Invitation, Membership, User, role_may, roles_with
from accounts.services.invitations import INVITATIONS_PER_HOUR, MAILS_PER_HOUR
from accounts.tests.factories import (
    later,
    mails_to,
    make_key,
    make_member,
    make_organization,
    make_user,
    new_address,
    token_in,
)
from common.problems import Conflict, NotFound, RateLimited, RoleRequired, ValidationFailed
from observability.models import AuditEvent

pytestmark = pytest.mark.django_db
ROLES = Membership.Role.values


@pytest.fixture
def owner():
    return make_user(name="Olga Owner")


@pytest.fixture
def organization(owner):
    return make_organization(owner=owner)


def join(organization, role="member", **fields):
    return make_member(organization=organization, user=make_user(**fields), role=role)


def place_of(organization, user):
    return Membership.objects.get(organization=organization, user=user)


def invite(organization, by, email=None, role="member"):
    """The invitation and its token."""
    email = email or new_address()
    made = services.invite_member(organization=organization, by=by, email=email, role=role)
    return made, token_in(mails_to(email)[-1])


def actions(**of):
    return list(AuditEvent.objects.filter(**of).order_by("id").values_list("action", flat=True))


# --- The table ---


def test_every_role_is_above_the_next_one_but_for_billing():
    def rights(role):
        return {right for right in ROLE_TABLE if role_may(role, right)}

    assert rights("owner") == set(ROLE_TABLE)
    assert rights("owner") > rights("admin") > rights("developer") > rights("member")
    assert rights("admin") > rights("billing")
    assert roles_with("owners.change") == ("owner",)
    assert not role_may(None, "organization.see")


# --- A new one ---


def test_a_person_may_have_several(owner):
    made = [services.start_organization(by=owner, name="Analytical Engines") for _ in range(2)]
    assert made[0].slug != made[1].slug
    assert Membership.objects.of_user(owner).count() == 3
    assert Membership.objects.of_user(owner).first().organization == owner.personal_organization
    assert actions(organization_id=made[0].pk) == ["organization.created"]


@pytest.mark.parametrize("slug", ["-x", "a--b", "Grün", "", "a" * 41, "settings"])
def test_a_slug_that_is_none_or_stands_for_the_site_is_refused(owner, slug):
    with pytest.raises(ValidationFailed) as refused:
        services.start_organization(by=owner, name="X", slug=slug)
    assert refused.value.errors[0]["pointer"] == "/slug"


def test_a_slug_is_taken_once(owner):
    services.start_organization(by=owner, name="X", slug="only-once")
    with pytest.raises(ValidationFailed):
        services.start_organization(by=make_user(), name="Y", slug="only-once")


# --- Invitations ---


def test_an_invitation_leads_its_addressee_in(organization, owner):
    guest = make_user(name="Greta Guest")
    made, token = invite(organization, owner, guest.email, "developer")
    message = mails_to(guest.email)[-1]
    assert "Analytical Engines" in message.subject
    assert "Olga Owner" in message.body
    assert f"/invitations/{token}" in message.alternatives[0].content
    assert token.encode() not in bytes(made.digest)
    place = services.accept_invitation(user=guest, token=token)
    assert (place.organization, place.role) == (organization, "developer")
    with pytest.raises(InvitationInvalid):
        services.accept_invitation(user=guest, token=token)
    assert "Greta Guest" in mails_to(owner.email)[-1].subject
    assert actions(organization_id=organization.pk)[1:] == ["organization.member_invited", "organization.member_joined"]
    assert guest.email not in str(AuditEvent.objects.filter(organization_id=organization.pk).values_list("after"))


def test_nobody_else_can_use_the_link(organization, owner):
    _, token = invite(organization, owner)
    with pytest.raises(InvitationNotYours):
        services.accept_invitation(user=make_user(), token=token)
    services.register_user(email=(email := new_address()), password="correct horse battery", name="Not Yet")
    _, token = invite(organization, owner, email)
    with pytest.raises(InvitationNotYours):  # who signed up with the address has not proved it yet
        services.accept_invitation(user=services.find_owner(email), token=token)


def test_an_invitation_is_open_for_seven_days(organization, owner):
    guest = make_user()
    made, token = invite(organization, owner, guest.email)
    with later("7 days 1 second"):
        assert services.find_invitation(token) is None
        with pytest.raises(InvitationInvalid):
            services.accept_invitation(user=guest, token=token)
        again, token = invite(organization, owner, guest.email)  # the expired one makes room
        assert again.pk != made.pk
        services.accept_invitation(user=guest, token=token)


def test_one_invitation_is_open_per_address(organization, owner):
    email = new_address()
    made, _ = invite(organization, owner, email)
    with pytest.raises(AlreadyInvited):
        services.invite_member(organization=organization, by=owner, email=email.upper(), role="member")
    with pytest.raises(IntegrityError), transaction.atomic():
        Invitation.objects.create(
            organization=organization, email=email, role="member", digest=b"x" * 32, expires_at=made.expires_at
        )


def test_a_link_that_is_sent_again_replaces_the_former_one(organization, owner):
    guest = make_user()
    made, first = invite(organization, owner, guest.email)
    services.resend_invitation(invitation=made, by=owner)
    second = token_in(mails_to(guest.email)[-1])
    assert first != second
    with pytest.raises(InvitationInvalid):
        services.accept_invitation(user=guest, token=first)
    services.accept_invitation(user=guest, token=second)


def test_an_invitation_can_be_declined_or_taken_back(organization, owner):
    guest = make_user()
    made, token = invite(organization, owner, guest.email)
    services.revoke_invitation(invitation=made, by=owner)
    with pytest.raises(InvitationInvalid):
        services.accept_invitation(user=guest, token=token)
    with pytest.raises(NotFound):
        services.resend_invitation(invitation=made, by=owner)
    _, token = invite(organization, owner, guest.email)
    services.decline_invitation(user=guest, token=token)
    with pytest.raises(InvitationInvalid):
        services.accept_invitation(user=guest, token=token)
    assert not Membership.objects.filter(organization=organization, user=guest).exists()


def test_inviting_looks_the_same_whether_or_not_there_is_an_account(organization, owner, django_assert_num_queries):
    known, unknown = make_user(), new_address()
    costs = []
    for email in (known.email, unknown):
        with transaction.atomic(), CountQueries() as queries:
            services.invite_member(organization=organization, by=owner, email=email, role="member")
        costs.append([re.sub(r"'[^']*'|\d+", "?", query["sql"]) for query in queries.found])
        message = mails_to(email)[-1]
        words = message.body.replace(token_in(message), "").replace(email, "")
        costs[-1].append(words)
    assert costs[0] == costs[1]


class CountQueries:
    def __enter__(self):
        connection.force_debug_cursor, self.before = True, len(connection.queries)
        return self

    def __exit__(self, *_):
        self.found = connection.queries[self.before :]
        connection.force_debug_cursor = False


def test_whoever_is_in_is_not_invited_again(organization, owner):
    place = join(organization)
    with pytest.raises(AlreadyMember):
        services.invite_member(organization=organization, by=owner, email=place.user.email, role="admin")


def test_nobody_is_invited_as_owner(organization, owner):
    with pytest.raises(ValidationFailed):
        services.invite_member(organization=organization, by=owner, email=new_address(), role="owner")


@pytest.mark.parametrize("role", ROLES)
def test_only_those_who_may_invite_do(organization, role):
    by = join(organization, role).user
    if role_may(role, "members.invite"):
        invite(organization, by)
    else:
        with pytest.raises(RoleRequired):
            services.invite_member(organization=organization, by=by, email=new_address(), role="member")


def test_what_somebody_offered_ends_with_their_right_to(organization, owner):
    by, other = join(organization, "admin"), join(organization, "admin")
    guests = [make_user(), make_user()]
    tokens = [invite(organization, one.user, guest.email)[1] for one, guest in zip((by, other), guests, strict=True)]
    services.change_role(membership=by, role="developer", by=owner)
    services.remove_member(membership=other, by=owner)
    for guest, token in zip(guests, tokens, strict=True):
        with pytest.raises(InvitationInvalid):
            services.accept_invitation(user=guest, token=token)


def test_nobody_floods_an_address_or_the_world(organization, owner):
    made, _ = invite(organization, owner, email := new_address())
    for _ in range(MAILS_PER_HOUR - 1):
        services.resend_invitation(invitation=made, by=owner)
    with pytest.raises(RateLimited):
        services.resend_invitation(invitation=made, by=owner)
    assert len(mails_to(email)) == MAILS_PER_HOUR
    for _ in range(INVITATIONS_PER_HOUR - MAILS_PER_HOUR - 1):
        services.invite_member(organization=organization, by=owner, email=new_address(), role="member")
    with pytest.raises(RateLimited):
        services.invite_member(organization=organization, by=owner, email=new_address(), role="member")


def test_names_that_could_be_links_are_not_mailed_to_strangers(owner):
    owner.name = "Win at evil.example"
    owner.save()
    organization = make_organization(owner=owner, name="Visit https://evil.example now")
    invite(organization, owner, email := new_address())
    message = mails_to(email)[-1]
    assert "evil.example" not in message.subject + message.body
    assert owner.email in message.body


def test_invitations_are_forgotten_a_month_after_their_end(organization, owner):
    invite(organization, owner)
    with later("36 days"):
        services.prune_codes()
        assert Invitation.objects.exists()
    with later("38 days"):
        services.prune_codes()
        assert not Invitation.objects.exists()


# --- Roles ---


@pytest.mark.parametrize("role", ROLES)
def test_who_changes_roles_and_removes(organization, role):
    by, target = join(organization, role).user, join(organization)
    if role_may(role, "members.change"):
        services.change_role(membership=target, role="billing", by=by)
        assert place_of(organization, target.user).role == "billing"
        assert "Billing" in mails_to(target.user.email)[-1].body
        services.remove_member(membership=target, by=by)
        assert not Membership.objects.filter(pk=target.pk).exists()
        assert "no longer" in mails_to(target.user.email)[-1].subject
    else:
        for change in (
            lambda: services.change_role(membership=target, role="billing", by=by),
            lambda: services.remove_member(membership=target, by=by),
        ):
            with pytest.raises(RoleRequired):
                change()


def test_an_admin_neither_makes_nor_unmakes_owners(organization, owner):
    admin, other = join(organization, "admin"), join(organization)
    for change in (
        lambda: services.change_role(membership=other, role="owner", by=admin.user),
        lambda: services.change_role(membership=admin, role="owner", by=admin.user),
        lambda: services.change_role(membership=place_of(organization, owner), role="member", by=admin.user),
        lambda: services.remove_member(membership=place_of(organization, owner), by=admin.user),
        lambda: services.transfer_ownership(organization=organization, by=admin.user, to=other),
        lambda: services.close_organization(organization=organization, by=admin.user),
    ):
        with pytest.raises(RoleRequired):
            change()


def test_somebody_of_another_organization_changes_nothing(organization):
    target, stranger = join(organization), make_organization().memberships.get().user
    for change in (
        lambda: services.change_role(membership=target, role="admin", by=stranger),
        lambda: services.remove_member(membership=target, by=stranger),
        lambda: services.invite_member(organization=organization, by=stranger, email=new_address(), role="member"),
        lambda: services.close_organization(organization=organization, by=stranger),
        lambda: services.leave_organization(organization=organization, user=stranger),
        lambda: services.transfer_ownership(organization=organization, by=stranger, to=target),
    ):
        with pytest.raises(NotFound):
            change()


def test_the_last_owner_stays(organization, owner):
    join(organization, "admin")
    mine = place_of(organization, owner)
    for change in (
        lambda: services.leave_organization(organization=organization, user=owner),
        lambda: services.change_role(membership=mine, role="admin", by=owner),
        lambda: services.remove_member(membership=mine, by=owner),
    ):
        with pytest.raises(LastOwner):
            change()
    services.change_role(membership=join(organization), role="owner", by=owner)
    services.leave_organization(organization=organization, user=owner)


def test_who_cannot_log_in_owns_nothing(organization, owner):
    """Otherwise an organization could be left to an account that was switched off."""
    gone, other = join(organization), join(organization)
    User.objects.filter(pk=gone.user_id).update(is_active=False)
    for change in (
        lambda: services.change_role(membership=gone, role="owner", by=owner),
        lambda: services.transfer_ownership(organization=organization, by=owner, to=gone),
    ):
        with pytest.raises(Conflict):
            change()
    services.change_role(membership=other, role="owner", by=owner)
    User.objects.filter(pk=other.user_id).update(is_active=False)
    with pytest.raises(LastOwner):
        services.leave_organization(organization=organization, user=owner)
    services.remove_member(membership=other, by=owner)


def commit(change):
    """What the database says at the end of a transaction."""
    with transaction.atomic():
        change()
        connection.check_constraints()


@pytest.mark.parametrize("change", [lambda mine: mine.delete(), lambda mine: mine.update(role="admin")])
def test_the_database_keeps_the_last_owner_too(organization, owner, change):
    with pytest.raises(IntegrityError, match="without an owner"):
        commit(lambda: change(Membership.objects.filter(organization=organization, user=owner)))
    make_member(organization=owner.personal_organization, role="owner")
    with pytest.raises(IntegrityError, match="would not be its person's"):
        commit(lambda: change(Membership.objects.filter(organization=owner.personal_organization, user=owner)))
    make_member(organization=organization, role="owner")
    commit(lambda: change(Membership.objects.filter(organization=organization, user=owner)))


def test_ownership_is_handed_over(organization, owner):
    heir = join(organization, "developer", name="Hans Heir")
    services.transfer_ownership(organization=organization, by=owner, to=heir)
    assert place_of(organization, heir.user).role == "owner"
    assert place_of(organization, owner).role == "admin"
    for person in (owner, heir.user):
        message = mails_to(person.email)[-1]
        assert "Hans Heir" in message.body
    assert actions(organization_id=organization.pk)[-1] == "organization.ownership_transferred"
    with pytest.raises(Conflict):
        services.transfer_ownership(organization=organization, by=heir.user, to=heir)


def test_a_personal_organization_stays_its_persons(owner):
    mine = owner.personal_organization
    guest = join(mine, "admin")
    for change in (
        lambda: services.leave_organization(organization=mine, user=owner),
        lambda: services.transfer_ownership(organization=mine, by=owner, to=guest),
        lambda: services.close_organization(organization=mine, by=owner),
        lambda: services.change_role(membership=guest, role="owner", by=owner),
        lambda: services.change_role(membership=place_of(mine, owner), role="member", by=owner),
        lambda: services.remove_member(membership=place_of(mine, owner), by=owner),
    ):
        with pytest.raises(PersonalOrganization):
            change()
    services.leave_organization(organization=mine, user=guest.user)


# --- The end ---


def test_closing_says_what_is_in_the_way(organization, owner):
    key = make_key(user=owner, organization=organization)
    services.limit_spending(organization=organization, limit_nano=10**9)
    with pytest.raises(OrganizationInUse) as refused:
        services.close_organization(organization=organization, by=owner)
    assert [one["code"] for one in refused.value.extra["reasons"]] == ["keys"]
    key.delete()
    other = join(organization)
    _made, token = invite(organization, owner, (guest := make_user()).email)
    services.close_organization(organization=organization, by=owner)
    organization.refresh_from_db()
    assert organization.closed_at
    for person in (owner, other.user):
        assert "closed" in mails_to(person.email)[-1].subject
        with pytest.raises(NotFound):
            services.resolve_actor(person, organization.public_id)
    with pytest.raises(InvitationInvalid):
        services.accept_invitation(user=guest, token=token)
    with pytest.raises(NotFound):
        services.invite_member(organization=organization, by=owner, email=new_address(), role="member")
    with pytest.raises(ValidationFailed):  # its name stays taken
        services.start_organization(by=owner, name="Again", slug=organization.slug)


# --- At once ---


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("by_service", [True, False])
def test_of_two_owners_who_leave_at_once_one_stays(by_service):
    """The database alone refuses it as well as the service does."""
    for _ in range(5):
        owner = make_user()
        organization = make_organization(owner=owner)
        other = make_member(organization=organization, role="owner").user
        barrier = threading.Barrier(2)

        def leave(user, organization=organization, barrier=barrier):
            try:
                if by_service:
                    barrier.wait(10)
                    services.leave_organization(organization=organization, user=user)
                else:
                    with transaction.atomic():
                        Membership.objects.filter(organization=organization, user=user).delete()
                        barrier.wait(10)
            except (LastOwner, IntegrityError):
                return False
            finally:
                connection.close()
            return True

        with ThreadPoolExecutor(2) as pool:
            left = list(pool.map(leave, (owner, other)))
        assert sorted(left) == [False, True]
        assert Membership.objects.filter(organization=organization, role="owner").count() == 1
