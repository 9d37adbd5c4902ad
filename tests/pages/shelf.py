"""A model that everything has happened to: checked, published, changed, priced anew, pinned, called and reviewed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests import client
from tests.pages.visitor import Visitor, Visitors

CHECK_SECONDS, SETTLED_SECONDS = 90, 30
TEXT = {"type": "string", "maxLength": 500, "description": "What is looked at"}
OUTPUT = {
    "type": "object",
    "required": ["label"],
    "properties": {"label": {"enum": ["positive", "neutral", "negative"]}},
}
DESCRIPTION = """Reads entries of a ledger and says in which mood they were written.

## Good for

Short notes in English, one at a time.

## Limits

It counts words and knows negations; it does not understand irony.

| Notes | Right |
|---|---|
| of a shop | 81 % |
| of a bank | 74 % |
"""


def on_shelf(where: str, role: str = "anonymous") -> Callable[[Visitors], tuple[Visitor, str]]:
    """What leads somebody there, with `{page}` for the model's page and `{publish}` for its steps of publishing."""

    def prepare(visitors: Visitors) -> tuple[Visitor, str]:
        if ("developer", "shelf") not in visitors.objects:
            fill_shelf(visitors)
        id, slug = visitors.objects["developer", "shelf"].split()
        return visitors.get(role), where.format(page=f"/models/{slug}", publish=f"/publish/{id}")

    return prepare


def fill_shelf(visitors: Visitors) -> None:
    publisher, caller = (program(visitors, role) for role in ("developer", "consumer"))
    days = [(datetime.now(UTC) + timedelta(days=days)) for days in (14, 45)]
    listing = {
        "name": f"Ledger Moods {visitors.unique}",
        "description": DESCRIPTION,
        "version": "1.0.0",
        "category": "text-classification",
        "capabilities": ["moods", "ledgers"],
        "license": "MIT",
        "api_spec": {
            "input": {
                "type": "object",
                "required": ["text"],
                "properties": {"text": TEXT},
                "examples": [{"text": "Paid late, with apologies."}],
            },
            "output": OUTPUT,
        },
        "pricing": {"type": "paid", "rates": {"per_call": "0.002"}},
    }
    made = sent(publisher.post("/api/models", listing))
    path = f"/api/models/{made['id']}"
    models = "http://" + visitors.stack.environment["OUTBOUND_ALLOWED_NETWORKS"].replace("/32", "")
    sent(publisher.put(f"{path}/endpoint", {"url": f"{models}/sentiment", "protocol": "json"}))
    sent(publisher.post(f"{path}/check"))
    until(lambda: sent(publisher.get(f"{path}/check"))["ended_at"], CHECK_SECONDS)
    sent(publisher.post(f"{path}/publish"))
    # Somebody relies on the first version, then there is a second that breaks it, and other prices.
    deployment = {"name": f"ledger-{visitors.unique}", "model_id": made["id"]}
    deployed = sent(caller.post("/api/deployments", deployment))
    sent(caller.patch(f"/api/deployments/{deployed['id']}", {"version": "1.0.0"}))
    spec = {"input": {"type": "object", "required": ["text"], "properties": {"text": {**TEXT, "maxLength": 200}}}}
    spec["input"]["properties"]["currency"] = {"type": "string", "enum": ["EUR", "USD"], "default": "EUR"}
    newer = {"version": "2.0.0", "api_spec": {**spec, "output": OUTPUT}, "changelog": "Texts are shorter now."}
    sent(publisher.post(f"{path}/versions", newer))
    sent(publisher.put(f"{path}/versions/1.0.0/sunset", {"sunset_on": f"{days[1]:%Y-%m-%d}"}))
    price = {"type": "paid", "rates": {"per_call": "0.0015"}}
    sent(publisher.post(f"{path}/prices", price))
    sent(publisher.post(f"{path}/prices", {**price, "effective_from": days[0].isoformat(), "rates": {"per_call": "1"}}))
    key = client.Client(caller.url, sent(caller.post("/api/keys", {"name": f"Ledger {visitors.unique}"}))["key"])
    sent(key.post(f"{path}/invoke", {"text": "Paid in time, thank you!"}))
    review = {"rating": 4, "title": "Good at apologies", "content": "It sorts what our customers write."}
    until(lambda: caller.post(f"{path}/reviews", review).status == 201, SETTLED_SECONDS)
    visitors.objects["developer", "shelf"] = f"{made['id']} {made['slug']}"


def program(visitors: Visitors, role: str) -> client.Client:
    person = visitors.get(role)
    api = client.Client(visitors.stack.url)
    login = api.post("/api/auth/login", {"email": person.email, "password": person.password})
    return client.Client(api.url, sent(login)["access"])


def sent(answer: client.Answer) -> Any:
    assert answer.status in (200, 201, 202), answer
    return answer.json


def until(is_so: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)
