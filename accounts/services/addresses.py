"""E-mail addresses: their one spelling, and whose they are."""

from __future__ import annotations

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from accounts.errors import CodeInvalid
from accounts.models import Membership, Organization, User
from accounts.services.codes import CODE_FAULT
from accounts.services.events import record_about
from accounts.services.locks import lock


def clean_email(text: str) -> str:
    """The one spelling of an address that we store and look up. Raises Django's ValidationError."""
    stripped = text.strip()
    if not stripped.isascii():
        raise ValidationError(_("Use ASCII letters; an international domain in its xn-- form."), code="not_ascii")
    email = stripped.lower()
    if len(email) > 254:
        raise ValidationError(_("Enter a valid email address."), code="invalid")
    validate_email(email)
    return email


def find_owner(email: str) -> User | None:
    """Whose address this is: the user who has verified it, else the one who signed up with it.

    The same two queries, each by an index, whoever it is: how long it takes tells nothing.
    """
    proved = EmailAddress.objects.filter(email=email, verified=True).select_related("user").first()
    signed_up = User.objects.filter(email=email).first()
    return proved.user if proved is not None else signed_up


def is_verified(user: User, email: str) -> bool:
    return bool(EmailAddress.objects.filter(user=user, email=email, verified=True).exists())


@transaction.atomic
def mark_verified(*, user: User, email: str) -> None:
    """The user has read a mail at this address.

    Raises CodeInvalid when somebody else has verified the address meanwhile.
    """
    forget_unproved(email=email, user=user)
    if EmailAddress.objects.filter(email=email, verified=True).exclude(user=user).exists():
        raise CodeInvalid(errors=[CODE_FAULT])
    is_primary = not EmailAddress.objects.filter(user=user, primary=True).exclude(email=email).exists()
    was_verified = is_verified(user, email)
    EmailAddress.objects.update_or_create(user=user, email=email, defaults={"verified": True, "primary": is_primary})
    if not was_verified:
        record_about("email_verified", user, by_user=True, after={"email": email})


@transaction.atomic
def forget_unproved(*, email: str, user: User) -> None:
    """`user` has proved to read this mailbox: an account that signed up with it, and never proved it, is no one's.

    It would keep the address from its owner for good. What was given a place somewhere by others stays.
    """
    lock("email", email)
    other = User.objects.filter(email=email).exclude(pk=user.pk).first()
    if other is None or is_claimed(other, email) or Membership.objects.filter(user=other).shared().exists():
        return
    record_about("erased", other)
    Organization.objects.filter(personal_owner=other).delete()  # nobody has ever acted for it
    other.delete()


def is_claimed(user: User, email: str) -> bool:
    """Whether the account is in use: its address is verified, or a command or the admin made it for somebody."""
    return user.is_staff or user.last_login is not None or is_verified(user, email)
