"""The pages of organizations: switched between, invited to, changed, left and closed."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import services
from accounts.models import Invitation, Membership
from accounts.tests.factories import (
    PASSWORD,
    code_in,
    mails_to,
    make_client,
    make_key,
    make_member,
    make_organization,
    make_user,
    new_address,
    token_in,
)

pytestmark = pytest.mark.django_db
PAGES = ("organization", "organization-close", "organization-new", "members", "members-leave", "members-transfer")


def visitor(user, organization=None):
    client = make_client()
    client.force_login(user)
    if organization is not None:
        client.post(reverse("organization-switch"), {"organization": organization.public_id})
    return client


@pytest.fixture
def organization():
    return make_organization(owner=make_user(name="Olga Owner"), name="Analytical Engines")


@pytest.fixture
def owner(organization):
    return visitor(organization.memberships.get().user, organization)


def text_of(client, name, *args):
    answer = client.get(reverse(name, args=args))
    assert answer.status_code == 200, name
    return answer.content.decode()


def test_making_one_switches_to_it(organization):
    client = visitor(user := make_user())
    answer = client.post(reverse("organization-new"), {"name": "Difference", "time_zone": "Europe/Berlin"}, follow=True)
    assert "Difference is made" in answer.content.decode()
    made = Membership.objects.get(user=user, organization__name="Difference").organization
    assert client.session["organization"] == made.public_id
    page = text_of(client, "home")
    assert re.search(rf'value="{made.public_id}" aria-current="true"', page)
    taken = client.post(
        reverse("organization-new"), {"name": "X", "slug": organization.slug, "time_zone": "Europe/Berlin"}
    )
    assert (taken.status_code, "is taken" in taken.content.decode()) == (422, True)


def test_switching_leads_back_to_where_one_was_on_this_site_alone(owner, organization):
    for address, leads_to in (("/keys", "/keys"), ("https://evil.example/", "/"), ("//evil.example", "/"), ("", "/")):
        answer = owner.post(reverse("organization-switch"), {"organization": organization.public_id, "next": address})
        assert (answer.status_code, answer.url) == (302, leads_to)
    stranger = make_organization()
    refused = owner.post(reverse("organization-switch"), {"organization": stranger.public_id})
    assert refused.status_code == 404
    assert owner.get(reverse("organization-switch")).status_code == 405
    mine = Membership.objects.of_user(organization.memberships.get().user).first().organization
    owner.post(reverse("organization-switch"), {"organization": mine.public_id})
    assert "organization" not in owner.session


def test_an_invitation_from_the_form_to_the_place(owner, organization):
    email = new_address()
    answer = owner.post(reverse("members"), {"email": email, "role": "developer"}, follow=True)
    assert email in answer.content.decode()
    [message] = mails_to(email)
    address = reverse("invitation", args=[token_in(message)])

    # Without an account: the way leads through the sign-up and back.
    guest = make_client()
    page = guest.get(address)
    assert "Join Analytical Engines" in page.content.decode()
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert guest.post(address, {"act": "accept"}).url.startswith("/accounts/login/?next=")
    sign_up = re.search(r'href="(/accounts/signup/\?next=[^"]+)"', page.content.decode())[1]
    form = guest.get(sign_up).content.decode()
    kept = re.search(r'name="next" value="([^"]+)"', form)[1]
    fields = {"email": email, "name": "Greta Guest", "password1": PASSWORD, "next": kept}
    assert guest.post("/accounts/signup/", fields).url == "/accounts/confirm-email/"
    done = guest.post("/accounts/confirm-email/", {"code": code_in(mails_to(email)[-1])})
    assert done.url == address
    assert "Accept" in guest.get(address).content.decode()
    answer = guest.post(address, {"act": "accept"}, follow=True)
    assert "You are in Analytical Engines" in answer.content.decode()
    assert guest.get(address).status_code == 422  # used
    assert Membership.objects.get(organization=organization, user__email=email).role == "developer"


def test_an_invitation_of_another_address_is_not_accepted(owner, organization):
    owner.post(reverse("members"), {"email": (email := new_address()), "role": "member"})
    address = reverse("invitation", args=[token_in(mails_to(email)[-1])])
    other = visitor(make_user())
    assert "has not verified that address" in other.get(address).content.decode()
    assert other.post(address, {"act": "accept"}).status_code == 403
    invited = visitor(make_user(email=email))
    answer = invited.post(address, {"act": "decline"}, follow=True)
    assert "declined" in answer.content.decode()


def test_an_invitation_is_sent_again_and_taken_back(owner, organization):
    owner.post(reverse("members"), {"email": (email := new_address()), "role": "member"})
    made = Invitation.objects.get(email=email)
    again = owner.post(reverse("members"), {"email": email, "role": "member"})
    assert (again.status_code, "is open" in again.content.decode()) == (422, True)
    owner.post(reverse("invitation-change", args=[made.pk]), {"act": "resend"})
    assert len(mails_to(email)) == 2
    owner.post(reverse("invitation-change", args=[made.pk]), {"act": "revoke"})
    assert "taken back" in text_of(owner, "members")
    assert email not in text_of(owner, "members")
    assert owner.post(reverse("invitation-change", args=[made.pk]), {"act": "revoke"}).status_code == 404


def test_a_role_is_changed_and_a_member_removed(owner, organization):
    place = make_member(organization=organization, user=make_user(name="Max Member"))
    make_key(user=place.user, organization=organization)
    theirs = visitor(place.user, organization)
    assert "Analytical Engines" in text_of(theirs, "organization")
    assert "Invite somebody" not in text_of(theirs, "members")
    owner.post(reverse("member", args=[place.pk]), {"role": "admin"})
    assert "Invite somebody" in text_of(theirs, "members")
    assert "1 key that they made here stops" in text_of(owner, "member-remove", place.pk)
    answer = owner.post(reverse("member-remove", args=[place.pk]), follow=True)
    assert "Max Member is no longer in Analytical Engines" in answer.content.decode()
    page = text_of(theirs, "organization")  # the session falls back
    assert place.user.personal_organization.slug in page
    assert "Analytical Engines" not in page


@pytest.mark.parametrize("role", ["developer", "billing", "member"])
def test_who_may_not_sees_no_buttons_and_is_refused(organization, role):
    client = visitor(make_member(organization=organization, role=role).user, organization)
    other = make_member(organization=organization)
    page = text_of(client, "members") + text_of(client, "member", other.pk) + text_of(client, "organization")
    for word in (
        "Invite somebody",
        "Change role",
        "Save role",
        "Save organization",
        "Hand over",
        ">Close organization",
    ):
        assert word not in page
    assert ("Save limit" in page) == (role == "billing")
    for name, args, fields in (
        ("members", (), {"email": new_address(), "role": "member"}),
        ("member", (other.pk,), {"role": "admin"}),
        ("member-remove", (other.pk,), {}),
        ("members-transfer", (), {"member": str(other.pk)}),
        ("organization-close", (), {}),
        ("organization", (), {"name": "Mine", "time_zone": "UTC"}),
    ):
        assert client.post(reverse(name, args=args), fields).status_code == 403, name


def test_an_admin_sees_no_way_to_touch_owners(organization):
    admin = visitor(make_member(organization=organization, role="admin").user, organization)
    place = organization.memberships.get(role="owner")
    assert 'value="owner"' not in text_of(admin, "member", make_member(organization=organization).pk)
    assert "Save role" not in text_of(admin, "member", place.pk)
    assert admin.post(reverse("member", args=[place.pk]), {"role": "member"}).status_code == 403
    assert admin.post(reverse("member-remove", args=[place.pk])).status_code == 403


def test_somebody_elses_members_are_not_there(owner):
    foreign = make_organization().memberships.get()
    assert owner.get(reverse("member", args=[foreign.pk])).status_code == 404
    assert owner.post(reverse("member-remove", args=[foreign.pk])).status_code == 404


def test_handing_over_and_leaving(owner, organization):
    heir = make_member(organization=organization, user=make_user(name="Hans Heir"))
    assert "You cannot" in text_of(owner, "members-leave")
    answer = owner.post(reverse("members-transfer"), {"member": str(heir.pk)}, follow=True)
    assert "Hans Heir owns Analytical Engines now" in answer.content.decode()
    answer = owner.post(reverse("members-leave"), follow=True)
    assert "You left Analytical Engines" in answer.content.decode()
    assert "organization" not in owner.session


def test_the_spend_limit_is_set_and_lifted(owner, organization):
    owner.post(reverse("organization"), {"act": "limit", "amount": "12.50", "window": "day"})
    budget = services.spend_limits_of([organization.pk])[organization.pk]
    assert (budget.limit, budget.window) == (12_500_000_000, "day")
    assert 'value="12.50"' in text_of(owner, "organization")
    faulty = owner.post(reverse("organization"), {"act": "limit", "amount": "-1", "window": "day"})
    assert faulty.status_code == 422
    owner.post(reverse("organization"), {"act": "limit", "amount": "", "window": "day"})
    assert services.spend_limits_of([organization.pk]) == {}


def test_closing_says_what_is_in_the_way_then_closes(owner, organization):
    key = make_key(user=organization.memberships.get().user, organization=organization)
    assert "1 key works" in text_of(owner, "organization-close")
    assert owner.post(reverse("organization-close")).status_code == 409
    key.delete()
    answer = owner.post(reverse("organization-close"), follow=True)
    assert "Analytical Engines is closed" in answer.content.decode()
    assert owner.get(reverse("organization")).status_code == 200  # the personal one


def test_a_personal_organization_offers_none_of_it():
    client = visitor(make_user())
    assert "ends with it" in text_of(client, "organization-close")
    assert "ends with it" in text_of(client, "members-transfer")
    assert "You cannot" in text_of(client, "members-leave")
    assert client.post(reverse("organization-close")).status_code == 409
    assert client.post(reverse("members-leave")).status_code == 409


@pytest.mark.parametrize("name", PAGES)
def test_nobody_sees_them_without_an_account(name):
    answer = make_client().get(reverse(name))
    assert (answer.status_code, answer.url.partition("?")[0]) == (302, "/accounts/login/")


def test_the_list_costs_the_same_queries_for_3_and_30_people(owner, organization):
    costs = []
    for number in (3, 27):
        for _ in range(number):
            make_member(organization=organization)
            services.invite_member(
                organization=organization,
                by=organization.memberships.filter(role="owner").get().user,
                email=new_address(),
                role="member",
            )
        with CaptureQueriesContext(
            connection,
        ) as queries:
            text_of(owner, "members")
        costs.append(len(queries))
    assert costs[0] == costs[1]
