"""What people change on the pages, each once, as T42 wants to see it recorded."""

from __future__ import annotations

import re

from allauth.mfa.models import Authenticator

from accounts import services as accounts
from accounts.models import Membership, Organization, User
from gateway.models import ContractCheck
from tests.pages.visitor import Visitor, one_time_code
from trust import world
from trust.audited import Deeds, Trace
from trust.audited_api import NEW_PASSWORD, code_in, invitation_token


def walk(deeds: Deeds) -> None:
    _sign_in(deeds)
    _passwords(deeds)
    _addresses(deeds)
    _second_factors(deeds)
    _account(deeds)
    _organizations(deeds)
    _keys(deeds)
    _publishing(deeds)


def _mailed(deeds: Deeds, email: str, path: str) -> str:
    """The link to `path` in the newest mail to an address."""
    found = re.search(rf"({path}\S+)", world.newest_mail(email))
    link = found[1] if found else ""
    deeds.secrets.add(link.removeprefix(path))
    return link


def _sign_in(deeds: Deeds) -> None:
    email = world.new_address()
    visitor = Visitor(deeds.web.url)
    deeds.page(
        visitor,
        "account_signup",
        leaves=Trace("account.registered", "after", email),
        email=email,
        password1=world.PASSWORD,
        name="Ada",
    )
    code = code_in(world.newest_mail(email))
    verified = Trace("account.email_verified", "after", email)
    deeds.page(visitor, "account_email_verification_sent", code=code, leaves=verified)
    visitor = Visitor(deeds.web.url, email=email, password=world.PASSWORD)
    entered = Trace("account.logged_in", "after", email)
    deeds.page(visitor, "account_login", login=email, password=world.PASSWORD, leaves=entered)
    deeds.press(visitor, "account_logout", leaves=Trace("account.logged_out", "", email))
    visitor = Visitor(deeds.web.url)
    visitor.submit("/accounts/login/code/", email=email)
    login_code = code_in(world.newest_mail(email))
    deeds.page(visitor, "account_confirm_login_code", code=login_code, leaves=entered)
    deeds.secrets |= {code, login_code}


def _passwords(deeds: Deeds) -> None:
    person = deeds.person()
    email = person.user.email
    answer = deeds.page(
        person.browser,
        "account_change_password",
        leaves=Trace("account.password_changed", "", person.user),
        oldpassword=world.PASSWORD,
        password1=NEW_PASSWORD,
        password2=NEW_PASSWORD,
    )
    assert answer.status == 302
    warned = Visitor(deeds.web.url)
    link = _mailed(deeds, email, "/accounts/not-me/")
    deeds.press(warned, "not-me", at=link, leaves=Trace("account.alarm_raised", "after", person.user))
    link = _mailed(deeds, email, "/accounts/password/reset/key/")
    form = warned.get(warned.get(link).headers["location"])
    answer = warned.fill(form, password1=world.PASSWORD, password2=world.PASSWORD)
    deeds.look("POST account_reset_password_from_key", answer, leaves=Trace("account.password_reset", "", person.user))
    person = deeds.person()
    person.user.set_unusable_password()
    person.user.save()
    visitor = Visitor(deeds.web.url)
    visitor.submit("/accounts/login/code/", email=person.user.email)
    visitor.submit("/accounts/login/code/confirm/", code=code_in(world.newest_mail(person.user.email)))
    fields = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    deeds.page(visitor, "account_set_password", leaves=Trace("account.password_changed", "", person.user), **fields)


def _addresses(deeds: Deeds) -> None:
    person, second = deeds.person(), world.new_address()
    user, page = person.user, "account_email"
    added = Trace("account.email_added", "after", user)
    deeds.send(person.browser, "/accounts/email/", email=second, action_add="")  # stored when it is proved
    deeds.page(person.browser, "account_email_verification_sent", code=code_in(world.newest_mail(second)), leaves=added)
    changed = Trace("account.email_changed", "before after", user)
    deeds.press(person.browser, page, email=second, action_primary="", leaves=changed)
    removed = Trace("account.email_removed", "before", user)
    deeds.press(person.browser, page, email=user.email, action_remove="", leaves=removed)


def _second_factors(deeds: Deeds) -> None:
    person = deeds.person()
    user, browser = person.user, person.browser
    shown = browser.get("/accounts/2fa/totp/activate/")
    found = re.search(r"\b[A-Z2-7]{32}\b", shown.text)
    secret = found[0] if found else ""
    answer = browser.fill(shown, code=one_time_code(secret))
    deeds.look("POST mfa_activate_totp", answer, leaves=Trace("account.factor_added", "after", user))
    deeds.press(browser, "mfa_generate_recovery_codes", leaves=Trace("account.factor_changed", "after", user))
    codes = list(dict.fromkeys(re.findall(r"\b\d{8}\b", browser.get("/accounts/2fa/recovery-codes/").text)))
    deeds.secrets |= {secret, *codes}
    again = Visitor(deeds.web.url, email=user.email, password=world.PASSWORD)
    again.log_in()
    entered = Trace("account.logged_in", "after", user)
    deeds.page(again, "mfa_authenticate", code=codes[0], leaves=entered)
    removed = Trace("account.factor_removed", "before", user)
    deeds.press(browser, "mfa_deactivate_totp", leaves=removed)
    person = deeds.person()
    browser = person.browser
    credential = {"clientExtensionResults": {"credProps": {"rk": True}}}
    passkey = Authenticator.objects.create(
        user=person.user, type=Authenticator.Type.WEBAUTHN, data={"name": "Phone", "credential": credential}
    )
    removed = Trace("account.factor_removed", "before", person.user)
    deeds.press(browser, "mfa_remove_webauthn", passkey.pk, leaves=removed)


def _account(deeds: Deeds) -> None:
    person = deeds.person()
    user, browser = person.user, person.browser
    changed = Trace("account.changed", "before after", user)
    deeds.page(browser, "profile", name="Countess", leaves=changed)
    asked = Trace("developer.requested", "after", user)
    deeds.page(browser, "developer", reason="A model of the weather.", leaves=asked)
    other = Visitor(deeds.web.url, email=user.email, password=world.PASSWORD)
    other.log_in()
    row = next(one for one in accounts.list_sign_ins(user=user, session_key=None) if one.kind == "program")
    ended = Trace("account.session_ended", "before", user)
    deeds.press(browser, "sessions", end=str(row.id), leaves=ended)
    deeds.press(browser, "sessions", leaves=Trace("account.sessions_ended", "after", user))
    browser.confirm()
    deeds.press(browser, "account-export", leaves=Trace("account.exported", "", user))
    zone = Trace("organization.changed", "before after", user)
    deeds.page(browser, "preferences", time_zone="Europe/Lisbon", leaves=zone)
    deeds.page(browser, "account-delete", email=user.email, leaves=Trace("account.closed", "", user))
    link = _mailed(deeds, user.email, "/accounts/reopen/")
    deeds.press(Visitor(deeds.web.url), "reopen", at=link, leaves=Trace("account.reopened", "", user))


def _organizations(deeds: Deeds) -> None:
    owner, other, third = deeds.person(), deeds.person(), deeds.person()
    mine, browser = owner.user, owner.browser

    def facts(act: str, says: str, by: User = mine) -> Trace:
        return Trace(f"organization.{act}", says, by)

    deeds.page(browser, "organization-new", name="Ours", leaves=facts("created", "after"))
    organization = Organization.objects.filter(memberships__user=mine, personal_owner=None).get()
    deeds.page(browser, "organization", name="Ours too", leaves=facts("changed", "before after"))
    limit = {"act": "limit", "amount": "5", "window": "month"}
    answer = deeds.send(browser, "/settings/organization", **limit)
    deeds.look("POST organization", answer, leaves=Trace("organization.limit_changed", "after", mine))
    deeds.page(browser, "members", email=other.user.email, role="member", leaves=facts("member_invited", "after"))
    invitation = organization.invitations.get()
    deeds.press(browser, "invitation-change", invitation.pk, leaves=facts("invitation_resent", "after"))
    token = invitation_token(deeds, other)
    path = f"/invitations/{token}"
    joined = facts("member_joined", "after", other.user)
    deeds.press(other.browser, "invitation", at=path, leaves=joined)
    browser.submit("/settings/members", email=third.user.email, role="member")
    answer = deeds.send(third.browser, f"/invitations/{invitation_token(deeds, third)}", act="decline")
    deeds.look("POST invitation", answer, leaves=Trace("organization.invitation_declined", "after", third.user))
    place = Membership.objects.get(organization=organization, user=other.user)
    deeds.page(browser, "member", place.pk, role="admin", leaves=facts("role_changed", "before after"))
    gone = accounts.add_member(organization=organization, user=third.user, role="member")
    deeds.press(browser, "member-remove", gone.pk, leaves=facts("member_removed", "before"))
    handed = facts("ownership_transferred", "before after")
    deeds.page(browser, "members-transfer", member=str(place.pk), leaves=handed)
    deeds.press(browser, "members-leave", leaves=facts("member_left", "before"))
    deeds.press(other.browser, "organization-close", leaves=facts("closed", "", other.user))


def _keys(deeds: Deeds) -> None:
    person = deeds.person()
    user, browser = person.user, person.browser
    made = deeds.page(browser, "keys", name="till", at="/keys?new", leaves=Trace("key.created", "after", user))
    _remember_keys(deeds, made.text)
    key = user.api_keys.get()
    changed = Trace("key.changed", "before after", user)
    deeds.page(browser, "key", key.pk, name="register", leaves=changed)
    rotated = Trace("key.rotated", "before after", user)
    answer = deeds.page(browser, "key-rotate", key.pk, overlap_seconds="0", leaves=rotated)
    _remember_keys(deeds, answer.text)
    deeds.press(browser, "key-revoke", key.pk, leaves=Trace("key.revoked", "before", user))


def _publishing(deeds: Deeds) -> None:
    """The five steps of the wizard, and a deployment of what came of them."""
    person = deeds.person(platform_role="developer")
    browser = person.browser

    def leaves(act: str, says: str = "after") -> Trace:
        return Trace(f"model.{act}", says, person.user)

    deeds.page(browser, "publish-new", name="Mood", description="Tells it.", leaves=leaves("created"))
    ai_model = person.user.personal_organization.ai_models.get()
    deeds.page(browser, "publish-basics", ai_model.pk, name="Moods", leaves=leaves("changed", "before after"))
    url = "https://models.example.org/v1"
    deeds.page(browser, "publish-endpoint", ai_model.pk, url=url, protocol="json", leaves=leaves("endpoint_set"))
    ContractCheck.objects.filter(endpoint__version__ai_model=ai_model).delete()  # so that another one is asked for
    deeds.press(browser, "publish-test", ai_model.pk, leaves=leaves("check_asked"))
    paid = {"type": "paid", "per_call_nano": "0.01"}
    deeds.page(browser, "publish-price", ai_model.pk, **paid, leaves=leaves("price_changed", "before after"))
    deeds.press(browser, "publish-review", ai_model.pk, act="submit", leaves=leaves("published", "before after"))
    made = Trace("deployment.created", "after", person.user)
    slug = f"{ai_model.publisher.slug}/{ai_model.slug}"
    deeds.page(browser, "deployments", name="mood", model=slug, at="/deployments?new", leaves=made)
    changed = Trace("deployment.changed", "before after", person.user)
    deeds.press(
        browser, "deployment", person.user.personal_organization.deployments.get().pk, act="pause", leaves=changed
    )


def _remember_keys(deeds: Deeds, html: str) -> None:
    shown = set(re.findall(r"\bagr_(?:live|test)_[0-9A-Za-z]{38}\b", html))
    deeds.context.expect(len(shown) == 1, f"{len(shown)} keys are shown after one was made")
    deeds.secrets |= shown
