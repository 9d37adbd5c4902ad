"""Who may call what: every URL of the site on one screen. What is not here answers 403 and stops the start.

A key needs the scope that `read` or `write` names; where there is none, a key may not, only a person who signed in.
Which objects an actor may see is decided by the queries; see `common.policy` for the rest.
"""

from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.urls import get_resolver

from accounts.models import Membership, roles_with
from apikeys.models import scopes_of_role
from common.policy import ANY, Policy, missing_policies, stale_policies

public, signed_in, staff = Policy.public, Policy.signed_in, Policy.staff
PUBLISHERS: dict[str, Any] = {"roles_write": roles_with("models.publish"), "platform_write": ("developer", "staff")}
WEBHOOKS = [role for role in Membership.Role.values if "webhooks:read" in scopes_of_role(role)]
RECEIPTS = ("models:invoke", "analytics:read")  # with the first a key reads the receipts of its own calls

ACCESS: dict[str, Policy] = {
    # Pages for everyone.
    "home": public(),
    "models": public(),
    "model": public(),
    "playground": public(),  # to fill in; a run needs a person, and the view asks for one
    "model-api": public(),
    "model-versions-page": public(),
    "model-api-markdown": public(),
    "model-versions-markdown": public(),
    "model-stats": public(),
    "model-stats-markdown": public(),
    "publisher": public(),
    "compare": public(),
    "media": public(),  # of public models and of publishers; others see those of their own organization
    "reviews": signed_in().and_public_read(),
    "review": signed_in().and_public_read(),
    "search": public(),
    "theme": public(),
    "invitation": public(),  # to see, with the link of a mail; an answer needs a person, and the view asks for one
    "docs-errors": public(),
    "livez": public(),
    "readyz": public(),
    "components": public(),  # in DEBUG alone
    "dev-mail": public(),  # in the embedded run alone
    "dev-mail-message": public(),
    # Pages of people who signed in.
    "keys": signed_in(),
    "key": signed_in(),
    "key-rotate": signed_in(),
    "key-revoke": signed_in(),
    "saved": signed_in(),
    "model-save": signed_in(),
    "review-delete": signed_in(),
    "review-helpful": signed_in(),
    "review-reply": signed_in(**PUBLISHERS),
    "review-report": signed_in(),
    "model-report": signed_in(),
    "deployments": signed_in(),  # what one may do is decided by the role, in the views
    "deployment": signed_in(),
    "publish": signed_in(roles_read=roles_with("models.publish")),
    "publish-*": signed_in(roles_read=roles_with("models.publish"), **PUBLISHERS),
    "usage": signed_in(),
    "requests": signed_in(),
    "request": signed_in(),
    "profile": signed_in(),
    "audit-log": signed_in(roles_read=roles_with("audit.see")),
    "api-log": signed_in(roles_read=roles_with("audit.see")),
    "developer": signed_in(),
    "sessions": signed_in(),
    "security-log": signed_in(),
    "account-export": signed_in(),
    "account-delete": signed_in(),
    "reopen": public(),  # the link in the mail about a closed account
    "not-me": public(),  # the link in a notice, to be used without being logged in
    "organization": signed_in(),  # what one may do on these is decided by the role, in the services
    "organization-close": signed_in(),
    "organization-new": signed_in(),
    "organization-switch": signed_in(),
    "members": signed_in(),
    "members-leave": signed_in(),
    "members-transfer": signed_in(),
    "member": signed_in(),
    "member-remove": signed_in(),
    "invitation-change": signed_in(),
    "preferences": signed_in(),
    "checklist": signed_in(),
    # Signing in.
    "api:register": public(),
    "api:verify-email": public(),
    "api:login": public(),
    "api:login-code": public(),
    "api:login-code-confirm": public(),
    "api:refresh": public(),
    "api:logout": public(),
    "api:password-reset": public(),
    "api:password-reset-confirm": public(),
    "api:me": signed_in(read=ANY),
    "api:become-developer": signed_in(),
    # Organizations: the role in the one that the address names decides, which the services look up.
    "api:organizations": signed_in(),
    "api:organization": signed_in(),
    "api:members": signed_in(),
    "api:member": signed_in(),
    "api:invitations": signed_in(),
    "api:invitation": signed_in(),
    "api:invitation-resend": signed_in(),
    "api:organization-leave": signed_in(),
    "api:organization-transfer": signed_in(),
    "api:invitation-accept": signed_in(),
    # The API.
    "api:schema": public(),
    "api:docs": public(),
    "api:audit-events": signed_in(roles_read=roles_with("audit.see")),
    "api:keys": signed_in("keys:read", "keys:write"),
    "api:key": signed_in("keys:read", "keys:write"),
    "api:key-rotate": signed_in("keys:read", "keys:write"),
    "api:key-leaks": public(),  # the signature of a partner is what counts
    "api:limits": signed_in(read=ANY),
    "api:usage-confirmations": public(),  # the signature of the call's publisher is what counts
    "api:deployments": signed_in("deployments:read", "deployments:write", roles_write=roles_with("deployments.change")),
    "api:deployment": signed_in("deployments:read", "deployments:write", roles_write=roles_with("deployments.change")),
    "api:models": signed_in(write="models:write", **PUBLISHERS).and_public_read(),
    "api:model": signed_in(write="models:write", **PUBLISHERS).and_public_read(),
    "api:model-versions": signed_in(write="models:write", **PUBLISHERS).and_public_read(),
    "api:model-version": signed_in(**PUBLISHERS).and_public_read(),
    "api:model-version-changes": signed_in(**PUBLISHERS).and_public_read(),
    "api:model-version-sunset": signed_in(write="models:write", **PUBLISHERS),
    "api:model-prices": signed_in(write="models:write", **PUBLISHERS).and_public_read(),
    "api:model-price": signed_in(write="models:write", **PUBLISHERS),
    "api:model-files": signed_in().and_public_read(),
    "api:files": signed_in("models:write", "models:write", roles_read=roles_with("models.publish"), **PUBLISHERS),
    "api:file": signed_in("models:write", "models:write", roles_read=roles_with("models.publish"), **PUBLISHERS),
    "api:file-complete": signed_in(write="models:write", **PUBLISHERS),
    "api:upload": public(),  # the signature of the upload's address is what counts
    "api:model-submit": signed_in(write="models:write", **PUBLISHERS),
    "api:model-publish": signed_in(write="models:write", **PUBLISHERS),
    "api:model-deprecate": signed_in(write="models:write", **PUBLISHERS),
    "api:saved": signed_in(),  # people's own, not their organizations'
    "api:model-saved": signed_in(),
    "api:reviews": signed_in(write="reviews:write").and_public_read(),
    "api:review": signed_in(write="reviews:write").and_public_read(),
    "api:review-history": signed_in().and_public_read(),
    "api:review-reply": signed_in(write="reviews:write", **PUBLISHERS),
    "api:review-helpful": signed_in(write="reviews:write"),
    "api:review-report": signed_in(write="reviews:write"),
    "api:model-report": signed_in(write="reviews:write"),
    # Its secret is for those who may publish, to look at too: as for keys, whose permission no other role covers.
    "api:model-endpoint": signed_in(
        "models:write", "models:write", roles_read=roles_with("models.publish"), **PUBLISHERS
    ),
    "api:model-check": signed_in("models:write", "models:write", roles_read=roles_with("models.publish"), **PUBLISHERS),
    "api:model-invoke": signed_in(write="models:invoke"),
    "api:requests": signed_in(RECEIPTS),
    "api:request": signed_in(RECEIPTS),
    "api:usage": signed_in("analytics:read"),
    "api:webhook-secret": signed_in("webhooks:read", roles_read=WEBHOOKS),
    # The gateway, as OpenAI's clients know it, and Anthropic's.
    "api:v1-models": signed_in(("models:read", "models:invoke")),
    "api:v1-model": signed_in(("models:read", "models:invoke")),
    "api:v1-chat-completions": signed_in(write="models:invoke"),
    "api:v1-completions": signed_in(write="models:invoke"),
    "api:v1-embeddings": signed_in(write="models:invoke"),
    "api:v1-messages": signed_in(write="models:invoke"),
    "api:v1-predictions": signed_in("models:invoke", "models:invoke"),
    "api:v1-prediction": signed_in("models:invoke"),
    "api:v1-prediction-cancel": signed_in(write="models:invoke"),
    "api:v1-request": signed_in(RECEIPTS),
    # allauth's pages: those that one needs before being signed in, then the rest.
    "account_login": public(),
    "account_logout": public(),
    "account_signup": public(),
    "account_inactive": public(),
    "account_email_verification_sent": public(),
    "account_confirm_*": public(),
    "account_request_login_code": public(),
    "account_reset_password*": public(),
    "account_*": signed_in(),
    "mfa_authenticate": public(),
    "mfa_login_webauthn": public(),
    "mfa_*": signed_in(),
    "openid_connect_*": public(),
    "socialaccount_login_*": public(),
    "socialaccount_signup": public(),
    "socialaccount_connections": signed_in(),
    # Django's admin looks after its own log-in, which others are sent to.
    "admin:login": public(),
    "admin:logout": public(),
    "admin:*": staff(),
}


def check_access(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """The start-up check: E001 for a URL without a policy, W002 for an entry that fits no URL."""
    resolver = get_resolver()
    return [
        *(
            Error(f"The URL {name} has no access policy.", hint="Add it to config/access.py.", id="agorai.E001")
            for name in missing_policies(resolver)
        ),
        *(
            Warning(f"The access policy {name} fits no URL.", hint="Correct or remove it.", id="agorai.W002")
            for name in stale_policies(resolver)
        ),
    ]
