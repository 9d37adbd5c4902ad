"""Who somebody is, by password and second factor."""

from __future__ import annotations

from uuid import UUID

import structlog
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth import authenticate
from django.db import transaction

from accounts.errors import CodeInvalid, EmailNotVerified, LoginFailed, MFAInvalid, MFARequired
from accounts.models import EmailCode, User
from accounts.services import codes, mails
from accounts.services.addresses import is_verified
from accounts.services.guesses import begin_guess
from accounts.services.registration import mail_verification_code
from accounts.services.trail import record_failed_login
from common.clock import now

logger = structlog.get_logger(__name__)


def authenticate_user(*, email: str, password: str, code: str = "", client: str) -> User:
    """The user of an address and a password, and of a `code` where the account has a second factor.

    A password is hashed once whether or not the account exists. client: the fingerprint of who is asking, for the log.
    Raises LoginFailed, EmailNotVerified (a fresh code is in the mail), MFARequired, MFAInvalid, RateLimited.
    """
    guess = begin_guess(email=email)
    user = authenticate(None, email=email, password=password)
    if not isinstance(user, User) or not guess.counts:
        logger.info("login_failed", client=client)
        raise LoginFailed()
    if not is_verified(user, email):
        guess.was_right()
        mail_verification_code(user=user, email=user.email)
        raise EmailNotVerified()
    factors = second_factors(user)
    if factors and code:
        _check_second_factor(user, factors, code, client)
    guess.was_right()
    if factors and not code:
        raise MFARequired()
    return user


def request_login_code(*, email: str) -> None:
    """Mail a code that logs in, or to an address that nobody has verified, that there is no account. Silent either way.

    An account whose address nobody has proved may have been made by somebody else, who knows its password.
    """
    if not mails.may_mail(email):
        return
    with transaction.atomic():
        user, at = _verified_owner(email), now()
        if user is None:
            codes.issue_in_vain(purpose=EmailCode.Purpose.LOGIN, email=email, at=at)
            mails.mail_unknown_account(email=email)
        else:
            code = codes.issue_code(user=user, purpose=EmailCode.Purpose.LOGIN, email=email, at=at)
            mails.mail_login_code(user=user, email=email, code=code)


def claim_login_code(*, email: str, code: str) -> User:
    """The user whom a mailed code logs in; whoever calls asks for the second factor.

    Raises CodeInvalid, also for an unknown address, and RateLimited.
    """
    guess = begin_guess(email=email)
    user, _row = _claim(email, code)
    if not guess.counts:
        raise CodeInvalid(errors=[codes.CODE_FAULT])
    guess.was_right()
    return user


def authenticate_by_code(*, email: str, code: str, second_factor: str = "", client: str) -> User:
    """As `authenticate_user`, with a mailed code in the place of the password. A right one stays good until the second
    factor is right as well. Raises CodeInvalid, MFARequired, MFAInvalid, RateLimited."""
    guess = begin_guess(email=email)
    user, row = _claim(email, code)
    if not guess.counts:
        raise CodeInvalid(errors=[codes.CODE_FAULT])
    factors = second_factors(user)
    try:
        if factors and second_factor:
            _check_second_factor(user, factors, second_factor, client)
    except MFAInvalid:
        codes.give_code_back(row)
        raise
    guess.was_right()
    if factors and not second_factor:
        codes.give_code_back(row)
        raise MFARequired()
    return user


def _claim(email: str, code: str) -> tuple[User, UUID]:
    user = _verified_owner(email)  # without one the same work is done, in vain
    row = codes.claim_code(user=user or User(), purpose=EmailCode.Purpose.LOGIN, email=email, code=code)
    if user is None:
        raise CodeInvalid(errors=[codes.CODE_FAULT])
    return user, row


def _verified_owner(email: str) -> User | None:
    found = EmailAddress.objects.filter(email=email, verified=True, user__is_active=True).select_related("user").first()
    return found.user if found is not None else None


def second_factors(user: User) -> list[Authenticator]:
    """Passkeys too, which no program can use: it types a code of an app, or a recovery code."""
    return list(Authenticator.objects.filter(user=user))


def _check_second_factor(user: User, factors: list[Authenticator], code: str, client: str) -> None:
    for factor in factors:
        if factor.type != Authenticator.Type.WEBAUTHN and factor.wrap().validate_code(code):
            factor.record_usage()
            return
    logger.warning("second_factor_failed", user_id=user.public_id, client=client)
    record_failed_login(user=user, reason="second_factor")
    raise MFAInvalid()
