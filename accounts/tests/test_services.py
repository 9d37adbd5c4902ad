"""Signing up, codes, passwords, roles and organizations."""

import re
from uuid import UUID

import pytest
import time_machine
from allauth.account.models import EmailAddress
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.core import mail
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts import services
from accounts.errors import CodeInvalid, EmailNotVerified, LoginFailed, MFAInvalid, MFARequired, ResetTokenInvalid
from accounts.models import EmailCode, Membership, Organization, RefreshFamily, User
from accounts.services.codes import ALPHABET
from accounts.services.mails import MAILS_PER_HOUR
from accounts.services.tokens import REFRESH_LIFETIME
from accounts.tests.factories import (
    PASSWORD,
    code_in,
    later,
    mails_to,
    make_key,
    make_member,
    make_organization,
    make_user,
    new_address,
    reset_token_in,
)
from common import clock
from common.ids import encode
from common.problems import NotFound, RateLimited, ValidationFailed
from notifications.models import Message
from observability.models import AuditEvent

pytestmark = pytest.mark.django_db
VERIFY = EmailCode.Purpose.VERIFY_EMAIL


def register(email, *, password=PASSWORD, name="Ada Lovelace", **values):
    services.register_user(email=email, password=password, name=name, **values)


# --- Signing up ---


def test_signing_up_makes_a_person_an_organization_and_a_code_in_the_mail():
    email = new_address()
    register(email, organization="Analytical Engines")
    user = User.objects.get(email=email)
    assert (user.name, user.role, user.check_password(PASSWORD)) == ("Ada Lovelace", "consumer", True)
    organization = user.personal_organization
    assert organization.name == "Analytical Engines"
    assert organization.slug.startswith("analytical-engines")
    assert organization.memberships.get().role == "owner"
    assert EmailAddress.objects.get(user=user).primary
    assert not services.is_verified(user, email)
    [message] = mails_to(email)
    code = code_in(message)
    assert len(code) == 8
    assert set(code) <= set(ALPHABET)
    assert services.verify_email(email=email, code=code) == user
    assert services.is_verified(user, email)


def test_no_code_is_stored_as_it_is():
    email = new_address()
    register(email)
    code = code_in(mails_to(email)[0])
    row = EmailCode.objects.get(email=email)
    assert len(row.digest) == 32
    assert code.encode() not in bytes(row.digest)
    assert Message.objects.get(to_address=email).payload is None  # erased once sent


def test_a_taken_address_changes_nothing_and_its_owner_is_told():
    user = make_user()
    before = User.objects.count(), Organization.objects.count(), EmailCode.objects.count(), user.password
    register(user.email, password="another long password", name="Mallory")
    user.refresh_from_db()
    assert (User.objects.count(), Organization.objects.count(), EmailCode.objects.count(), user.password) == before
    assert user.name == "Ada Lovelace"
    [message] = mails_to(user.email)
    assert "You have an account" in message.subject
    assert "/accounts/login/" in message.body


def test_a_further_verified_address_of_somebody_is_taken_too():
    user, email = make_user(), new_address()
    EmailAddress.objects.create(user=user, email=email, verified=True)
    register(email)
    assert not User.objects.filter(email=email).exists()
    assert "You have an account" in mails_to(email)[0].subject


def test_nobody_can_leave_a_password_behind_at_an_address_that_is_not_theirs():
    email = new_address()
    register(email, password="the password of mallory", name="Mallory", organization="Mallory & Co")
    register(email)
    first, second = (code_in(message) for message in mails_to(email))
    with pytest.raises(CodeInvalid):
        services.verify_email(email=email, code=first)
    user = services.verify_email(email=email, code=second)
    assert user.name == user.personal_organization.name == "Ada Lovelace"
    assert "mallory" not in user.personal_organization.slug
    assert user.check_password(PASSWORD)
    assert user.memberships.count() == User.objects.filter(email=email).count() == 1


def test_a_code_stands_for_no_password_that_came_after_it():
    email = new_address()
    register(email)
    for _ in range(MAILS_PER_HOUR):
        register(email, password="the password of mallory", name="Mallory")
    codes = [code_in(message) for message in mails_to(email)]
    assert len(codes) == MAILS_PER_HOUR
    for code in codes:  # the last sign-up was not mailed: whoever types an older code must not get its password
        with pytest.raises((CodeInvalid, RateLimited)):
            services.verify_email(email=email, code=code)


@pytest.mark.parametrize("fields", [{"is_staff": True}, {"last_login": "2026-01-01T00:00:00Z"}])
def test_signing_up_takes_over_no_account_in_use(fields):
    email = new_address()
    user = User.objects.create_user(email, PASSWORD, name="Operator", **fields)
    register(email, password="another long password")
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert "You have an account" in mails_to(email)[0].subject


def test_a_name_is_not_mailed_to_an_address_that_a_stranger_gave():
    email = new_address()
    register(email, name="Visit https://evil.example")
    message = mails_to(email)[0]
    assert "evil" not in message.subject + message.body + message.alternatives[0].content


@pytest.mark.parametrize("password", ["short", "password123", "12345678901234"])
def test_a_weak_password_is_refused_with_its_pointer(password):
    email = new_address()
    with pytest.raises(ValidationFailed) as refused:
        register(email, password=password)
    assert {error["pointer"] for error in refused.value.errors} == {"/password"}
    assert not User.objects.filter(email=email).exists()


@pytest.mark.parametrize(
    "text", ["", "a", "a@b", "ä@example.org", "a@exämple.org", "\u212aa@example.org", "a" * 250 + "@x.org"]
)
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(ValidationError):
        services.clean_email(text)


def test_an_address_has_one_spelling():
    assert services.clean_email("  Ada@Example.ORG ") == "ada@example.org"


def test_slugs_are_free_shaped_and_never_reserved():
    slugs = {make_organization(name="Großhandel & Söhne_GmbH").slug for _ in range(3)}
    assert len(slugs) == 3
    assert all(re.fullmatch(r"grohandel-sohne-gmbh(-[a-z2-9]{5})?", slug) for slug in slugs)
    assert re.fullmatch(r"demo-[a-z2-9]{5}", make_organization(name="Demo").slug)
    assert re.fullmatch(r"org-[a-z2-9]{5}", make_organization(name="東京").slug)
    assert len(make_organization(name="x" * 120).slug) == 40
    assert len(make_organization(name="x" * 120).slug) <= 40


def test_a_given_slug_is_taken_as_it_is_or_not_at_all():
    assert (
        services.open_account(email=new_address(), password=None, name="D", slug="demo").personal_organization.slug
        == "demo"
    )
    with pytest.raises(IntegrityError), transaction.atomic():
        services.open_account(email=new_address(), password=None, name="D", slug="demo")


# --- Codes ---


@pytest.fixture
def newcomer():
    """Somebody who has signed up and not verified; the code that was mailed."""
    email = new_address()
    register(email)
    return email, code_in(mails_to(email)[0])


def test_a_code_works_once_however_it_is_typed(newcomer):
    email, code = newcomer
    services.verify_email(email=email, code=f" {code[:4].lower()}-{code[4:]} ")
    with pytest.raises(CodeInvalid):
        services.verify_email(email=email, code=code)


def test_a_code_allows_five_tries(newcomer):
    email, code = newcomer
    for _ in range(4):
        with pytest.raises(CodeInvalid):
            services.verify_email(email=email, code="AAAAAAAA")
    services.verify_email(email=email, code=code)


def test_the_sixth_try_fails_with_the_right_code(newcomer):
    email, code = newcomer
    for _ in range(5):
        with pytest.raises(CodeInvalid):
            services.verify_email(email=email, code="AAAAAAAA")
    with pytest.raises(RateLimited):
        services.verify_email(email=email, code=code)
    assert EmailCode.objects.get(email=email).attempts == 5


def test_a_code_lives_a_quarter_of_an_hour(newcomer):
    email, code = newcomer
    with later("15 minutes 1 second"), pytest.raises(CodeInvalid):
        services.verify_email(email=email, code=code)
    with later("14 minutes"):
        services.verify_email(email=email, code=code)


def test_a_code_of_one_address_proves_no_other(newcomer):
    email, code = newcomer
    user = User.objects.get(email=email)
    with pytest.raises(CodeInvalid):
        services.claim_code(user=user, purpose=VERIFY, email="victim@example.org", code=code)


def test_a_code_of_one_purpose_serves_no_other(newcomer):
    email, code = newcomer
    with pytest.raises(CodeInvalid):
        services.claim_code(user=User.objects.get(email=email), purpose="login", email=email, code=code)


def test_codes_survive_a_new_pepper(newcomer, settings):
    email, code = newcomer
    settings.KEY_PEPPERS = {"new": b"n" * 32, **settings.KEY_PEPPERS}
    services.verify_email(email=email, code=code)


def test_codes_fall_with_their_pepper(newcomer, settings):
    email, code = newcomer
    settings.KEY_PEPPERS = {"new": b"n" * 32}
    with pytest.raises(CodeInvalid):
        services.verify_email(email=email, code=code)


def test_an_address_that_somebody_verified_meanwhile_is_theirs(newcomer):
    email, code = newcomer
    EmailAddress.objects.create(user=make_user(), email=email, verified=True)
    with pytest.raises(CodeInvalid):
        services.verify_email(email=email, code=code)


# --- Logging in ---


def log_in(email, password=PASSWORD, code=""):
    return services.authenticate_user(email=email, password=password, code=code, client="c" * 64)


def test_the_right_password_is_the_user():
    user = make_user()
    assert log_in(user.email) == user


@pytest.mark.parametrize("is_known", [True, False])
def test_a_wrong_password_and_an_unknown_address_are_the_same(is_known):
    with pytest.raises(LoginFailed):
        log_in(make_user().email if is_known else new_address(), "wrong")


def test_a_password_is_hashed_once_for_known_and_unknown(monkeypatch):
    from django.contrib.auth.hashers import MD5PasswordHasher

    calls = []
    encode_as_usual = MD5PasswordHasher.encode
    monkeypatch.setattr(MD5PasswordHasher, "encode", lambda *a, **k: calls.append(1) or encode_as_usual(*a, **k))
    email = make_user().email
    counts = []
    for address in (email, new_address()):
        calls.clear()
        with pytest.raises(LoginFailed):
            log_in(address, "wrong")
        counts.append(len(calls))
    assert counts == [1, 1]
    for address in (email, new_address()):
        calls.clear()
        register(address, password="quite another password")
        assert len(calls) == 1


def test_who_was_deactivated_cannot_log_in():
    with pytest.raises(LoginFailed):
        log_in(make_user(is_active=False).email)


def test_an_unverified_address_gets_a_fresh_code(newcomer):
    email, _ = newcomer
    with pytest.raises(EmailNotVerified):
        log_in(email)
    services.verify_email(email=email, code=code_in(mails_to(email)[-1]))
    assert log_in(email).email == email


def test_a_wrong_password_mails_nothing(newcomer):
    email, _ = newcomer
    with pytest.raises(LoginFailed):
        log_in(email, "wrong")
    assert len(mails_to(email)) == 1


def totp_code(secret):
    return format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time())))


@time_machine.travel("2026-11-30T12:00:10Z", tick=False)  # a code lives half a minute
def test_a_second_factor_is_asked_for_and_works_once():
    user, secret = make_user(), generate_totp_secret()
    TOTP.activate(user, secret)
    with pytest.raises(MFARequired):
        log_in(user.email)
    with pytest.raises(LoginFailed):
        log_in(user.email, "wrong", totp_code(secret))
    with pytest.raises(MFAInvalid):
        log_in(user.email, code="000000")
    code = totp_code(secret)
    assert log_in(user.email, code=code) == user
    with pytest.raises(MFAInvalid):
        log_in(user.email, code=code)


@time_machine.travel("2026-11-30T12:00:10Z", tick=False)  # a code lives half a minute
def test_the_secret_of_a_second_factor_is_sealed():
    secret = generate_totp_secret()
    authenticator = TOTP.activate(make_user(), secret).instance
    assert secret not in str(authenticator.data)
    assert authenticator.wrap().validate_code(totp_code(secret))


def test_a_recovery_code_is_a_second_factor_once():
    user = make_user()
    TOTP.activate(user, generate_totp_secret())
    code = RecoveryCodes.activate(user).get_unused_codes()[0]
    assert log_in(user.email, code=code) == user
    with pytest.raises(MFAInvalid):
        log_in(user.email, code=code)


def test_second_factors_cannot_be_tried_without_end():
    user = make_user()
    TOTP.activate(user, generate_totp_secret())
    for _ in range(5):
        with pytest.raises(MFAInvalid):
            log_in(user.email, code="000000")
    with pytest.raises(RateLimited) as refused:
        log_in(user.email, code="000000")
    assert refused.value.headers["Retry-After"]


# --- New passwords ---


def ask_for_reset(email):
    services.request_password_reset(email=email)
    return reset_token_in(mails_to(email)[-1])


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_mailed_link_sets_a_password_and_ends_everything(is_whole):
    user = make_user()
    services.open_family(user=user, client="c")
    token = ask_for_reset(user.email)
    services.reset_password(token=f"{user.pk.hex}-{token}" if is_whole else token, password="a quite new password")
    before = user.session_version
    user.refresh_from_db()
    assert user.check_password("a quite new password")
    assert user.session_version == before + 1
    assert RefreshFamily.objects.get(user=user).reason == "password_changed"
    assert "was changed" in mails_to(user.email)[-1].subject
    with pytest.raises(ResetTokenInvalid):
        services.reset_password(token=token, password="a quite other password")


def test_a_weak_password_leaves_the_link_usable():
    token = ask_for_reset(make_user().email)
    with pytest.raises(ValidationFailed):
        services.reset_password(token=token, password="short")
    services.reset_password(token=token, password="a quite new password")


def test_a_link_lives_an_hour_and_only_the_newest():
    email = make_user().email
    first, second = ask_for_reset(email), ask_for_reset(email)
    for token, interval in ((first, "1 minute"), (second, "61 minutes")):
        with later(interval), pytest.raises(ResetTokenInvalid):
            services.reset_password(token=token, password="a quite new password")


def test_a_link_of_who_was_deactivated_is_dead():
    user = make_user()
    token = ask_for_reset(user.email)
    User.objects.filter(pk=user.pk).update(is_active=False)
    with pytest.raises(ResetTokenInvalid):
        services.reset_password(token=token, password="a quite new password")


def test_who_reads_the_mail_has_verified_the_address(newcomer):
    email, _ = newcomer
    services.reset_password(token=ask_for_reset(email), password="a quite new password")
    assert log_in(email, "a quite new password").email == email


def test_an_unknown_address_gets_as_many_mails_as_a_known_one():
    known, unknown = make_user().email, new_address()
    for _ in range(MAILS_PER_HOUR + 3):
        services.request_password_reset(email=known)
        services.request_password_reset(email=unknown)
    assert len(mails_to(known)) == len(mails_to(unknown)) == MAILS_PER_HOUR
    assert "No account" in mails_to(unknown)[0].subject


def test_links_name_the_site_and_no_other_host(settings):
    settings.SITE_URL = "https://ai.example.org"
    email = make_user().email
    ask_for_reset(email)
    links = re.findall(r"https?://[^\s/]+", mail.outbox[-1].body)
    assert set(links) == {"https://ai.example.org"}


# --- Organizations and roles ---


def test_one_acts_for_the_personal_organization_or_the_one_that_is_named():
    member = make_member(role="billing")
    user, organization = member.user, member.organization
    assert services.resolve_actor(user, None) == (user.personal_organization, "owner")
    assert services.resolve_actor(user, organization.public_id) == (organization, "billing")


@pytest.mark.parametrize("wanted", ["", "x", "org_", "org_\0", "usr_" + "0" * 26, encode("org", UUID(int=7))])
def test_an_organization_that_is_not_ones_own_is_not_found(wanted):
    with pytest.raises(NotFound):
        services.resolve_actor(make_user(), wanted)


def test_foreign_and_closed_organizations_are_not_found():
    member = make_member()
    with pytest.raises(NotFound):
        services.resolve_actor(make_user(), member.organization.public_id)
    Organization.objects.filter(pk=member.organization_id).update(closed_at=clock.now())
    with pytest.raises(NotFound):
        services.resolve_actor(member.user, member.organization.public_id)


def test_who_was_made_without_an_organization_gets_one_when_it_is_needed():
    user = User.objects.create_superuser(new_address(), PASSWORD)
    organization, role = services.resolve_actor(user, None)
    assert (organization.personal_owner, role) == (user, "owner")
    assert services.resolve_actor(user, None) == (organization, "owner")


def test_the_time_zone_of_an_organization_is_a_real_one():
    organization = make_organization()
    services.update_organization(organization=organization, name="New", time_zone="Europe/Berlin")
    organization.refresh_from_db()
    assert (organization.name, organization.time_zone) == ("New", "Europe/Berlin")
    for zone in ("Mars/Olympus", "+03:00", "FOO3", ""):
        with pytest.raises(ValidationFailed) as refused:
            services.update_organization(organization=organization, name="New", time_zone=zone)
        assert refused.value.errors[0]["pointer"] == "/time_zone"


def test_a_change_leaves_what_somebody_else_changed_meanwhile():
    organization = make_organization(name="Old")
    seen_before = Organization.objects.get(pk=organization.pk)
    services.update_organization(organization=organization, name="New")
    services.update_organization(organization=seen_before, time_zone="Europe/Berlin")
    organization.refresh_from_db()
    assert (organization.name, organization.time_zone) == ("New", "Europe/Berlin")
    assert seen_before.name == "New"
    event = AuditEvent.objects.filter(action="organization.changed").order_by("-id").first()
    assert (event.before, event.after) == ({"time_zone": "UTC"}, {"time_zone": "Europe/Berlin"})


def test_the_profile_names_only_ones_own_keys_in_force():
    member = make_member()
    user, organization = member.user, member.user.personal_organization
    mine = make_key(user=user, organization=organization)
    make_key(user=user, organization=organization, revoked_at=clock.now())
    make_key(user=user, organization=member.organization)
    make_key(user=make_user(), organization=organization)
    profile = services.profile_of(user=user, organization=organization, role="owner")
    assert profile.api_key_ids == [mine.id]


# --- Forgetting ---


def test_what_no_longer_serves_is_deleted_and_the_rest_is_not():
    user = make_user()
    ended = services.open_family(user=user, client="c")
    services.close_family(refresh=ended.refresh)
    living = services.open_family(user=user, client="c")
    services.issue_code(user=user, purpose=VERIFY, email=user.email, at=clock.now())
    assert services.prune_codes() == 0
    with later("25 hours"):
        assert services.prune_codes() == 3  # the code, the ended family and its token
        services.rotate(refresh=living.refresh, client="c")
    with later(f"{REFRESH_LIFETIME.days + 1} days"):  # the first token has expired, its successor has not
        services.prune_codes()
        family = RefreshFamily.objects.get(user=user)
        assert family.tokens.get().parent is None
    with later(f"{REFRESH_LIFETIME.days + 3} days"):
        services.prune_codes()
        assert not RefreshFamily.objects.filter(user=user).exists()
    assert not EmailCode.objects.filter(user=user).exists()
    assert Membership.objects.filter(user=user).exists()
