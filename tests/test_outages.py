"""A database, a cache or a gateway ends in the middle of calls: what is answered is settled, and nothing stays held."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from aiohttp import web

from common.ids import decode
from config.up import answers, web_command
from conftest import random_port
from gateway.tests.upstream import FakeUpstream, chunk, stream_of
from tests.client import Answer, Client, make_key
from tests.test_publish_story import DRAFT
from tests.test_up import Launcher

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
OUTAGE_SECONDS = 7  # longer than anybody in the gateway waits
RECOVERY_SECONDS = 10
SWEEP = """
import django, json; django.setup()
from django.db import connection
from gateway.services import check_books, settle_orphans
connection.cursor().execute("SET agorai.clock_offset = '151 seconds'")
print(json.dumps([settle_orphans(), check_books()]))
"""


@dataclass
class Instance:
    """`make up` on data of its own, and more gateways on the same data."""

    launcher: Launcher
    url: str
    upstream: FakeUpstream
    gateways: list[subprocess.Popen] = field(default_factory=list)

    def __post_init__(self) -> None:
        path = self.launcher.var.run / "environment"
        self.environment = dict(re.findall(r"^(\w+)=(.*)$", path.read_text(), re.M))
        demo = json.loads(self.launcher.var.demo.read_text())
        login = {name: demo["users"]["developer"][name] for name in ("email", "password")}
        self.person = Client(self.url, Client(self.url).post("/api/auth/login", login).json["access"])
        self.key = make_key(self.person, rate_limit=100_000)
        self.model = self.publish("json", name="Outage")

    def publish(self, protocol: str, **values: Any) -> str:
        made = self.person.post("/api/models", DRAFT | values)
        assert made.status == 201, made
        endpoint = {"url": self.upstream.url, "protocol": protocol, "timeout_seconds": 60}
        assert self.person.put(f"/api/models/{made.json['id']}/endpoint", endpoint).status == 200
        assert self.person.post(f"/api/models/{made.json['id']}/publish").status == 200
        return made.json["id"]

    def invoke(self, url: str = "") -> Answer:
        return Client(url or self.url, self.key.credential).post(f"/api/models/{self.model}/invoke", {"text": "x"})

    def execute(self, statement: str) -> list:
        with psycopg.connect(self.environment["DATABASE_OWNER_URL"], autocommit=True) as owner:
            cursor = owner.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def without(self, program: str) -> Iterator[int]:
        """Killed, and started again by the launcher as soon as that may go on."""
        pid = next(pid for pid in self.launcher.pids() if is_main(pid, program))
        os.kill(self.launcher.process.pid, signal.SIGSTOP)
        try:
            os.kill(pid, signal.SIGKILL)
            yield pid
        finally:
            os.kill(self.launcher.process.pid, signal.SIGCONT)

    def start_gateway(self) -> tuple[str, subprocess.Popen]:
        port = random_port()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        environment = kept | self.environment | self.launcher.given
        process = subprocess.Popen([sys.executable, *web_command(port)], cwd=ROOT, env=environment)
        self.gateways.append(process)
        deadline = time.monotonic() + 60
        while not answers(port):
            assert process.poll() is None, "the gateway ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return f"http://127.0.0.1:{port}", process

    def state_of(self, request_id: str) -> dict:
        return self.key.get(f"/v1/requests/{request_id}").json

    def settle_the_rest(self) -> int:
        """Two and a half minutes later the sweep ends what was left behind. Returns how many calls that were."""
        environment = os.environ | self.environment | self.launcher.given
        environment["DJANGO_SETTINGS_MODULE"] = "config.settings"
        swept = subprocess.run([sys.executable, "-c", SWEEP], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert swept.returncode == 0, swept.stderr
        ended, wrong = json.loads(swept.stdout.splitlines()[-1])
        assert wrong == []
        assert self.execute("SELECT count(*) FROM gateway_invocation WHERE state = 'started'") == [(0,)]
        assert self.execute("SELECT count(*) FROM accounts_budget WHERE held <> 0") == [(0,)]
        return ended


def is_main(pid: int, program: str) -> bool:
    """Whether this is the process itself, and not one of those that it consists of."""
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return all(
            (Path(f"/proc/{number}/comm").read_text().strip() == program) == wanted
            for number, wanted in ((pid, True), (parent, False))
        )
    except OSError:
        return False


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    with FakeUpstream(answer={"loud": "HELLO"}) as upstream:
        environment = {
            "PORT": str(random_port()),
            "OUTBOUND_ALLOWED_NETWORKS": "127.0.0.1/32",
            "OUTBOUND_ALLOW_HTTP": "true",
            "LOG_LEVEL": "WARNING",  # the launcher, which reads along, stands still for some seconds
            "API_RATE_PER_MINUTE": "1000000",
        }
        launcher = Launcher(tmp_path_factory.mktemp("outages") / "var", **environment)
        launcher.given = environment
        found = None
        try:
            found = Instance(launcher, launcher.wait_until_running(), upstream)
            yield found
        finally:
            for gateway in found.gateways if found else ():
                if gateway.poll() is None:
                    gateway.kill()
                gateway.wait()
            if launcher.process.poll() is None:
                launcher.end(signal.SIGTERM)


@pytest.fixture(autouse=True)
def well_behaved(instance):
    instance.upstream.answer, instance.upstream.behave = {"loud": "HELLO"}, None
    instance.upstream.seen.clear()


class Load:
    """Callers of both dialects, one call after the other each; what they were answered, and when."""

    def __init__(self, instance: Instance, callers: int = 12) -> None:
        self._instance, self._stop = instance, threading.Event()
        self.answers: list[tuple[float, str, Answer]] = []
        self._threads = [threading.Thread(target=self._call, args=(n % 2 == 0,)) for n in range(callers)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _call(self, is_chat: bool) -> None:
        key = self._instance.key
        chat = {"model": "demo/eliza", "messages": [{"role": "user", "content": "Hello"}]}
        while not self._stop.is_set():
            if is_chat:
                answer = key.post("/v1/chat/completions", chat)
            else:
                answer = key.post("/api/models/demo:language-id/invoke", {"text": "Guten Tag, wie geht es Ihnen?"})
            self.answers.append((time.monotonic(), "chat" if is_chat else "invoke", answer))
            time.sleep(0.02)

    def first_good(self, kind: str, after: float) -> float | None:
        return next((at for at, k, answer in self.answers if k == kind and at > after and answer.status == 200), None)


def test_the_database_is_killed_under_load_and_comes_back(instance):
    with Load(instance) as load:
        time.sleep(1.5)
        with instance.without("postgres"):
            killed = time.monotonic()
            time.sleep(OUTAGE_SECONDS)
        while True:
            try:
                instance.execute("SELECT 1")
                break
            except psycopg.OperationalError:
                assert time.monotonic() < killed + 60, instance.launcher.said()
                time.sleep(0.02)
        back = time.monotonic()
        while not all(load.first_good(kind, back) for kind in ("chat", "invoke")):
            assert time.monotonic() < back + RECOVERY_SECONDS, "the gateway has not recovered"
            time.sleep(0.05)
        time.sleep(1)
    meanwhile = [(kind, answer) for at, kind, answer in load.answers if killed < at < back]
    assert {kind for kind, answer in meanwhile if answer.status == 503} == {"chat", "invoke"}
    for _, _, answer in load.answers:
        assert answer.status in (200, 503), answer
        if answer.status == 503:
            problem = answer.json.get("error", answer.json)
            assert problem["code"] in ("ledger_unavailable", "service_unavailable"), answer
            assert 0 < int(answer.headers["retry-after"]) <= 10
    answered = [answer.headers["x-request-id"] for _, _, answer in load.answers if answer.status == 200]
    assert len(answered) > 50, "the load was real"
    instance.settle_the_rest()
    final = {row[0] for row in instance.execute("SELECT id FROM gateway_invocation WHERE state = 'final'")}
    assert {id for id in answered if decode("req", id) not in final} == set(), "answered, and lost"
    voided = instance.execute("SELECT id FROM gateway_invocation WHERE rule = 'orphan_void'")
    assert {id for id in answered if (decode("req", id),) in voided} == set(), "answered, and not charged"


def test_without_the_cache_calls_are_answered_and_limited(instance):
    slow = make_key(instance.person, rate_limit=5)
    with instance.without("valkey-server"):
        assert [instance.invoke().status for _ in range(20)] == [200] * 20
        path = f"/api/models/{instance.model}/invoke"
        assert [slow.post(path, {"text": "x"}).status for _ in range(8)] == [200] * 5 + [429] * 3
    assert instance.invoke().status == 200
    assert instance.settle_the_rest() == 0


def test_a_gateway_that_is_asked_to_end_finishes_its_calls(instance):
    url, process = instance.start_gateway()

    async def slow(request):
        await asyncio.sleep(2)
        return web.json_response({"loud": "HELLO"})

    instance.upstream.behave = slow
    with ThreadPoolExecutor(10) as threads:
        calls = [threads.submit(instance.invoke, url) for _ in range(10)]
        wait_for(lambda: len(instance.upstream.seen) == 10)
        process.terminate()
        done = [call.result(20) for call in calls]
    assert [answer.status for answer in done] == [200] * 10
    assert process.wait(10) in (0, -signal.SIGTERM)
    receipts = [instance.state_of(answer.headers["x-request-id"]) for answer in done]
    assert {(receipt["state"], receipt["rule"]["code"]) for receipt in receipts} == {("final", "per_call")}
    assert instance.settle_the_rest() == 0


def test_a_gateway_that_is_asked_to_end_ends_its_streams_and_takes_no_more(instance):
    url, process = instance.start_gateway()
    body = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}
    began = threading.Event()
    instance.upstream.behave = stream_of(*[chunk("abcd") for _ in range(600)], pause=0.05)
    per_token = {"input_tokens_per_million": "1", "output_tokens_per_million": "1"}
    anything = {"input": {"type": "object"}, "output": {"type": "object"}}
    pricing = {"type": "paid", "rates": per_token}
    model = instance.publish("openai", name="Endless", api_spec=anything, pricing=pricing)

    def stream() -> bytes:
        address = urlsplit(url)
        headers = {"Authorization": f"Bearer {instance.key.credential}", "Content-Type": "application/json"}
        with closing(HTTPConnection(address.hostname, address.port, timeout=60)) as connection:
            connection.request("POST", "/v1/chat/completions", json.dumps({"model": model, **body}), headers)
            with connection.getresponse() as response:
                received = response.read1()
                began.set()
                while part := response.read1():
                    received += part
                return received

    with ThreadPoolExecutor(1) as threads:
        endless = threads.submit(stream)
        assert began.wait(20)
        process.terminate()
        time.sleep(0.5)
        with pytest.raises(ConnectionRefusedError):
            instance.invoke(url)
        events = endless.result(30).split(b"data: ")
    assert process.wait(10) in (0, -signal.SIGTERM)
    assert events[-1] == b"[DONE]\n\n"
    assert json.loads(events[-2])["error"]["code"] == "gateway_stopped"
    ended = "SELECT state, rule, error_code, cost_nano > 0 FROM gateway_invocation ORDER BY id DESC LIMIT 1"
    assert instance.execute(ended) == [("final", "usage_counted", "gateway_stopped", True)]
    assert instance.settle_the_rest() == 0


@contextmanager
def hanging(instance: Instance, url: str, number: int) -> Iterator[None]:
    """This many calls whose upstream does not answer. They end broken off, or with 503."""
    released = threading.Event()

    async def hang(request):
        while not released.is_set():
            await asyncio.sleep(0.05)
        return web.json_response({"loud": "HELLO"})

    def call() -> int:
        try:
            return instance.invoke(url).status
        except (OSError, HTTPException):
            return 503  # the connection broke

    instance.upstream.behave = hang
    with ThreadPoolExecutor(number) as threads:
        calls = [threads.submit(call) for _ in range(number)]
        wait_for(lambda: len(instance.upstream.seen) == number)
        yield
        assert [call.result(20) for call in calls] == [503] * number
    released.set()
    instance.upstream.behave = None


def test_a_call_that_takes_too_long_is_cut_off_and_settled_at_once(instance):
    url, process = instance.start_gateway()
    with hanging(instance, url, 3):
        process.terminate()
        assert process.wait(15) in (0, -signal.SIGTERM)
    assert (
        instance.execute("SELECT state, rule, error_code, cost_nano FROM gateway_invocation ORDER BY id DESC LIMIT 3")
        == [("final", "orphan_void", "gateway_stopped", 0)] * 3
    )
    assert instance.settle_the_rest() == 0


def test_a_gateway_is_killed_and_the_other_goes_on(instance):
    url, process = instance.start_gateway()
    with hanging(instance, url, 10):
        process.kill()
    assert [instance.invoke().status for _ in range(20)] == [200] * 20
    (held,) = instance.execute("SELECT count(*), sum(hold_nano) FROM gateway_invocation WHERE state = 'started'")
    assert held == (10, 20_000_000), "they did hold something"
    assert instance.settle_the_rest() == 10
    assert instance.execute(
        "SELECT count(*), sum(cost_nano) FROM (SELECT * FROM gateway_invocation ORDER BY id DESC LIMIT 30) x"
        " WHERE rule = 'orphan_void'"
    ) == [(10, 0)]


def wait_for(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
