"""Every page there is, from the resolver, and who should get which answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver

from common.policy import Policy, find_policy
from tests.pages.visitor import Visitors

# --- What stands in the place of a parameter: words, or in braces the kind of an object ---
ARGUMENTS = {
    "<str:value>": "dark",
    "<slug:publisher>": "demo",
    "<str:slug>": "eliza",
    "<path:slug>": "demo/eliza",
    "<str:ref>": "demo:eliza",
    "<key:id>": "{key}",
    "<req:id>": "{req}",
    "<rev:id>": "{rev}",
    "<str:part>": "64.webp",
}
NOBODYS = "0" * 26
# Of addresses where that does not lead to a page.
PATHS = {
    "publisher": "/publishers/demo",
    "dev-mail-message": "/dev/mail/{mail}",
    "account_reset_password_from_key": "{reset}",
    "reopen": "/accounts/reopen/none",
    "openid_connect_login": "/accounts/oidc/none/login/",
    "openid_connect_callback": "/accounts/oidc/none/login/callback/",
    # Pages that only people of an organization see are among the states below.
    "deployment": f"/deployments/dep_{NOBODYS}",
    **{
        f"publish-{step}": f"/publish/mdl_{NOBODYS}/{step}"
        for step in ("basics", "endpoint", "test", "price", "review", "media")
    },
    "media": f"/media/fil_{NOBODYS}/64.webp",
    "member": f"/settings/members/mbr_{NOBODYS}",
    "member-remove": f"/settings/members/mbr_{NOBODYS}/remove",
    "invitation-change": f"/settings/invitations/ivt_{NOBODYS}",
    "invitation": "/invitations/none",
    "not-me": "/accounts/not-me/none",
    # No browser without a person holds a passkey.
    "mfa_edit_webauthn": "/accounts/2fa/webauthn/keys/0/edit/",
    "mfa_remove_webauthn": "/accounts/2fa/webauthn/keys/0/remove/",
    "admin:app_list": "/admin/accounts/",
    "admin:jsi18n": "/admin/jsi18n/",
    "admin:view_on_site": "/admin/r/1/00000000-0000-0000-0000-000000000000/",
    "admin:autocomplete": "/admin/autocomplete/?app_label=apikeys&model_name=apikey&field_name=user",
}
# Tables that only others fill, with a signature that is theirs; config/tests/test_admin.py looks at rows of them.
OF_OTHERS = {"apikeys_leakreport", "gateway_usageconfirmation"}


@dataclass(frozen=True, slots=True)
class Address:
    """One name of the resolver. `route` is None where the tables above do not say what to put in."""

    name: str
    route: str | None
    view: Callable[..., Any]

    @property
    def policy(self) -> Policy:
        found = find_policy(self.name)
        assert found is not None, f"{self.name} has no access policy"
        return found

    @property
    def kind(self) -> str:
        """api, admin or page."""
        if self.name.startswith("admin:"):
            return "admin"
        return "api" if self.name.startswith("api:") and self.name != "api:docs" else "page"

    def path(self, visitors: Visitors, role: str) -> str:
        assert self.route is not None, f"Say in tests/pages/site.py what stands in the address of {self.name}."
        return re.sub(r"{([\w/]+)}", lambda found: visitors.object(role, found[1]), self.route)


def addresses() -> dict[str, Address]:
    """By name. Of two patterns of one name the first answers; what has no name only catches what others leave."""
    found: dict[str, Address] = {}
    for name, pattern, view in _walk(get_resolver()):
        found.setdefault(name, Address(name, _route(name, pattern), view))
    return found


def _walk(resolver: URLResolver, pattern: str = "", namespace: str = "") -> Iterator[tuple[str, str, Callable]]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            inner = f"{namespace}{entry.namespace}:" if entry.namespace else namespace
            yield from _walk(entry, pattern + str(entry.pattern), inner)
        elif isinstance(entry, URLPattern) and entry.name:
            yield namespace + entry.name, f"/{pattern}{entry.pattern}", entry.callback


def _route(name: str, pattern: str) -> str | None:
    if name in PATHS:
        return PATHS[name]
    if of_admin := re.fullmatch(r"admin:([a-z]+)_([a-z]+)_[a-z]+", name):
        is_empty = f"{of_admin[1]}_{of_admin[2]}" in OF_OTHERS
        pattern = pattern.replace(
            "<path:object_id>", str(UUID(int=0)) if is_empty else f"{{{of_admin[1]}/{of_admin[2]}}}"
        )
    for parameter, value in ARGUMENTS.items():
        pattern = pattern.replace(parameter, value)
    if name.startswith("api:"):  # of the rest of the API it is enough that nobody sees what is not there
        pattern = re.sub(r"<([a-z]{3,4}):\w+>", rf"\1_{NOBODYS}", pattern)
    return None if re.search(r"[<>()^]", pattern) else pattern


# --- Who gets which answer ---

# What the policy does not say: pages in the middle of something, addresses that only lead on, and the like. One status
# for everybody whom the policy lets in, or one by role.
OUTCOMES: dict[str, int | dict[str, int]] = {
    "theme": 302,
    "checklist": 405,  # answers a form
    "model-save": 405,
    **{f"review-{act}": 405 for act in ("delete", "helpful", "reply", "report")},
    "search": 302,  # htmx gets suggestions
    "components": 404,  # in DEBUG alone
    "account_login": {"consumer": 302, "developer": 302, "staff": 302},
    "account_signup": {"consumer": 302, "developer": 302, "staff": 302},
    "account_request_login_code": {"consumer": 302, "developer": 302, "staff": 302},
    "account_logout": {"anonymous": 302},
    "socialaccount_login_error": 401,
    "account_email_verification_sent": 302,
    "account_confirm_login_code": 302,
    "account_set_password": 302,  # for people who have none
    "reopen": 410,
    "socialaccount_signup": 302,
    "openid_connect_login": 404,  # where the operator names a provider
    "openid_connect_callback": 404,
    "account_reset_password_from_key": 302,  # takes the key out of the address first
    "mfa_authenticate": 302,
    "mfa_reauthenticate": 302,
    "mfa_login_webauthn": 302,
    "mfa_reauthenticate_webauthn": 302,
    "mfa_edit_webauthn": 404,
    "mfa_remove_webauthn": 404,
    "member": 404,
    "member-remove": 404,
    "invitation-change": 405,  # answers a form
    "organization-switch": 405,
    "invitation": 422,
    "not-me": 410,
    "mfa_deactivate_totp": 404,  # for people who switched it on
    "mfa_view_recovery_codes": 404,
    "mfa_download_recovery_codes": 404,
    "api:key-rotate": 405,
    "api:upload": 405,
    "api:model-endpoint": {"consumer": 403},  # somebody else's
    "api:model-check": {"consumer": 403},
    "admin:login": {"anonymous": 302, "consumer": 403, "developer": 403, "staff": 302},
    "admin:logout": {"anonymous": 302, "consumer": 302, "developer": 302, "staff": 405},
    "admin:password_change": {"staff": 302},  # to the site's own page
    "admin:view_on_site": 404,
}


def expected_status(address: Address, role: str) -> int:
    """Of a GET by a person in a session."""
    outcome = OUTCOMES.get(address.name)
    if isinstance(outcome, dict):
        outcome = outcome.get(role)
    if address.policy.staff_only and role not in ("anonymous", "staff"):
        return 404
    if is_post_only(address) or (address.kind == "api" and outcome == 405):
        return 405  # said before anybody is asked who they are
    if role == "anonymous" and not address.policy.is_open("GET"):
        return 401 if address.kind == "api" else 302
    if NOBODYS in (address.route or "") and outcome is None:
        return 404
    if outcome is None and role == "staff" and address.kind == "admin":
        if not admin_allows(address.name):
            return 403
        return 302 if str(UUID(int=0)) in (address.route or "") else 200  # Django leads on from what is not there
    return outcome or 200


def is_post_only(address: Address) -> bool:
    of_rest = getattr(address.view, "cls", None)
    return of_rest is not None and not (hasattr(of_rest, "get") and "get" in of_rest.http_method_names)


def admin_allows(name: str) -> bool:
    """Whether this page of the admin is there for staff who may do everything; some tables are only to be read."""
    found = re.fullmatch(r"admin:([a-z]+)_([a-z]+)_(add|change|delete|changelist|history)", name)
    if found is None:
        return True
    model_admin = admin.site._registry[apps.get_model(found[1], found[2])]
    request = RequestFactory().get("/")
    request.user = get_user_model()(is_active=True, is_staff=True, is_superuser=True)
    asked = {"add": model_admin.has_add_permission, "delete": model_admin.has_delete_permission}
    return asked.get(found[3], model_admin.has_view_permission)(request)
