"""Forgetting what no longer serves."""

from __future__ import annotations

from accounts.services.codes import prune_email_codes
from accounts.services.invitations import prune_invitations
from accounts.services.session_store import SessionStore
from accounts.services.sessions import prune_sessions
from accounts.services.tokens import prune_families


def prune_codes() -> int:
    """Delete expired codes and invitations, ended sign-ins, spent tokens and expired sessions.

    Returns how many, without the sessions.
    """
    SessionStore.clear_expired()
    return prune_email_codes() + prune_families() + prune_invitations() + prune_sessions()
