"""Guesses at passwords and codes, counted in one place for all doors: pages, API, second factors and mailed codes.

At most ten an hour get through at one account from devices that it does not know, from however many networks. Only
wrong ones count: a guess is taken from the bucket before it is looked at, so that no number of them at the same time
gets by, and what was right is given back. A known device has a bucket of its own, so nobody locks out the owner.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from accounts.models import User
from accounts.services.addresses import find_owner
from accounts.services.digests import digest
from accounts.services.known_devices import current_device
from common import limiter
from common.limiter import Bucket
from common.problems import RateLimited

HOUR = 3600
AT_ONCE = 5  # and five more an hour: ten within any hour
OF_KNOWN_DEVICE = 10


@dataclass(frozen=True, slots=True)
class Guess:
    """A guess that may be looked at. counts: False where it must be refused as if it were wrong."""

    taken: tuple[Bucket, ...]
    counts: bool = True

    def was_right(self) -> None:
        for bucket in self.taken:
            limiter.give_back(bucket)


def begin_guess(*, email: str) -> Guess:
    """Before a password or code for an address is looked at. Raises RateLimited, whether or not there is an account.

    The address has a bucket, so that nothing tells whether it has an account, and the account has one, so that several
    addresses do not give several times the guesses. That the latter alone is empty is told to nobody: it would say
    that two addresses belong together.
    """
    email = email.strip().lower()
    owner = find_owner(email)
    device = current_device().key_for(owner)
    if owner is not None and device is not None:
        return Guess((_take(_of_device(owner, device)),))
    of_address = _take(_bucket(f"address:{digest('guess', email).hex()}"))
    of_account = _of_account(owner) if owner is not None else _bucket(f"nobody:{digest('guess', email).hex()}")
    if limiter.check_all([of_account])[0].allowed:
        return Guess((of_address, of_account))
    return Guess((of_address,), counts=False)


def begin_guess_at(user: User) -> Guess:
    """The same where the account is known already: a second factor, or the password of somebody who is logged in."""
    guess = begin_guess(email=user.email)
    if not guess.counts:
        raise _refusal(HOUR // AT_ONCE)
    return guess


def _bucket(subject: str) -> Bucket:
    return Bucket(f"guess:{subject}", AT_ONCE, HOUR, name="guess")


def _of_account(user: User) -> Bucket:
    return _bucket(f"account:{user.pk.hex}")


def _of_device(user: User, device: str) -> Bucket:
    return Bucket(f"guess:device:{user.pk.hex}:{device}", OF_KNOWN_DEVICE, HOUR, name="guess")


def _take(bucket: Bucket) -> Bucket:
    """No header shows how full it is: that would tell whether its owner was here just now."""
    decision = limiter.check_all([bucket])[0]
    if not decision.allowed:
        raise _refusal(decision.retry_after_seconds)
    return bucket


def _refusal(wait_seconds: int) -> RateLimited:
    detail = _("Too many wrong passwords or codes were tried for this account.")
    return RateLimited(detail, limit_source="account", retry_after_seconds=wait_seconds)
