"""Second factors: their secrets, and what staff has to do with them.

A secret is sealed for its row. allauth seals and opens it by a text alone, so the text brings its place with it:
`bind_secrets` gives it one when a row is made or read. A secret copied into another row does not open there.
"""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction
from django.db.models.signals import post_init

from accounts.models import User
from accounts.services import mails
from accounts.services.events import record_about
from common.sealing import SealError, kek_id, open_sealed, reseal, seal

SECRETS = ("secret", "seed")  # in `data`: of the authenticator app, and of the recovery codes


class NewSecret(str):
    """A secret that has no row yet. As a text it is empty, so that none is stored unsealed by accident."""

    plaintext: str


class BoundSecret(str):
    """A sealed secret in hexadecimal, which knows the row it was sealed for."""

    context: str


def hold_secret(plaintext: str) -> str:
    """What stands for a secret until it is in a row."""
    held = NewSecret()
    held.plaintext = plaintext
    return held


def open_secret(sealed: str) -> str:
    """The plaintext of a secret of a row. Raises SealError."""
    if isinstance(sealed, NewSecret):
        return sealed.plaintext
    if not isinstance(sealed, BoundSecret):
        raise SealError("a secret without a row")
    return open_sealed(bytes.fromhex(sealed), sealed.context).decode()


def bind_secrets(*, instance: Authenticator, **_: Any) -> None:
    """Seal what is new, and tell what is stored where it belongs."""
    data = vars(instance).get("data")
    if not isinstance(data, dict):  # not read
        return
    for name in SECRETS:
        value = data.get(name)
        if not isinstance(value, str):
            continue
        context = _context(instance, name)
        if isinstance(value, NewSecret):
            value = seal(value.plaintext.encode(), context).hex()
        bound = BoundSecret(value)
        bound.context = context
        data[name] = bound


def reseal_factors() -> int:
    """Bring the secrets under the current key-encryption key. Returns how many rows changed. Raises SealError."""
    changed = 0
    for id in Authenticator.objects.order_by("pk").values_list("pk", flat=True):
        with transaction.atomic():
            factor = Authenticator.objects.select_for_update().filter(pk=id).first()
            if factor is None:
                continue
            fresh = {
                name: sealed.hex()
                for name in SECRETS
                if name in factor.data and (sealed := reseal(bytes.fromhex(factor.data[name]), _context(factor, name)))
            }
            if fresh:
                changed += Authenticator.objects.filter(pk=id).update(data={**factor.data, **fresh})
    return changed


def count_retired_factors() -> int:
    """How many secrets are not under the current key-encryption key."""
    current = next(iter(settings.KEY_ENCRYPTION_KEYS))
    return sum(
        kek_id(bytes.fromhex(data[name])) != current
        for data in Authenticator.objects.values_list("data", flat=True).iterator(chunk_size=2000)
        for name in SECRETS
        if name in data
    )


def _context(factor: Authenticator, name: str) -> str:
    return f"mfa_authenticator:{factor.user_id}:{factor.type}:{name}"


post_init.connect(bind_secrets, sender=Authenticator, dispatch_uid="accounts.bind_secrets")


@transaction.atomic
def remove_second_factor(*, user: User) -> bool:
    """Let someone in who lost their authenticator app and recovery codes; they are told by mail. False without one."""
    held = Authenticator.objects.filter(user=user)
    types = sorted(set(held.values_list("type", flat=True)))
    if types:
        held.delete()
        record_about("factor_removed", user, before={"type": ", ".join(types)})
        mails.mail_notice(user=user, kind="totp_deactivated")
    return bool(types)
