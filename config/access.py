"""Who may call what, on one screen: URL name -> policy. What is not here is refused; `*` stands for any ending.

A policy looks at the method and the caller only; which rows they see is decided by the queries.
"""

from common.policy import Policy

WRITERS = ("owner", "admin", "developer")  # organization roles that manage keys, models and deployments
PUBLISHERS = ("developer",)  # platform roles that may publish; staff always may

PUBLIC = Policy.public()
SIGNED_IN = Policy.signed_in()

_MODELS = Policy.signed_in("models:read", "models:write", roles_write=WRITERS, platform_write=PUBLISHERS)
_INVOKE = Policy.signed_in("models:invoke", "models:invoke")

ACCESS: dict[str, Policy] = {
    # Health and documents
    "livez": PUBLIC,
    "readyz": PUBLIC,
    "docs-errors": PUBLIC,
    "api:schema": PUBLIC,
    "api:docs": PUBLIC,
    # allauth: what it offers before somebody is logged in; its own views answer for the rest
    "account_*": SIGNED_IN,
    "account_login": PUBLIC,
    "account_logout": PUBLIC,
    "account_signup": PUBLIC,
    "account_inactive": PUBLIC,
    "account_email_verification_sent": PUBLIC,
    "account_confirm_email": PUBLIC,
    "account_reset_password": PUBLIC,
    "account_reset_password_*": PUBLIC,
    "mfa_*": SIGNED_IN,
    "mfa_authenticate": PUBLIC,
    "admin:*": Policy.staff(),
}
