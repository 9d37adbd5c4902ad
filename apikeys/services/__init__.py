"""What may be done with API keys: everything that other apps, pages, API and jobs call."""

from accounts.services import spend_limits_of
from apikeys.models import DEFAULT_PERMISSIONS, PERMISSIONS
from apikeys.services.digests import (
    BASE62,
    RememberedDigests,
    candidate_digests,
    checksum,
    count_unwrapped,
    is_well_formed,
    make_secret,
    wrap_digests,
)
from apikeys.services.keys import (
    DEFAULT_OVERLAP_SECONDS,
    MAX_ALLOWED,
    MAX_NAME_LENGTH,
    MAX_OVERLAP_SECONDS,
    MAX_RATE_LIMIT,
    change_key,
    issue_key,
    names_of_models,
    require_control,
    revoke_key,
    rotate_key,
    verify_key,
)
from apikeys.services.leaks import Leak, accept_report, require_signature
from apikeys.services.limits import (
    EffectiveLimit,
    Limit,
    effective_limits,
    limits_of_key,
    limits_of_person,
)
from apikeys.services.pruning import prune
from apikeys.services.reminders import send_reminders
from apikeys.services.uses import MAX_CLIENTS, Use, client_of, is_use_due, recent_clients, touch_keys
from common.spending import SpendLimit

__all__ = [
    "BASE62",
    "DEFAULT_OVERLAP_SECONDS",
    "DEFAULT_PERMISSIONS",
    "MAX_ALLOWED",
    "MAX_CLIENTS",
    "MAX_NAME_LENGTH",
    "MAX_OVERLAP_SECONDS",
    "MAX_RATE_LIMIT",
    "PERMISSIONS",
    "EffectiveLimit",
    "Leak",
    "Limit",
    "RememberedDigests",
    "SpendLimit",
    "Use",
    "accept_report",
    "candidate_digests",
    "change_key",
    "checksum",
    "client_of",
    "count_unwrapped",
    "effective_limits",
    "is_use_due",
    "is_well_formed",
    "issue_key",
    "limits_of_key",
    "limits_of_person",
    "make_secret",
    "names_of_models",
    "prune",
    "recent_clients",
    "require_control",
    "require_signature",
    "revoke_key",
    "rotate_key",
    "send_reminders",
    "spend_limits_of",
    "touch_keys",
    "verify_key",
    "wrap_digests",
]
