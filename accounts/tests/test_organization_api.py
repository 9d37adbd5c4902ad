"""/api/organizations, as its people meet it, and as others do not."""

import json

import pytest

from accounts import services
from accounts.models import Invitation, Membership, role_may
from accounts.tests.factories import (
    mails_to,
    make_client,
    make_key,
    make_member,
    make_organization,
    make_user,
    new_address,
    token_in,
)
from common.clock import now
from common.ids import encode, uuid7

pytestmark = pytest.mark.django_db


class Caller:
    def __init__(self, user):
        self.user = user
        pair = services.open_family(user=user, client="test")
        self.client = make_client(authorization=f"Bearer {pair.access}")

    def __call__(self, method, path, body=None):
        data = {} if method == "get" else {"content_type": "application/json"}
        if body is not None:
            data["data"] = json.dumps(body)
        return getattr(self.client, method)(f"/api/organizations{path}", **data)


@pytest.fixture
def organization():
    return make_organization(owner=make_user(name="Olga Owner"))


@pytest.fixture
def owner(organization):
    return Caller(organization.memberships.get().user)


def caller(organization, role):
    return Caller(make_member(organization=organization, role=role).user)


def test_the_life_of_an_organization(owner):
    made = owner("post", "", {"name": "Analytical Engines", "slug": "engines", "time_zone": "Europe/Berlin"})
    assert made.status_code == 201
    body = made.json()
    assert (
        body.items()
        >= {
            "slug": "engines",
            "personal": False,
            "role": "owner",
            "time_zone": "Europe/Berlin",
            "spend_limit": None,
        }.items()
    )
    path = f"/{body['id']}"
    assert owner("get", path).json() == body
    assert [one["name"] for one in owner("get", "?limit=1").json()["data"]] == ["Analytical Engines"]
    limit = {"amount": "5.00", "currency": "USD", "window": "day"}
    changed = owner("patch", path, {"name": "Engines", "spend_limit": limit})
    assert (changed.json()["name"], changed.json()["spend_limit"]) == ("Engines", limit)
    assert owner("patch", path, {"spend_limit": None}).json()["spend_limit"] is None
    assert owner("delete", path).status_code == 204
    assert owner("get", path).status_code == 404
    taken = owner("post", "", {"name": "Again", "slug": "engines"})
    assert (taken.status_code, taken.json()["errors"][0]["pointer"]) == (422, "/slug")


def test_inviting_accepting_changing_removing(organization, owner):
    base = f"/{organization.public_id}"
    guest = Caller(make_user())
    made = owner("post", f"{base}/invitations", {"email": guest.user.email.upper(), "role": "developer"})
    assert made.status_code == 201
    assert set(made.json()) == {"id", "email", "role", "invited_by", "expires_at", "created_at"}
    assert [one["id"] for one in owner("get", f"{base}/invitations").json()["data"]] == [made.json()["id"]]
    again = owner("post", f"{base}/invitations", {"email": guest.user.email})
    assert (again.status_code, again.json()["code"]) == (409, "already_invited")
    assert owner("post", f"{base}/invitations/{made.json()['id']}/resend").status_code == 200
    token = token_in(mails_to(guest.user.email)[-1])
    answer = guest.client.post("/api/invitations/accept", json.dumps({"token": token}), content_type="application/json")
    assert (answer.status_code, answer.json()["role"]) == (200, "developer")
    members = owner("get", f"{base}/members").json()["data"]
    assert {one["role"] for one in members} == {"owner", "developer"}
    theirs = next(one["id"] for one in members if one["role"] == "developer")
    assert owner("patch", f"{base}/members/{theirs}", {"role": "billing"}).json()["role"] == "billing"
    assert owner("delete", f"{base}/members/{theirs}").status_code == 204
    assert guest("get", base).status_code == 404
    made = owner("post", f"{base}/invitations", {"email": new_address()})
    assert owner("delete", f"{base}/invitations/{made.json()['id']}").status_code == 204
    assert not Invitation.objects.unanswered().exists()


def test_leaving_and_handing_over(organization, owner):
    base = f"/{organization.public_id}"
    refused = owner("post", f"{base}/leave")
    assert (refused.status_code, refused.json()["code"]) == (409, "last_owner")
    heir = caller(organization, "member")
    place = Membership.objects.get(organization=organization, user=heir.user)
    assert owner("post", f"{base}/transfer", {"member_id": place.public_id}).json()["role"] == "admin"
    assert heir("get", base).json()["role"] == "owner"
    assert owner("post", f"{base}/leave", {"force": True}).status_code == 422
    assert owner("post", f"{base}/leave").status_code == 204
    assert heir("post", f"{base}/transfer", {"member_id": encode("mbr", uuid7())}).status_code == 422


def test_closing_names_what_is_in_the_way(organization, owner):
    make_key(user=owner.user, organization=organization)
    refused = owner("delete", f"/{organization.public_id}")
    assert refused.status_code == 409
    assert refused.json()["reasons"] == [{"code": "keys", "detail": "1 key works; revoke it."}]
    owner.user.api_keys.update(revoked_at=now())
    gone = make_member(organization=organization)
    make_key(user=gone.user, organization=organization)
    assert owner("delete", f"/{organization.public_id}").status_code == 409
    services.remove_member(membership=gone, by=owner.user)
    assert owner("delete", f"/{organization.public_id}").status_code == 204, "their key works no more"


def acts(organization, target, invitation):
    """What one may do below an organization, and the right that it takes."""
    base = f"/{organization.public_id}"
    member, one = f"{base}/members/{target.public_id}", f"{base}/invitations/{invitation.public_id}"
    return [
        ("get", base, None, "organization.see"),
        ("get", f"{base}/members", None, "organization.see"),
        ("get", f"{base}/invitations", None, "members.invite"),
        ("patch", base, {"name": "Other"}, "organization.change"),
        ("patch", base, {"spend_limit": {"amount": "1"}}, "limits.change"),
        ("post", f"{base}/invitations", {"email": new_address()}, "members.invite"),
        ("post", f"{one}/resend", None, "members.invite"),
        ("delete", one, None, "members.invite"),
        ("patch", member, {"role": "billing"}, "members.change"),
        ("delete", member, None, "members.change"),
        ("post", f"{base}/transfer", {"member_id": target.public_id}, "owners.change"),
        ("delete", base, None, "organization.close"),
    ]


@pytest.mark.parametrize("role", Membership.Role.values)
def test_each_role_may_what_the_table_says(organization, role):
    for index in range(12):
        target = make_member(organization=organization)
        inviter = organization.memberships.filter(role="owner").first().user
        invitation = services.invite_member(organization=organization, by=inviter, email=new_address(), role="member")
        by = caller(organization, role)
        method, path, body, right = acts(organization, target, invitation)[index]
        answer = by(method, path, body)
        if role_may(role, right):
            assert answer.status_code < 300, (role, method, path, answer.content)
        else:
            assert answer.status_code == 403, (role, method, path)
            assert answer.json()["code"] == "role_required"


def anonymized(answer):
    return answer.status_code, {**answer.json(), "request_id": ""}


def test_somebody_elses_organization_is_not_there(organization):
    stranger = Caller(make_user())
    target = make_member(organization=organization)
    by = organization.memberships.get(role="owner").user
    invitation = services.invite_member(organization=organization, by=by, email=new_address(), role="member")
    missing = encode("org", uuid7())
    for method, path, body, _right in acts(organization, target, invitation):
        found = stranger(method, path, body)
        gone = stranger(method, path.replace(organization.public_id, missing), body)
        assert found.status_code == 404, path
        assert anonymized(found) == anonymized(gone)
    own = stranger.user.personal_organization.public_id
    for method, path, body, _right in acts(organization, target, invitation)[6:10]:  # of another one by a path of mine
        assert stranger(method, path.replace(organization.public_id, own), body).status_code == 404


def test_a_key_does_none_of_this(organization, owner):
    assert owner("get", "").status_code == 200
    assert make_client().get("/api/organizations").status_code == 401


def test_the_header_and_the_session_say_who_is_acted_for(organization, owner):
    client = make_client()
    client.force_login(owner.user)
    mine = owner.user.personal_organization

    def active(**headers):
        return client.get("/api/auth/me", headers=headers).json()["organization"]["id"]

    assert active() == mine.public_id
    client.post("/organizations/switch", {"organization": organization.public_id})
    assert active() == organization.public_id
    assert active(**{"Agorai-Organization": mine.public_id}) == mine.public_id
    assert owner.client.get("/api/auth/me").json()["organization"]["id"] == mine.public_id  # a token knows no session
    make_member(organization=organization, role="owner")
    services.leave_organization(organization=organization, user=owner.user)
    assert active() == mine.public_id
    assert "organization" not in client.session
