"""What may be done with accounts: everything that other apps, pages, API and jobs call."""

from accounts.services.addresses import (
    clean_email,
    find_owner,
    forget_unproved,
    is_claimed,
    is_verified,
    mark_verified,
)
from accounts.services.alarms import Alarm, find_alarm, raise_alarm
from accounts.services.budgets import (
    change_limit,
    current_budgets,
    ensure_credit,
    set_spend_limit,
    spend_limits_of,
    window_at,
)
from accounts.services.closing import Obstacle, close_organization, end_organization, obstacles_to_closing
from accounts.services.codes import claim_code, is_reset_token_of, issue_code
from accounts.services.developers import (
    grant_developer_role,
    latest_request_of,
    refuse_developer_role,
    request_developer_role,
    withdraw_developer_role,
)
from accounts.services.devices import name_device
from accounts.services.digests import fingerprint
from accounts.services.events import record_about
from accounts.services.factors import (
    count_retired_factors,
    hold_secret,
    open_secret,
    remove_second_factor,
    reseal_factors,
)
from accounts.services.farewell import (
    WAY_BACK,
    close_account,
    erase_accounts,
    find_closed,
    obstacles_to_leaving,
    reopen_account,
)
from accounts.services.guesses import Guess, begin_guess, begin_guess_at
from accounts.services.invitations import (
    accept_invitation,
    decline_invitation,
    find_invitation,
    invite_member,
    resend_invitation,
    revoke_invitation,
)
from accounts.services.login import authenticate_by_code, authenticate_user, claim_login_code, request_login_code
from accounts.services.logins import comes_back_without_passkey
from accounts.services.mails import mail_notice
from accounts.services.members import (
    add_member,
    change_role,
    leave_organization,
    remove_member,
    transfer_ownership,
)
from accounts.services.organizations import (
    MAX_SLUG,
    change_organization,
    create_organization,
    ensure_personal_organization,
    is_time_zone,
    limit_spending,
    resolve_actor,
    set_rate_limit,
    start_organization,
    update_organization,
)
from accounts.services.passwords import change_password, check_password_rules, request_password_reset, reset_password
from accounts.services.profiles import Profile, profile_of, update_profile
from accounts.services.pruning import prune_codes
from accounts.services.registration import (
    mail_verification_code,
    open_account,
    open_account_by_identity,
    register_user,
    verify_email,
)
from accounts.services.rights import find_membership, require_right
from accounts.services.sessions import SignIn, end_other_sign_ins, end_sign_in, list_sign_ins, see_session
from accounts.services.takeout import export_account
from accounts.services.tokens import (
    AccessToken,
    TokenPair,
    close_family,
    count_retired_tokens,
    find_bearer,
    open_family,
    reseal_tokens,
    revoke_all,
    rotate,
)

__all__ = [
    "export_account",
    "reopen_account",
    "obstacles_to_leaving",
    "find_closed",
    "erase_accounts",
    "close_account",
    "WAY_BACK",
    "record_about",
    "open_account_by_identity",
    "request_login_code",
    "claim_login_code",
    "authenticate_by_code",
    "AccessToken",
    "Alarm",
    "Guess",
    "MAX_SLUG",
    "Obstacle",
    "Profile",
    "SignIn",
    "TokenPair",
    "accept_invitation",
    "add_member",
    "authenticate_user",
    "begin_guess",
    "begin_guess_at",
    "change_limit",
    "change_organization",
    "change_password",
    "change_role",
    "check_password_rules",
    "claim_code",
    "clean_email",
    "close_family",
    "close_organization",
    "comes_back_without_passkey",
    "count_retired_factors",
    "count_retired_tokens",
    "create_organization",
    "current_budgets",
    "decline_invitation",
    "end_organization",
    "end_other_sign_ins",
    "end_sign_in",
    "ensure_credit",
    "ensure_personal_organization",
    "find_alarm",
    "find_bearer",
    "find_invitation",
    "find_membership",
    "find_owner",
    "fingerprint",
    "forget_unproved",
    "grant_developer_role",
    "hold_secret",
    "invite_member",
    "is_claimed",
    "is_reset_token_of",
    "is_time_zone",
    "is_verified",
    "issue_code",
    "latest_request_of",
    "leave_organization",
    "limit_spending",
    "list_sign_ins",
    "mail_notice",
    "mail_verification_code",
    "mark_verified",
    "name_device",
    "obstacles_to_closing",
    "open_account",
    "open_family",
    "open_secret",
    "profile_of",
    "prune_codes",
    "raise_alarm",
    "register_user",
    "remove_member",
    "refuse_developer_role",
    "remove_second_factor",
    "request_developer_role",
    "request_password_reset",
    "require_right",
    "reseal_factors",
    "reseal_tokens",
    "resend_invitation",
    "reset_password",
    "resolve_actor",
    "revoke_all",
    "revoke_invitation",
    "rotate",
    "see_session",
    "set_rate_limit",
    "set_spend_limit",
    "spend_limits_of",
    "start_organization",
    "transfer_ownership",
    "update_organization",
    "update_profile",
    "verify_email",
    "window_at",
    "withdraw_developer_role",
]
