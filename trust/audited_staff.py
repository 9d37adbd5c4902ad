"""What staff change in the administration, each once, as T42 wants to see it recorded."""

from __future__ import annotations

from typing import Any

from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.urls import reverse

from accounts import services as accounts
from accounts.models import Budget, DeveloperRequest, Organization, User
from apikeys.models import APIKey
from billing.models import CreditGrant
from marketplace import services as marketplace
from marketplace.models import AIModel
from notifications.models import Message
from notifications.services import notify
from trust import world
from trust.audited import Deeds, Person, Trace


class Desk:
    """A superuser at work."""

    def __init__(self, deeds: Deeds) -> None:
        self.deeds = deeds
        self.staff: Person = deeds.person(is_staff=True, is_superuser=True)

    def add(self, model: type[Model], *, act: str = "staff.added", **fields: Any) -> None:
        self._send(model, "add", fields, act=act, says="after")

    def change(self, row: Model, *, act: str = "staff.changed", says: str = "before after", **fields: Any) -> None:
        """The form as it stands there, with these fields."""
        name = _name(type(row))
        shown = self.staff.browser.get(reverse(f"{name}_change", args=[row.pk]))
        answer = self.staff.browser.fill(shown, **fields)
        self.deeds.look(f"{name} change", answer, Trace(act, says, self.staff.user))

    def delete(self, row: Model) -> None:
        self._send(type(row), "delete", {"post": "yes"}, row, act="staff.deleted", says="before")

    def take(self, row: Model, action: str, *, act: str, says: str = "before after", **fields: str) -> None:
        """One of the acts on the list."""
        name = _name(type(row))
        fields = {"action": action, "_selected_action": str(row.pk), **fields}
        answer = self.deeds.send(self.staff.browser, reverse(f"{name}_changelist"), **fields)
        self.deeds.look(f"{name} {action}", answer, Trace(act, says, self.staff.user))

    def _send(self, model: type[Model], page: str, fields: dict[str, Any], *rows: Model, act: str, says: str) -> None:
        name = _name(model)
        path = reverse(f"{name}_{page}", args=[row.pk for row in rows])
        answer = self.deeds.send(self.staff.browser, path, **fields)
        self.deeds.look(f"{name} {page}", answer, Trace(act, says, self.staff.user))


def _name(model: type[Model]) -> str:
    return f"admin:{model._meta.app_label}_{model._meta.model_name}"


def walk(deeds: Deeds) -> None:
    desk = Desk(deeds)
    _people(deeds, desk)
    _requests(deeds, desk)
    _organizations(deeds, desk)
    _things(deeds, desk)


def _people(deeds: Deeds, desk: Desk) -> None:
    desk.add(User, email=world.new_address(), name="Ada")
    person = deeds.person().user
    answer = deeds.send(
        desk.staff.browser,
        reverse("admin:accounts_user_change", args=[person.pk]),
        name="Countess",
        is_active="on",
        is_staff="on",
        groups=str(Group.objects.get(name="support").pk),
        **{
            f"{inline}-{kind}_FORMS": "0"
            for inline in ("memberships", "emailaddress_set", "authenticator_set", "browser_sessions")
            for kind in ("TOTAL", "INITIAL")
        },
    )
    deeds.look("admin:accounts_user change", answer, Trace("staff.changed", "before after", desk.staff.user))
    person.refresh_from_db()
    deeds.context.expect(person.is_staff, "staff could not make somebody staff")
    person = deeds.person().user
    desk.take(person, "grant_developer_role", act="developer.granted")
    desk.take(person, "withdraw_developer_role", act="developer.withdrawn")
    desk.take(person, "end_sessions", act="account.sessions_ended", says="after")
    secret = generate_totp_secret()
    deeds.secrets.add(secret)
    TOTP.activate(person, secret)
    desk.take(person, "remove_second_factor", act="account.factor_removed", says="before")
    right = Permission.objects.get(codename="view_user")
    for number, end in enumerate(("delete", "delete_selected")):
        desk.add(Group, name=f"Group {number} of {person.public_id}", permissions=str(right.pk))
        group = Group.objects.get(name__contains=person.public_id)
        if end == "delete":
            desk.change(group, name=f"Another {person.public_id}", permissions=str(right.pk))
            desk.delete(group)
        else:
            desk.take(group, end, act="staff.deleted", says="before", post="yes")


def _requests(deeds: Deeds, desk: Desk) -> None:
    for decision, act, says in (
        ("granted", "developer.granted", "before after"),
        ("refused", "developer.refused", "after"),
    ):
        person = deeds.person()
        person.api.post("/api/auth/become-developer")
        asked = DeveloperRequest.objects.get(user=person.user)
        desk.change(asked, act=act, says=says, decision=decision, decision_reason="As agreed.")


def _organizations(deeds: Deeds, desk: Desk) -> None:
    owner = deeds.person().user
    slug = f"engines-{owner.pk.hex[-8:]}"
    desk.add(Organization, act="organization.created", name="Engines", slug=slug, owner=str(owner.pk))
    organization = Organization.objects.get(slug=slug)
    desk.change(organization, name="Analytical engines")
    desk.change(organization, act="organization.rate_limit_changed", says="after", rate_limit="12000")
    accounts.set_spend_limit(subject_kind="organization", subject_id=organization.pk, limit_nano=10**9, time_zone="UTC")
    budget = Budget.objects.get(subject_id=organization.pk, purpose="spend_limit")
    desk.change(budget, act="budget.limit_changed", amount="7")
    given = {"organization": str(organization.pk), "amount": "5.00", "reason": "Sorry."}
    desk.add(CreditGrant, act="credit.granted", **given, expires_at="")


def _things(deeds: Deeds, desk: Desk) -> None:
    key, secret = world.make_key(deeds.person().user)
    deeds.secrets.add(secret)
    desk.take(APIKey.objects.get(pk=key.pk), "revoke", act="key.revoked", says="before")
    ai_model: AIModel = world.make_model(deeds.context.ground, name="Reviewed")
    AIModel.objects.filter(pk=ai_model.pk).update(status="in_review")
    for action, act in (
        ("reject", "rejected"),
        ("publish", "published"),
        ("deprecate", "deprecated"),
        ("suspend", "suspended"),
        ("archive", "archived"),
    ):
        if action == "publish":
            marketplace.submit(ai_model=AIModel.objects.get(pk=ai_model.pk))
        desk.take(ai_model, action, act=f"model.{act}")
    dead = notify(to=world.new_address(), kind="accounts.password_changed", payload={"name": "Ada"})
    Message.objects.filter(pk=dead.pk).update(state="dead", attempts=8, next_attempt_at=None)
    desk.take(dead, "send_again", act="message.sent_again")
