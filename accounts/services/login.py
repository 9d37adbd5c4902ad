"""Who somebody is, by password and second factor."""

from __future__ import annotations

import structlog
from allauth.mfa.models import Authenticator
from django.contrib.auth import authenticate

from accounts.errors import EmailNotVerified, LoginFailed, MFAInvalid, MFARequired
from accounts.models import User
from accounts.services.addresses import is_verified
from accounts.services.guesses import begin_guess
from accounts.services.registration import mail_verification_code
from accounts.services.trail import record_failed_login

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


def second_factors(user: User) -> list[Authenticator]:
    """The ones that are typed: authenticator app and recovery codes."""
    return list(Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.WEBAUTHN))


def _check_second_factor(user: User, factors: list[Authenticator], code: str, client: str) -> None:
    for factor in factors:
        if factor.wrap().validate_code(code):
            factor.record_usage()
            return
    logger.warning("second_factor_failed", user_id=user.public_id, client=client)
    record_failed_login(user=user, reason="second_factor")
    raise MFAInvalid()
