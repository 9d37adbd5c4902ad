"""What an organization may use, and with which credit."""

from __future__ import annotations

from django.conf import settings

from accounts.models import Budget, Organization
from accounts.services import ensure_credit
from common.money import to_nano


def ensure_account(organization: Organization) -> Budget:
    """The organization's credit, opened when it is not there yet. Idempotent.

    The welcome credit is once for a person, in their personal organization; whoever makes more gets no more of it.
    """
    is_welcome = organization.personal_owner_id is not None
    return ensure_credit(organization=organization, limit_nano=to_nano(settings.WELCOME_CREDIT) if is_welcome else 0)
