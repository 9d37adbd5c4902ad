"""Signing up, and proving that the address is one's own."""

from __future__ import annotations

import secrets
from datetime import datetime

from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password
from django.db import transaction

from accounts.errors import CodeInvalid
from accounts.models import EmailCode, Organization, User
from accounts.services import codes, mails
from accounts.services.addresses import clean_email, find_owner, is_claimed, mark_verified
from accounts.services.events import record_about
from accounts.services.guesses import begin_guess
from accounts.services.locks import lock
from accounts.services.organizations import create_organization
from accounts.services.passwords import check_password_rules
from common.clock import now

VERIFY = EmailCode.Purpose.VERIFY_EMAIL


def register_user(*, email: str, password: str, name: str, organization: str | None = None) -> None:
    """Sign up: a user, a personal organization (called `organization`, else `name`) and a code in the mail.

    The answer and the work are the same whether or not the address is taken. The owner of a verified address is told
    by mail. An address that nobody has verified belongs to whoever signed up last, since the code goes to the mailbox:
    an earlier sign-up by somebody else leaves neither a password nor a name behind.
    Raises ValidationFailed for a password that breaks the rules.
    """
    email = clean_email(email)
    check_password_rules(password, User(email=email, name=name))
    hashed = make_password(password)
    with transaction.atomic():
        lock("email", email)
        at = now()
        user = find_owner(email)
        if user is None:
            opened = _open(email=email, hashed=hashed, name=name, organization=organization)
            record_about("registered", opened, by_user=True, after={"email": email})
            _mail_code(opened, email, at)
            return
        if is_claimed(user, email):
            _open_and_forget(hashed=hashed, name=name, organization=organization, at=at)
            record_about("registration_repeated", user, after={"email": email})  # by whoever; a new one is recorded too
            if mails.may_mail(email):
                mails.mail_account_exists(user=user, email=email)
            return
        user.password, user.name = hashed, name
        user.save(update_fields=["password", "name", "updated_at"])
        Organization.objects.filter(personal_owner=user).delete()  # nobody has ever acted for it
        create_organization(owner=user, name=organization or name, is_personal=True)
        record_about("registered", user, by_user=True, after={"email": email})
        codes.cancel_codes(user=user, purpose=VERIFY, at=at)
        _mail_code(user, email, at)


@transaction.atomic
def open_account(
    *, email: str, password: str | None, name: str, organization: str | None = None, slug: str | None = None
) -> User:
    """An account whose address counts as verified, without a mail: for the demo, tests and operators' commands.

    Raises IntegrityError when the address or the slug is taken.
    """
    email = clean_email(email)
    user = _open(email=email, hashed=make_password(password), name=name, organization=organization, slug=slug)
    record_about("registered", user, after={"email": email})
    mark_verified(user=user, email=email)
    return user


@transaction.atomic
def open_account_by_identity(*, email: str, name: str) -> User | None:
    """The account of somebody whom a provider of the operator's vouches for: a new one, or one that a sign-up left
    behind without proving the address, whose password goes. None where the address is somebody's already.
    """
    email = clean_email(email)
    lock("email", email)
    user = find_owner(email)
    if user is not None and (is_claimed(user, email) or not user.is_active):
        return None
    if user is None:
        return open_account(email=email, password=None, name=name[:120] or email.partition("@")[0])
    user.set_unusable_password()
    user.name = name[:120] or user.name
    user.save(update_fields=["password", "name", "updated_at"])
    Organization.objects.filter(personal_owner=user).delete()  # nobody has ever acted for it
    create_organization(owner=user, name=user.name, is_personal=True)
    codes.cancel_codes(user=user, purpose=VERIFY, at=now())
    mark_verified(user=user, email=email)
    return user


def verify_email(*, email: str, code: str) -> User:
    """Take the code that was mailed at sign-up or login; the address counts as verified from now on.

    Raises CodeInvalid, also for an unknown or already verified address, and RateLimited.
    """
    guess = begin_guess(email=email)
    user = User.objects.filter(email=email, is_active=True).first()
    if user is None or EmailAddress.objects.is_verified(email):
        raise CodeInvalid(errors=[codes.CODE_FAULT])
    if not guess.counts:
        raise CodeInvalid(errors=[codes.CODE_FAULT])
    codes.claim_code(user=user, purpose=VERIFY, email=email, code=code)
    guess.was_right()
    mark_verified(user=user, email=email)
    return user


@transaction.atomic
def mail_verification_code(*, user: User, email: str) -> None:
    """A fresh code for an address of the user; the former one no longer counts. Silent beyond the hourly allowance."""
    _mail_code(user, email, now())


def _mail_code(user: User, email: str, at: datetime) -> None:
    if mails.may_mail(email):
        mails.mail_code(user=user, email=email, code=codes.issue_code(user=user, purpose=VERIFY, email=email, at=at))


def _open(*, email: str, hashed: str, name: str, organization: str | None, slug: str | None = None) -> User:
    user = User.objects.create(email=email, password=hashed, name=name)
    EmailAddress.objects.create(user=user, email=email, primary=True, verified=False)
    create_organization(owner=user, name=organization or name, slug=slug, is_personal=True)
    return user


def _open_and_forget(*, hashed: str, name: str, organization: str | None, at: datetime) -> None:
    """The work of a new account without the account, so that the time of the answer tells nothing."""
    decoy = f"{secrets.token_hex(16)}@decoy.invalid"
    with transaction.atomic():
        user = _open(email=decoy, hashed=hashed, name=name, organization=organization)
        codes.issue_code(user=user, purpose=VERIFY, email=decoy, at=at)
        transaction.set_rollback(True)
