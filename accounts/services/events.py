"""What happens to an account, for the audit log and its person's security log. It is in no organization's log."""

from __future__ import annotations

from typing import Any

from accounts.models import User
from observability.services import record


def record_about(action: str, user: User, *, by_user: bool = False, **states: Any) -> None:
    """`account.<action>`, about this person. by_user: they did it themselves, which no request says before a log-in.

    states: `before` and `after`, without secrets.
    """
    record(
        f"account.{action}",
        target=user,
        subject_user_id=user.pk,
        actor_user_id=user.pk if by_user else None,
        **states,
    )
