"""What may be done with accounts: everything that other apps, pages, API and jobs call."""

from accounts.services.addresses import clean_email, find_owner, is_verified, mark_verified
from accounts.services.budgets import change_limit, current_budgets, ensure_credit, set_spend_limit, window_at
from accounts.services.codes import claim_code, is_reset_token_of, issue_code
from accounts.services.developers import grant_developer_role, request_developer_role, withdraw_developer_role
from accounts.services.digests import fingerprint
from accounts.services.factors import remove_second_factor
from accounts.services.login import authenticate_user
from accounts.services.mails import mail_notice
from accounts.services.organizations import (
    create_organization,
    ensure_personal_organization,
    is_time_zone,
    resolve_actor,
    update_organization,
)
from accounts.services.passwords import change_password, check_password_rules, request_password_reset, reset_password
from accounts.services.profiles import Profile, profile_of, update_profile
from accounts.services.pruning import prune_codes
from accounts.services.registration import (
    is_claimed,
    mail_verification_code,
    open_account,
    register_user,
    verify_email,
)
from accounts.services.tokens import AccessToken, TokenPair, close_family, find_bearer, open_family, revoke_all, rotate

__all__ = [
    "AccessToken",
    "Profile",
    "TokenPair",
    "authenticate_user",
    "change_limit",
    "change_password",
    "check_password_rules",
    "claim_code",
    "clean_email",
    "close_family",
    "create_organization",
    "current_budgets",
    "ensure_credit",
    "ensure_personal_organization",
    "find_bearer",
    "find_owner",
    "fingerprint",
    "grant_developer_role",
    "is_claimed",
    "is_reset_token_of",
    "is_time_zone",
    "is_verified",
    "issue_code",
    "mail_notice",
    "mail_verification_code",
    "mark_verified",
    "open_account",
    "open_family",
    "profile_of",
    "prune_codes",
    "register_user",
    "remove_second_factor",
    "request_developer_role",
    "request_password_reset",
    "reset_password",
    "resolve_actor",
    "revoke_all",
    "rotate",
    "set_spend_limit",
    "update_organization",
    "update_profile",
    "verify_email",
    "window_at",
    "withdraw_developer_role",
]
