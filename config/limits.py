"""Addresses with a rate limit of their own, beside the one that every key, person or network has over all of `/api`.

What costs us much, what sends mail, and what could be used to guess. Numbers are a minute's; see `common.limits`.
"""

from typing import Any

from common.limits import Route

POST = frozenset({"POST"})


def _form(name: str) -> Route:
    """A form that anyone may send."""
    return Route(name, "AUTH_RATE_PER_MINUTE", by_network=True, methods=POST)


def _own_form(name: str) -> Route:
    """A form of people who signed in, counted by person."""
    return Route(name, "AUTH_RATE_PER_MINUTE", methods=POST)


def _searches(request: Any) -> bool:
    return bool(request.GET.get("q"))


def _exports(request: Any) -> bool:
    wants_csv = request.GET.get("format") == "csv" or "text/csv" in request.headers.get("Accept", "")
    return wants_csv or bool(request.GET.get("csv"))


SEARCH = Route("search", share=2, when=_searches)
EXPORT = Route("export", share=20, when=_exports)

ROUTES: dict[str, Route] = {
    # Signing up and in. Guesses at one account are counted beside it: `accounts.services.guesses`.
    "api:register": _form("auth"),
    "api:login": _form("auth"),
    "api:login-code": _form("login-code"),
    "api:login-code-confirm": _form("auth"),
    "api:verify-email": _form("verify-email"),
    "api:password-reset": _form("password-reset"),
    "api:password-reset-confirm": _form("password-reset-confirm"),
    "account_signup": _form("signup"),
    "account_login": _form("login"),
    "account_email_verification_sent": _form("verify-email"),
    "account_confirm_*": _form("confirm"),
    "account_request_login_code": _form("login-code"),
    "account_reset_password": _form("password-reset"),
    "account_reset_password_*": _form("password-reset-confirm"),
    "mfa_authenticate": _form("second-factor"),
    "mfa_login_webauthn": _form("passkey"),
    "not-me": _form("alarm"),
    "reopen": _form("alarm"),
    "account-export": _own_form("export-account"),
    "account-delete": _own_form("account"),
    "openid_connect_*": _form("oidc"),
    # What people do to their own account: most of it mails somebody.
    "account_*": _own_form("account"),
    "mfa_*": _own_form("factors"),
    "developer": _own_form("developer"),
    "api:become-developer": _own_form("developer"),
    "api:usage-confirmations": Route("usage-confirmations", by_network=True, methods=POST),
    # Searches and files.
    "api:models": SEARCH,
    "models": SEARCH,
    "search": SEARCH,
    "api:usage": EXPORT,
    "usage": EXPORT,
}
