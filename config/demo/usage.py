"""A month of calls that nobody made, for the pages that show usage."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from uuid import UUID

from accounts.models import Organization, User
from apikeys.models import APIKey
from common import clock
from config.demo.listings import REAL, Listing
from config.roles import as_owner
from gateway.models import Invocation, Rule
from marketplace.models import AIModel
from marketplace.services.pricing import cost_of

USAGE_DAYS = 30
CALLS_ON_A_WEEKDAY = 180
FAILURES_IN_A_THOUSAND = 4
BATCH = 1000

# One afternoon on which a model does not answer, so that there is something to find.
TROUBLED, TROUBLED_DAYS_AGO, TROUBLED_HOURS = "Language ID", 12, range(12, 17)


def make_usage(consumer: User, key_name: str, publisher: Organization, number: int) -> int:
    """Calls of the last 30 days that nobody made, the same for the same `number` but for the day of today."""
    rng = random.Random(number)
    now = clock.now()
    models = {
        row.name: row
        for row in AIModel.objects.owned_by(publisher).filter(name__in=[one.name for one in REAL]).detailed()
    }
    key = APIKey.objects.filter(user=consumer, name=key_name).latest("created_at")
    calls = []
    for day in range(USAGE_DAYS, 0, -1):
        start = now - timedelta(days=day)
        busy = CALLS_ON_A_WEEKDAY if start.weekday() < 5 else CALLS_ON_A_WEEKDAY // 3
        for _ in range(round(busy * rng.uniform(0.7, 1.3))):
            hour = min(max(rng.gauss(14, 4), 0), 23.9)
            at = start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(hours=hour)
            listing = rng.choices(REAL, [one.weight for one in REAL])[0]
            if at < now:
                is_troubled = listing.name == TROUBLED and day == TROUBLED_DAYS_AGO and at.hour in TROUBLED_HOURS
                has_failed = rng.randrange(1000) < FAILURES_IN_A_THOUSAND or is_troubled
                calls.append(_call(rng, listing, models[listing.name], key, at, has_failed=has_failed))
    with as_owner():  # the application itself cannot write calls
        Invocation.objects.bulk_create(calls, batch_size=BATCH)
    return len(calls)


def _call(
    rng: random.Random, listing: Listing, ai_model: AIModel, key: APIKey, at: datetime, *, has_failed: bool
) -> Invocation:
    input_tokens, output_tokens = (0 if has_failed else round(mean * rng.uniform(0.4, 1.8)) for mean in listing.tokens)
    price, version = ai_model.price, ai_model.current_version
    assert price is not None
    assert version is not None
    cost = 0 if has_failed else cost_of(price, input_tokens=input_tokens, output_tokens=output_tokens)
    first_token_ms = round(rng.lognormvariate(3.2, 0.5))
    latency_ms = first_token_ms + (round(rng.uniform(14, 26) * output_tokens) if listing.kind == "chat" else 0)
    is_streamed = listing.kind == "chat" and rng.random() < 0.5
    return Invocation(
        id=_uuid7_at(at, rng),
        state=Invocation.State.FINAL,
        organization_id=key.organization_id,
        user_id=key.user_id,
        api_key=key,
        publisher_id=ai_model.publisher_id,
        ai_model=ai_model,
        version=version,
        price=price,
        kind=listing.kind,
        mode=key.mode,
        is_streamed=is_streamed,
        is_demo=True,
        budget_ids=[],
        hold_nano=cost,
        started_at=at,
        beat_at=at,
        settled_at=at + timedelta(milliseconds=latency_ms),
        rule=Rule.DEMO,
        cost_nano=cost,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        usage_source="" if has_failed or listing.kind == "invoke" else "reported",
        http_status=502 if has_failed else 200,
        error_code="upstream_error" if has_failed else "",
        latency_ms=latency_ms,
        first_token_ms=first_token_ms if is_streamed and not has_failed else None,
    )


def _uuid7_at(at: datetime, rng: random.Random) -> UUID:
    milliseconds = int(at.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | rng.getrandbits(12) << 64 | 0x2 << 62 | rng.getrandbits(62))
