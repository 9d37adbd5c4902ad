"""Who may call what: every URL of the site on one screen. What is not here answers 403 and stops the start.

A key needs the scope that `read` or `write` names; where there is none, a key may not, only a person who signed in.
Which objects an actor may see is decided by the queries; see `common.policy` for the rest.
"""

from typing import Any

from django.core.checks import CheckMessage, Error
from django.urls import get_resolver

from common.policy import ANY, Policy, missing_policies, stale_policies

public, signed_in, staff = Policy.public, Policy.signed_in, Policy.staff
MANAGERS = ("owner", "admin")
BUILDERS = ("owner", "admin", "developer")
PUBLISHERS = {"roles_write": BUILDERS, "platform_write": ("developer", "staff")}

ACCESS: dict[str, Policy] = {
    # pages
    "livez": public(),
    "readyz": public(),
    "docs-errors": public(),
    "usage": signed_in(),
    "playground": signed_in(),
    "dev-mail": public(),  # a 404 unless DEV_MAIL_DIR is set
    "dev-mail-message": public(),
    # the API
    "api:schema": public(),
    "api:docs": public(),
    "api:usage": signed_in(read="analytics:read"),
    "api:model-endpoint": signed_in(read="models:write", write="models:write", **PUBLISHERS),
    "api:model-invoke": signed_in(write="models:invoke"),
    "api:requests": signed_in(read="analytics:read"),
    "api:request": signed_in(read=ANY),  # a key that only invokes reads the receipts of its own calls
    "api:v1-request": signed_in(read=ANY),
    "api:v1-models": signed_in(read=ANY),
    "api:v1-model": signed_in(read=ANY),
    "api:v1-chat-completions": signed_in(write="models:invoke"),
    "api:v1-completions": signed_in(write="models:invoke"),
    "api:v1-embeddings": signed_in(write="models:invoke"),
    # other packages' pages, which look after the actor themselves
    "account_*": public(),
    "mfa_*": public(),
    "admin:*": staff(),  # its own log-in page too: it asks for no second factor
}


def check_access(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """The start-up check: E001 for a URL without a policy, E002 for an entry that fits no URL."""
    resolver = get_resolver()
    return [
        *(
            Error(f"The URL {name} has no access policy.", hint="Add it to config/access.py.", id="agorai.E001")
            for name in missing_policies(resolver)
        ),
        *(
            Error(f"The access policy {name} fits no URL.", hint="Correct or remove it.", id="agorai.E002")
            for name in stale_policies(resolver)
        ),
    ]
