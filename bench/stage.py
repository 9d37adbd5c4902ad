"""What the benchmarks of the gateway run against: this product on servers of its own, one priced model, keys."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.peers import Target
from bench.report import OURS
from bench.wait import wait_for
from config.cluster import ROOT, random_port
from config.processes import spawn
from trust.ground import Ground, Web

if TYPE_CHECKING:
    from apikeys.models import APIKey

BUILD = ROOT / "build" / "bench"
CREDIT = "1000000"
CHAT_SCHEMA = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string"},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {"role": {"type": "string"}, "content": {"type": ["string", "array"]}},
            },
        },
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "max_tokens": {"type": "integer", "minimum": 1},
    },
}
ANSWER_SCHEMA = {
    "type": "object",
    "required": ["choices"],
    "properties": {"choices": {"type": "array"}, "usage": {"type": "object"}},
}
BODY = {
    "messages": [
        {"role": "system", "content": "You are a careful assistant that answers in one short paragraph."},
        {
            "role": "user",
            "content": "Explain in one paragraph why a gateway between a client and a model adds a small amount of "
            "latency to every request, and what can be done about it without giving up metering, limits and receipts.",
        },
    ],
    "temperature": 0.2,
    "max_tokens": 256,
}


@dataclass(slots=True)
class Stage:
    """`key` is one with a spend limit: its calls draw from two budgets."""

    ground: Ground
    web: Web
    upstream_port: int
    model: str
    key: str

    def target(self) -> Target:
        """The gateway; `parts` is everything whose CPU a call costs."""
        cluster = self.ground.cluster
        assert cluster.postgresql.process is not None
        assert cluster.valkey.process is not None
        return Target(
            OURS,
            self.web.url,
            self.model,
            {"Authorization": f"Bearer {self.key}"},
            {
                "gateway": self.web.process.pid,
                "postgresql": cluster.postgresql.process.pid,
                "valkey": cluster.valkey.process.pid,
            },
        )

    def direct(self) -> Target:
        """The upstream itself."""
        return Target("direct", f"http://127.0.0.1:{self.upstream_port}")

    def issue_key(self) -> tuple[APIKey, str]:
        """A key like `key`, of an organization of its own, and its secret."""
        from common.money import to_nano

        return _issue_key(to_nano(CREDIT))

    def count_open(self) -> int:
        """Calls that are not settled."""
        ((count,),) = self.ground.execute("SELECT count(*) FROM gateway_invocation WHERE state = 'started'")
        return int(count)

    def check_books(self) -> list[str]:
        """What does not agree after all these calls; nothing may."""
        from gateway.services import check_books

        return check_books()


@contextmanager
def stage(*, tokens: int = 100, pace_ms: int = 10) -> Iterator[Stage]:
    with upstream(tokens, pace_ms) as port, Ground(BUILD, durable=True) as ground:
        ground.environment |= {"WELCOME_CREDIT": CREDIT}
        from django.conf import settings

        from common.money import to_nano

        settings.WELCOME_CREDIT = CREDIT
        model, (_, key) = _list_model(ground, port), _issue_key(to_nano(CREDIT))
        (web,) = ground.start_webs(1)
        yield Stage(ground, web, port, model, key)


def _list_model(ground: Ground, port: int) -> str:
    """Priced per token, with schemas on both sides; calls go to the fast upstream. Returns its slug."""
    from gateway import services as gateway
    from marketplace import services as marketplace
    from trust import world

    publisher = world.make_person(platform_role="developer").personal_organization
    ai_model = marketplace.create_model(
        publisher=publisher,
        name="Bench",
        description="Answers at once.",
        version="1.0.0",
        category="text-generation",
        api_spec={"input": CHAT_SCHEMA, "output": ANSWER_SCHEMA},
        pricing=marketplace.Terms(type="paid", input_nano_per_million=150_000_000, output_nano_per_million=600_000_000),
    )
    gateway.set_endpoint(ai_model=ai_model, url=f"http://127.0.0.1:{port}/v1", protocol="openai", secret="up-s3cret")
    marketplace.submit(ai_model=ai_model)
    marketplace.publish(ai_model=ai_model, by_staff=True)
    return f"{publisher.slug}/{ai_model.slug}"


def _issue_key(limit_nano: int) -> tuple[APIKey, str]:
    from apikeys.services import SpendLimit
    from trust import world

    person = world.make_person()
    limit = SpendLimit(limit_nano, "month")
    return world.make_key(person, spend_limit=limit, rate_limit=100_000_000)


@contextmanager
def upstream(tokens: int = 100, pace_ms: int = 10) -> Iterator[int]:
    """A fast upstream's port."""
    port = random_port()
    process = spawn([sys.executable, "-m", "bench.upstream", str(port), str(tokens), str(pace_ms)], cwd=ROOT)
    try:
        wait_for(port, process)
        yield port
    finally:
        process.kill()
        process.wait()
