"""Whether this process can serve, who is asking, and what is written down about it."""

from observability.services import health
from observability.services.audit import changes, record
from observability.services.chain import export_audit_head, read_anchors, stored_links, verify_chain, verify_links
from observability.services.context import (
    Caller,
    RequestContext,
    begin_request,
    caller_of,
    current_client,
    current_request,
    end_request,
    shorten,
)
from observability.services.health import Check, ask_database, ask_migrations, ask_redis, check_readiness
from observability.services.idempotency import (
    KEPT_FOR,
    Kept,
    Recording,
    count_retired_answers,
    fingerprints,
    hash_key,
    open_answer,
    prune_idempotency_keys,
    reseal_answers,
)
from observability.services.requests import (
    Seen,
    forget_waiting_requests,
    note_request,
    rotate_request_log,
    waiting_requests,
    write_requests,
    write_requests_here,
)

__all__ = [
    "KEPT_FOR",
    "Caller",
    "Check",
    "Kept",
    "Recording",
    "RequestContext",
    "Seen",
    "ask_database",
    "ask_migrations",
    "ask_redis",
    "begin_request",
    "caller_of",
    "changes",
    "check_readiness",
    "count_retired_answers",
    "current_client",
    "current_request",
    "end_request",
    "export_audit_head",
    "fingerprints",
    "forget_waiting_requests",
    "hash_key",
    "health",
    "note_request",
    "open_answer",
    "prune_idempotency_keys",
    "read_anchors",
    "record",
    "reseal_answers",
    "rotate_request_log",
    "shorten",
    "stored_links",
    "verify_chain",
    "verify_links",
    "waiting_requests",
    "write_requests",
    "write_requests_here",
]
