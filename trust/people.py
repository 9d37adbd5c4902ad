"""An organization with everything in it, and everybody who may come by: for T21 and T22. To be imported in `run`."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.models import Group
from django.test import Client

from accounts import services as accounts
from accounts.models import EmailCode, Membership, Organization, User
from accounts.services.codes import issue_reset_token
from accounts.services.tokens import AccessToken, mint_access_token
from apikeys.models import PERMISSIONS, APIKey
from common.clock import now
from common.ids import decode
from common.policy import ORGANIZATION_HEADER, SESSION_ORGANIZATION
from config.staff import GROUPS, permissions_of
from gateway import services as gateway
from gateway.tests.factories import make_call, make_prediction
from marketplace import services as marketplace
from trust import world
from trust.ground import Ground

ROLES = tuple(Membership.Role.values)
FRESH_SECONDS = 200  # an access token lives for 300
CSRF = "c" * 32
EVERYTHING = "key with everything"
PASSKEY = 823_456_780  # and above: ids that stand nowhere else on a page


@dataclass(slots=True)
class Caller:
    """Somebody who asks, as the tables see them. `house`: the organization that they act for, with their `role` there;
    of everybody else it is their personal one, which they own. `scopes`: of a key; None for people."""

    name: str
    user: User | None = None
    house: House | None = None
    role: str = "owner"
    scopes: frozenset[str] | None = None
    secret: str = ""
    is_bad: bool = False  # the credential is no longer one
    staff_group: str = ""
    _access: tuple[float, str] = (0.0, "")
    _session: str = ""

    @property
    def is_key(self) -> bool:
        return bool(self.secret)

    @property
    def is_person(self) -> bool:
        return self.user is not None and not self.is_key

    @property
    def is_staff(self) -> bool:
        return self.is_person and self.user is not None and self.user.is_staff

    @property
    def platform(self) -> str:
        """The platform role that counts: a key of staff counts as a developer's."""
        assert self.user is not None
        return "developer" if self.is_key and self.user.is_staff else self.user.role

    @property
    def organization(self) -> Organization:
        assert self.user is not None
        return self.house.organization if self.house is not None else self.user.personal_organization

    def may_as_staff(self, permission: str) -> bool:
        if not self.is_staff or self.user is None or not permission:
            return False
        return self.user.is_superuser or permission in permissions_of(GROUPS[self.staff_group])

    def headers(self, *, is_api: bool) -> dict[str, str]:
        """A program's, or those of a browser that knows its CSRF token."""
        if is_api:
            return self._of_a_program()
        cookies = f"{settings.CSRF_COOKIE_NAME}={CSRF}"
        headers = {"X-CSRFToken": CSRF, "Accept": "text/html"}
        if self.is_key:
            headers["Authorization"] = f"Bearer {self.secret}"
        elif self.user is not None:
            self._session = self._session or self._log_in()
            cookies += f"; {settings.SESSION_COOKIE_NAME}={self._session}"
        return headers | {"Cookie": cookies}

    def _of_a_program(self) -> dict[str, str]:
        if self.user is None:
            return {}
        if self.is_key:
            return {"Authorization": f"Bearer {self.secret}"}
        if not self._access[1]:
            self._access = time.monotonic(), accounts.open_family(user=self.user, client="trust").access
        elif time.monotonic() - self._access[0] > FRESH_SECONDS:
            # By no request for a new one: its rows would be undone with those of a case, or be taken for another's.
            family_id = decode("fam", AccessToken(self._access[1], verify=False)["sid"])  # type: ignore[arg-type]
            self._access = time.monotonic(), mint_access_token(user=self.user, family_id=family_id, at=now())
        headers = {"Authorization": f"Bearer {self._access[1]}"}
        if self.house is not None:
            headers[ORGANIZATION_HEADER] = self.organization.public_id
        return headers

    def _log_in(self) -> str:
        """A session in which the password was given just now."""
        client = Client()
        client.force_login(self.user)  # type: ignore[arg-type]
        session = client.session
        request: Any = SimpleNamespace(session=session)
        record_authentication(request, self.user, method="password", reauthenticated=True)
        if self.house is not None:
            session[SESSION_ORGANIZATION] = self.organization.public_id
        session.save()
        return str(session.session_key)


@dataclass(slots=True)
class House:
    """The organization, its people by role, its things, and the words by which what leaks of them is known."""

    ground: Ground
    organization: Organization
    people: dict[str, Caller]
    marks: list[bytes] = field(default_factory=list)
    keys: dict[str, APIKey] = field(default_factory=dict)  # by the role of whoever made it
    members: dict[str, Membership] = field(default_factory=dict)  # who does nothing here: a member and an owner
    models: dict[str, Any] = field(default_factory=dict)  # by status
    chat: Any = None  # a published one that is called under /v1
    invitation: Any = None
    call: Any = None
    prediction: Any = None  # made by the owner's key
    deployment: Any = None
    review: Any = None  # of the published one, by an outsider
    passkey: Any = None
    files: dict[str, Any] = field(default_factory=dict)  # logos, by the status of their model

    def mark(self) -> str:
        """A word that stands nowhere else."""
        word = "zq" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(14))
        self.marks.append(word.encode())
        return word

    def fill(self, *, is_listed: bool) -> None:
        """With one of everything; is_listed: with a model that everybody sees."""
        for role, caller in self.people.items():
            permission = "keys:write" if role != "billing" else "models:read"  # what a key that asks may have as well
            self.keys[role] = self._key(caller.user, permission)
        for role in ("member", "owner"):
            person = world.make_person(email=f"{self.mark()}@example.org", name=self.mark())
            self.members[role] = accounts.add_member(organization=self.organization, user=person, role=role)
        owner = self.people["owner"].user
        assert owner is not None
        self.invitation = accounts.invite_member(
            organization=self.organization, by=owner, email=f"{self.mark()}@example.org", role="member"
        )
        for status in ("draft", "in_review", *(("published",) if is_listed else ())):
            self.models[status] = self._model(status)
        for status in ("draft", "published") if is_listed else ("draft",):
            self.files[status] = world.make_file(self.organization, self.models[status])
        if is_listed:
            self.chat = self._model("published", protocol="openai")
            self.review = world.make_review(self.models["published"])
            self.call = make_call(self.models["published"], organization=self.organization, user=owner)
            key = self.keys["owner"]
            self.prediction = make_prediction(
                make_call(self.models["published"], organization=self.organization, user=owner, api_key=key)
            )
        self.deployment = gateway.create_deployment(
            organization=self.organization, name=f"x-{self.mark()}", ai_model_id=self.models["draft"].pk
        )
        self.passkey = Authenticator.objects.create(
            id=PASSKEY + len(self.people),
            user=self.members["owner"].user,
            type=Authenticator.Type.WEBAUTHN,
            data={"name": self.mark(), "credential": {}},
        )

    def _key(self, maker: Any, permission: str) -> APIKey:
        made, _secret = world.make_key(
            maker, organization=self.organization, name=self.mark(), permissions=[permission]
        )
        return made

    def _model(self, status: str, *, protocol: str = "json") -> Any:
        made = marketplace.create_model(
            publisher=self.organization,
            name=new_name(),
            description="Tells it." if status == "published" else self.mark(),
            version="1.0.0",
            category="other",
            api_spec={"input": world.TEXT_IN, "output": world.LABEL_OUT},
            pricing=marketplace.Terms(type="free"),
        )
        address = f"{self.ground.upstream.url}/{self.mark()}"
        gateway.set_endpoint(ai_model=made, url=address, protocol=protocol, secret=self.mark())
        gateway.ask_check(ai_model=made)
        if status != "draft":
            marketplace.submit(ai_model=made)
        if status == "published":
            marketplace.publish(ai_model=made, by_staff=True)
        made.refresh_from_db()
        return made


class Town:
    """Everybody: two organizations with their people, outsiders, staff of every group, and keys of every kind."""

    def __init__(self, ground: Ground) -> None:
        self.ours = self._house(ground, ROLES, is_listed=True)
        self.theirs = self._house(ground, ("owner",), is_listed=False)
        others = {
            "consumer A": Caller("consumer A", world.make_person()),
            "consumer B": Caller("consumer B", world.make_person()),
            "developer A": Caller("developer A", world.make_person(platform_role="developer")),
        }
        self.theirs.people["owner"].name = "developer B"
        self.staff = {name: self._staff(name) for name in GROUPS}
        superuser = Caller("superuser", world.make_person(is_staff=True, is_superuser=True))
        people = [Caller("anonymous"), *self.ours.people.values(), *others.values(), self.theirs.people["owner"]]
        self.callers = [*people, self.staff["support"], superuser, *self._keys(others["developer A"])]
        self.newcomer = self._newcomer()

    def __getitem__(self, name: str) -> Caller:
        return next(caller for caller in self.callers if caller.name == name)

    @cached_property
    def proofs(self) -> Mapping[str, str]:
        """What is mailed to people: codes and tokens by the address that takes them. Each works once, and all the
        requests here are undone."""
        person = self["consumer A"].user
        assert person is not None
        at = now()
        return {
            "api:verify-email": accounts.issue_code(
                user=self.newcomer, purpose=EmailCode.Purpose.VERIFY_EMAIL, email=self.newcomer.email, at=at
            ),
            "api:login-code-confirm": accounts.issue_code(
                user=person, purpose=EmailCode.Purpose.LOGIN, email=person.email, at=at
            ),
            "api:password-reset-confirm": issue_reset_token(user=person, email=person.email, at=at),
            "api:refresh": accounts.open_family(user=person, client="trust").refresh,
        }

    def _house(self, ground: Ground, roles: tuple[str, ...], *, is_listed: bool) -> House:
        owner = world.make_person(platform_role="developer")
        organization = accounts.create_organization(owner=owner, name=f"House {new_name()}")
        house = House(ground, organization, {})
        for role in roles:
            person = owner if role == "owner" else world.make_person(platform_role="developer")
            if role != "owner":
                accounts.add_member(organization=organization, user=person, role=role)
            house.people[role] = Caller(role, person, house, role)
        house.fill(is_listed=is_listed)
        return house

    @staticmethod
    def _staff(group: str) -> Caller:
        person = world.make_person(is_staff=True)
        person.groups.add(Group.objects.get(name=group))
        return Caller(group, person, staff_group=group)

    def _keys(self, outsider: Caller) -> Iterator[Caller]:
        owner, member = self.ours.people["owner"], self.ours.people["member"]
        for scope in PERMISSIONS:
            yield self._key(f"key with {scope}", owner, [scope])
        yield self._key(EVERYTHING, owner, PERMISSIONS)
        yield self._key("key of a member", member, ["models:read", "models:invoke", "keys:read", "keys:write"])
        yield self._key("key of an outsider", outsider, PERMISSIONS)
        long_ago = now().replace(year=2020)
        yield self._key("expired key", owner, PERMISSIONS, expires_at=long_ago)
        yield self._key("revoked key", owner, PERMISSIONS, revoked_at=long_ago)

    @staticmethod
    def _key(name: str, by: Caller, permissions: Any, **changes: Any) -> Caller:
        key, secret = world.make_key(by.user, organization=by.organization, permissions=list(permissions))  # type: ignore[arg-type]
        if changes:
            APIKey.objects.filter(pk=key.pk).update(**changes)
        return Caller(name, by.user, by.house, by.role, key.effective_scopes(by.role), secret, bool(changes))

    @staticmethod
    def _newcomer() -> User:
        email = world.new_address()
        accounts.register_user(email=email, password=world.PASSWORD, name="Grace Hopper")
        return User.objects.get(email=email)


def new_name() -> str:
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(12))
