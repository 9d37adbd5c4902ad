"""The groups of staff: what each needs in the administration, and nothing beyond. The rest is a superuser's.

`docs/roles.md` shows the table; `manage.py migrate` brings the groups in step with it. Operators who want others make
groups of their own, which nothing here touches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from allauth.account.internal.flows.reauthentication import suspend_request
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from common.policy import SAFE_METHODS, factor_shown_at, is_fresh

#: Rights beyond looking, in words. "change" of a table that is read-only here is the right to the acts on its list.
ACTS: Mapping[str, Promise] = {
    "accounts.help_user": _("end sessions, remove a lost second factor"),
    "accounts.change_user": _("close an account"),
    "accounts.change_developerrequest": _("decide who may publish, and take it back"),
    "accounts.change_organization": _("set an organization’s rate limit"),
    "accounts.change_budget": _("change spend limits"),
    "billing.add_creditgrant": _("give credit"),
    "apikeys.change_apikey": _("revoke keys"),
    "marketplace.change_aimodel": _("publish, reject, deprecate, suspend and archive models"),
    "media.change_file": _("take uploaded pictures and files away"),
    "reviews.change_review": _("hide reviews and show them again"),
    "reviews.change_report": _("decide what was reported"),
    "notifications.change_message": _("send mail again that was given up"),
}
PERSON = ("accounts.user", "accounts.membership", "account.emailaddress", "mfa.authenticator")
CATALOGUE = (
    "marketplace.aimodel",
    "marketplace.modelversion",
    "marketplace.price",
    "marketplace.measurement",
    "media.file",
)
REVIEWS = ("reviews.review", "reviews.edit", "reviews.reply", "reviews.vote", "reviews.ratingsummary", "reviews.report")


class StaffGroup(NamedTuple):
    """words: for whom. sees: tables, as `app.model`. may: of `ACTS`."""

    words: Promise
    sees: tuple[str, ...]
    may: tuple[str, ...]


GROUPS: Mapping[str, StaffGroup] = {
    "support": StaffGroup(
        _("Helps people who cannot get in, or do not understand what happened to a call."),
        (
            *PERSON,
            *CATALOGUE,
            *REVIEWS,
            "accounts.organization",
            "accounts.invitation",
            "accounts.developerrequest",
            "accounts.budget",
            "accounts.emailcode",
            "accounts.refreshfamily",
            "accounts.refreshtoken",
            "apikeys.apikey",
            "gateway.deployment",
            "gateway.invocation",
            "gateway.prediction",
            "billing.creditgrant",
            "billing.grantuse",
            "billing.usageevent",
            "notifications.message",
            "notifications.webhookdelivery",
            "observability.auditevent",
            "observability.requestlog",
        ),
        ("accounts.help_user", "apikeys.change_apikey", "notifications.change_message"),
    ),
    "finance": StaffGroup(
        _("Answers for money: limits, credit, usage. Sees no people."),
        (
            *CATALOGUE,
            "accounts.organization",
            "accounts.budget",
            "apikeys.apikey",
            "gateway.deployment",
            "gateway.invocation",
            "billing.charge",
            "billing.creditgrant",
            "billing.grantuse",
            "billing.ledgeraccount",
            "billing.ledgerentry",
            "billing.ledgertransaction",
            "billing.usageevent",
        ),
        ("accounts.change_budget", "billing.add_creditgrant"),
    ),
    "moderation": StaffGroup(
        _("Decides what is listed and who may publish."),
        (
            *PERSON,
            *CATALOGUE,
            *REVIEWS,
            "accounts.organization",
            "accounts.developerrequest",
            "gateway.endpoint",
        ),
        (
            "accounts.change_user",
            "accounts.change_developerrequest",
            "marketplace.change_aimodel",
            "reviews.change_review",
            "media.change_file",
            "reviews.change_report",
        ),
    ),
    "operator": StaffGroup(
        _("Keeps the site running: calls, queues, rate limits, logs."),
        (
            "accounts.organization",
            "analytics.modelhour",
            "analytics.rolledhour",
            "apikeys.apikey",
            "gateway.deployment",
            "gateway.endpoint",
            "gateway.invocation",
            "gateway.prediction",
            "gateway.sweepmark",
            "billing.usageevent",
            "marketplace.aimodel",
            "notifications.message",
            "notifications.webhookdelivery",
            "notifications.webhookreceiver",
            "observability.auditevent",
            "observability.requestlog",
            "admin.logentry",
        ),
        ("accounts.change_organization", "notifications.change_message"),
    ),
}


def permissions_of(group: StaffGroup) -> set[str]:
    """As `app.codename`, which is how `has_perm` asks."""
    views = {f"{app}.view_{model}" for app, model in (table.split(".") for table in group.sees)}
    return views | set(group.may)


@transaction.atomic
def sync_groups() -> None:
    """Make the groups what the table says. Raises LookupError for a permission that no model has."""
    known = {
        f"{one.content_type.app_label}.{one.codename}": one for one in Permission.objects.select_related("content_type")
    }
    for name, facts in GROUPS.items():
        wanted = permissions_of(facts)
        if missing := wanted - known.keys():
            raise LookupError(f"The group {name} names permissions that do not exist: {', '.join(sorted(missing))}.")
        group, _made = Group.objects.get_or_create(name=name)
        group.permissions.set([known[permission] for permission in sorted(wanted)])


# --- The second factor of staff ---


def second_factor_step(request: HttpRequest) -> HttpResponse | None:
    """Where STAFF_REQUIRES_MFA says so, what stands between a staff member and a page of the administration.

    Without a second factor: the page on which one is set up. Whoever logged in without it, or wants to act and showed
    it more than `common.policy.FRESH` ago, shows it again; what they sent is kept meanwhile and done then.
    """
    user: Any = request.user
    if not settings.STAFF_REQUIRES_MFA:
        return None
    if not user.has_second_factor:
        messages.warning(request, gettext("Staff need a second factor. Set one up, then come back."))
        return redirect("mfa_index")
    shown_at = factor_shown_at(request)
    if shown_at is not None and (request.method in SAFE_METHODS or is_fresh(shown_at)):
        return None
    has_app = Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).exists()
    step = reverse("mfa_reauthenticate" if has_app else "mfa_reauthenticate_webauthn")
    return suspend_request(request, step)
