"""There is one door out, and every connection goes through it.

The source is read: no module of the product holds a client of its own, but for four that talk to nobody a user named,
and why stands beside each. Then the product runs in this process, with every socket watched and the code that made it
known: calls in all protocols, streams, predictions, webhooks, and each task of the worker. The environment names a
proxy meanwhile, which nobody may come to. The same watch stands behind every test of the suite (`conftest.py`).
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from trust.harness import Context, Result
from trust.registry import Sabotage

if TYPE_CHECKING:
    from accounts.models import User
    from marketplace.models import AIModel

PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
PROTOCOLS = ("json", "openai", "anthropic")
ROUNDS = 5

_WAKES = '@shared_task(name="gateway.settle_orphans")\ndef settle_orphans() -> int:\n'
_SENDS = "        at = int(time.time())\n        headers = {\n"
_DIALS = "    async def _dial(self, target: Target, seconds: float) -> Connection:\n"
_TARGET = "http://127.0.0.1:1/"

SABOTAGES = (
    Sabotage("import requests in a task", "gateway/tasks.py", _WAKES, _WAKES + "    import requests  # noqa: F401\n\n"),
    Sabotage("import httpx in a task", "gateway/tasks.py", _WAKES, _WAKES + "    import httpx  # noqa: F401\n\n"),
    Sabotage(
        "a client that the source does not name",
        "gateway/tasks.py",
        _WAKES,
        _WAKES
        + "    import contextlib\n\n    from celery.utils import imports\n\n"
        + "    with contextlib.suppress(Exception):\n"
        + f"        imports.import_from_cwd('ht' + 'tpx').get({_TARGET!r}, timeout=1)\n\n",
    ),
    Sabotage(
        "webhooks by a stream of asyncio",
        "notifications/adapters/webhook.py",
        _SENDS,
        "        try:\n"
        "            from urllib.parse import urlsplit\n\n"
        "            parts = urlsplit(post.url)\n"
        "            await getattr(asyncio, 'open_' + 'connection')(parts.hostname, parts.port)\n"
        "        except OSError:\n"
        "            pass\n" + _SENDS,
    ),
    Sabotage(
        "streams by a loop's own connection",
        "gateway/hotpath/resilience.py",
        "from gateway.errors import UpstreamBusy\n",
        "from gateway.errors import UpstreamBusy\n\nasyncio.open_connection  # noqa: B018\n",
    ),
    Sabotage(
        "the proxy of the environment is asked",
        "common/outbound/door.py",
        _DIALS,
        _DIALS
        + "        import os\n\n"
        + "        if proxy := os.environ.get('HTTP_PROXY', ''):\n"
        + "            host, _, port = proxy.removeprefix('http://').partition(':')\n"
        + "            socket.create_connection((host, int(port)), timeout=2).close()\n",
    ),
    Sabotage(
        "an excuse that nothing needs",
        "tests/one_door.py",
        "EXCUSED: dict[str, dict[str, str]] = {\n",
        'EXCUSED: dict[str, dict[str, str]] = {\n    "gateway/tasks.py": {"httpx": "who knows"},\n',
    ),
)


def run(context: Context) -> Result:
    from tests import one_door

    for fault in one_door.faults():
        context.violation(fault)
    context.count(sum(1 for _ in one_door.sources()))
    person, models = _make_models(context)
    one_door.watch()
    before = one_door.connections_seen()
    proxied: list[str] = []
    asyncio.run(_live(context, person, models, proxied))
    _run_tasks(context)
    for found in one_door.take_found():
        context.violation(found)
    context.expect(not proxied, f"a proxy of the environment was asked {len(proxied)} times")
    seen = one_door.connections_seen()
    through = seen["door"] - before["door"]
    context.count(through)
    context.expect(through > 0, "nothing went through the door at all")
    context.worst("through_the_door", through)
    context.worst("to_the_operators_own_servers", seen["beside"] - before["beside"])
    return context.result()


def _make_models(context: Context) -> tuple[User, dict[str, AIModel]]:
    from trust import world

    anything = {"type": "object"}
    models = {}
    for protocol in PROTOCOLS:
        models[protocol] = world.make_model(
            context.ground, name=f"Door {protocol}", api_spec={"input": anything, "output": anything}
        )
        context.ground.execute(
            "UPDATE gateway_endpoint SET protocol = %s WHERE version_id = %s",
            [protocol, models[protocol].current_version_id],
        )
    return world.make_person(platform_role="developer"), models


async def _live(context: Context, person: User, models: dict[str, AIModel], proxied: list[str]) -> None:
    """Everything that goes out, while the environment names a proxy."""
    from gateway.tests.asgi import running_app
    from trust import world

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxied.append(repr(writer.get_extra_info("peername")))
        writer.close()

    secret = (await asyncio.to_thread(world.make_key, person))[1]
    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    os.environ |= dict.fromkeys(PROXIES, address)
    try:
        async with running_app() as app:
            for _ in range(ROUNDS):
                answers = await asyncio.gather(*(request(app) for request in _requests(models, secret)))
                for answer in answers:
                    is_reached = answer.status in (200, 201) or b"upstream_invalid_output" in answer.received
                    context.expect(is_reached, f"an endpoint is not reached: {answer.received[:200]!r}")
                await asyncio.to_thread(_notify, context, person)
    finally:
        for name in PROXIES:
            del os.environ[name]
        server.close()


def _requests(models: dict[str, AIModel], secret: str) -> list[Any]:
    from gateway.tests.asgi import Request

    names = {protocol: one.public_id for protocol, one in models.items()}
    talk = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
    prediction = {"model": names["json"], "input": {"text": "x"}}
    return [
        Request(f"/api/models/{names['json']}/invoke", {"text": "x"}, secret),
        Request("/v1/chat/completions", {"model": names["openai"], **talk}, secret),
        Request("/v1/chat/completions", {"model": names["openai"], **talk, "stream": True}, secret),
        Request("/v1/embeddings", {"model": names["openai"], "input": "x"}, secret),
        Request("/v1/messages", {"model": names["anthropic"], **talk}, secret),
        Request("/v1/predictions", prediction, secret, headers=[(b"prefer", b"wait=5")]),
    ]


def _notify(context: Context, person: User) -> None:
    from django.db import connection

    from common import clock
    from common.ids import uuid7
    from notifications.services import deliver_webhooks, send_webhook

    send_webhook(
        organization_id=person.personal_organization.pk,
        url=f"{context.ground.upstream.url}/hook",
        kind="prediction.succeeded",
        subject="pred_x",
        data={},
        at=clock.now(),
        dedupe_key=uuid7().hex,
    )
    deliver_webhooks()
    connection.close()


def _run_tasks(context: Context) -> None:
    """Each task of the worker, as it would run it. A search library's own are sent by nobody."""
    from config.celery import app

    app.autodiscover_tasks(force=True)
    for name, task in sorted(app.tasks.items()):
        if not name.startswith(("celery.", "django_elasticsearch_dsl.")):
            task.run()
            context.count()
