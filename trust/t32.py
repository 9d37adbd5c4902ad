"""No JSON text, JSON Schema or pattern takes more than its share of time, whoever sends it to whatever reads it.

A trial is one of them (`bombs.py`) at one of the doors: the API, the gateway's addresses, an endpoint's answer, forms
where schemas are typed; a schema that is accepted is called with the input it fears, and so is one of 200 patterns that
a backtracking matcher would try for ever. Each costs the process at most 250 ms of CPU, ends with an answer that is no
5xx, takes nothing that no door may take, and leads to no connection.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlsplit

from trust.bombs import PATTERNS, SCHEMAS, TEXTS, Bomb, SchemaBomb, hostile_to, schema_text
from trust.ground import Ground, Web
from trust.harness import Context, Result, Trial
from trust.registry import Sabotage

if TYPE_CHECKING:
    from marketplace.models import AIModel

MOST_MS = 250.0
MOST_MS_BESIDE_OTHERS = 500.0  # where other invariants share the processor and its caches
ATTEMPTS = 3  # what another process does to the caches of this one is nobody's fault here
ANSWER_SECONDS = 20
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
CASES = 100  # of a round: each text and each schema once, and patterns
API_ROOM, GATEWAY_ROOM, ANSWER_ROOM = 1024 * 1024, 8 * 1024 * 1024, 16 * 1024 * 1024
#: What only a publisher can do to calls of its own models: an answer may be twice as long as a request.
NO_ANSWERS = ("a million names", "objects with a member")
ANSWER = {  # to whatever it is asked
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "text": "ok", "finish_reason": "stop"}],
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
}
REFUSED = (400, 401, 403, 404, 411, 413, 415, 422)

SABOTAGES = (
    Sabotage(
        "Python's re for patterns",
        "marketplace/services/schemas.py",
        '    return Draft202012Validator(schema, pattern_options=patterns, offline=True, mask="this value")\n',
        "    found: list[str] = []\n"
        "    keep = lambda pairs: (found.extend(v for k, v in pairs if k == 'format'), dict(pairs))[1]  # noqa: E731\n"
        "    named = json.loads(json.dumps(schema).replace('\"pattern\":', '\"format\":'), object_pairs_hook=keep)\n"
        "    matchers = {one: re.compile(one).search for one in found}\n"
        "    formats = {one: (lambda text, m=m: m(text) is not None) for one, m in matchers.items()}\n"
        '    return Draft202012Validator(named, formats=formats, validate_formats=True, mask="this value")\n',
    ),
    Sabotage(
        "a schema may take any number of steps",
        "marketplace/services/schemas.py",
        "MAX_STEPS = 5_000\n",
        "MAX_STEPS = 5_000_000_000\n",
    ),
    Sabotage(
        "a text may be of any depth",
        "common/jsonsafe.py",
        "    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > max_depth:\n",
        "    if False:\n",
    ),
    Sabotage(
        "a number may have any length",
        "common/jsonsafe.py",
        "MAX_NUMBER_DIGITS = 64\n",
        "MAX_NUMBER_DIGITS = 1 << 40\n",
    ),
    Sabotage(
        "a name may be given twice",
        "common/jsonsafe.py",
        "        if len(members) != len(pairs):\n",
        "        if False:\n",
    ),
    Sabotage(
        "objects may have any number of names",
        "common/jsonsafe.py",
        "MAX_MEMBERS = 50_000 ",
        "MAX_MEMBERS = 1 << 40 ",
    ),
)


def run(context: Context) -> Result:
    web = context.ground.start_web(WELCOME_CREDIT="1000", GATEWAY_CIRCUIT_FAILURES="0")
    attack = Attack(context, web)
    attack.warm_up()
    with listening() as (url, connections):
        for trial in context.each():
            attack.make(trial, url)
            alive = web.process.poll() is None
            if not context.expect(alive, f"the process ends with {web.process.returncode}"):
                break
        context.expect(not connections, f"references led to {len(connections)} connections")
    return context.result()


@contextmanager
def listening() -> Iterator[tuple[str, list[Any]]]:
    """A server that notes who comes, and says nothing."""
    came: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def wait() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:
                    return
                came.append(address)
                connection.close()

        threading.Thread(target=wait, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", came
        server.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class Door:
    """Something that reads JSON: at most `room` bytes. around: what makes a sound text of one value within it."""

    name: str
    path: str
    room: int
    around: tuple[bytes, bytes]
    method: str = "POST"


@dataclass(slots=True)
class Answer:
    status: int = 0
    body: bytes = b""
    fault: str = ""


class Attack:
    def __init__(self, context: Context, web: Web) -> None:
        from apikeys.models import scopes_of_role
        from marketplace.services import Terms
        from marketplace.services.schemas import UnfitSchema, check_schema
        from tests.pages.visitor import Visitor
        from trust import world

        self._context, self._web, ground = context, web, context.ground
        ground.upstream.answer = ANSWER
        self._ground: Ground = ground
        person = world.make_person(platform_role="developer")
        self._secret = world.make_key(person, permissions=sorted(scopes_of_role("owner")))[1]
        self._visitor = Visitor(web.url, email=person.email, password=world.PASSWORD)
        self._publisher = person.personal_organization
        anything = {"type": "object"}
        self._open = world.make_model(
            ground, name="Anything", api_spec={"input": anything, "output": {}}, pricing=Terms(type="free")
        )
        self._chat = world.make_model(ground, name="Chat", api_spec={"input": anything, "output": {}})
        ground.execute(
            "UPDATE gateway_endpoint SET protocol = 'openai' WHERE version_id = %s", [self._chat.current_version_id]
        )
        self._accepted: dict[str, str] = {}  # patterns, by the field that has them
        for number, pattern in enumerate(PATTERNS):
            try:
                check_schema({"pattern": pattern})
            except UnfitSchema:
                continue
            self._accepted[pattern] = f"p{number}"
        fields = {name: {"type": "string", "pattern": pattern} for pattern, name in self._accepted.items()}
        self._matching = world.make_model(
            ground,
            name="Patterns",
            api_spec={"input": {"type": "object", "properties": fields}, "output": {}},
            pricing=Terms(type="free"),
        )
        self._made = 0
        self._most_ms = MOST_MS if context.timing else MOST_MS_BESIDE_OTHERS

    def warm_up(self) -> None:
        """The first request at each door loads what every later one needs."""
        for door in self.doors:
            self._send(door, door.around[0] + b'""' + door.around[1])
        for number in range(3):
            self._call(self._matching, b'{"p%d":"a"}' % number)
        for name in self.schema_doors:
            self._offer(name, b'{"type":"array"}')

    def make(self, trial: Trial, url: str) -> None:
        """One case of a round; the door is by chance."""
        number = trial.number % CASES
        texts, schemas = list(TEXTS.items()), list(SCHEMAS.items())
        if number < len(texts):
            return self._try_text(*texts[number], trial.random)
        if number < len(texts) + len(schemas):
            return self._try_schema(*schemas[number - len(texts)], trial.random, url)
        return self._try_pattern(trial.random.choice(PATTERNS), trial.random)

    # --- What is tried ---

    def _try_text(self, name: str, bomb: Bomb, random: Random) -> None:
        door = random.choice([*self.doors, None] if name not in NO_ANSWERS else self.doors)
        if door is None:
            self._try_answer(name, bomb)
            return
        before, after = door.around if random.random() < 0.5 and len(bomb.make(1024)) <= 2 * DEPTH_BYTES else (b"", b"")
        body = before + bomb.make(door.room - len(before) - len(after)) + after
        answer = self._measured(f"{name} at {door.name}", lambda: self._send(door, body))
        if len(body) > door.room and answer.fault.startswith(("BrokenPipe", "ConnectionReset")):
            return  # nobody reads all of what is too large
        what = f"{name} at {door.name}"
        self._judge(what, answer)
        if bomb.is_refused:
            is_said = answer.status == 413 or (answer.status == 400 and b'"invalid_json"' in answer.body)
            self._context.expect(is_said, f"{what} is read: {answer.status} {answer.body[:100]!r}")

    def _try_answer(self, name: str, bomb: Bomb) -> None:
        """As what an endpoint says."""
        from aiohttp import web

        body = bomb.make(ANSWER_ROOM)

        async def behave(request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, content_type="application/json")

        self._ground.upstream.behave = behave
        try:
            what = f"{name} as an answer"
            answer = self._measured(what, lambda: self._call(self._open, b'{"text":"x"}'))
        finally:
            self._ground.upstream.behave = None
        is_clean = answer.status == 200 or (answer.status == 502 and b'"upstream_' in answer.body)
        self._context.expect(is_clean, f"{what}: {answer.fault or answer.status} {answer.body[:100]!r}")

    def _try_schema(self, name: str, bomb: SchemaBomb, random: Random, url: str) -> None:
        door = random.choice(self.schema_doors)
        schema = schema_text(bomb.make(url))
        what = f"{name} in {door}"
        answer = self._measured(what, lambda: self._offer(door, schema))
        self._judge(what, answer, is_refused=bomb.is_refused)
        if answer.status == 201 and door != "a version":
            model = self._publish(answer)
            body = json.dumps(bomb.input()).encode()
            self._judge(f"a call of {name}", self._measured(f"a call of {name}", lambda: self._call(model, body)))

    def _try_pattern(self, pattern: str, random: Random) -> None:
        what = f"the pattern {pattern}"
        field = self._accepted.get(pattern)
        if field is None:
            text = json.dumps({"type": "object", "properties": {"text": {"pattern": pattern}}}).encode()
            door = random.choice(self.schema_doors)
            self._judge(what, self._measured(what, lambda: self._offer(door, text)), is_refused=True)
            return
        body = json.dumps({field: hostile_to(pattern)}).encode()
        self._judge(what, self._measured(what, lambda: self._call(self._matching, body)))

    def _publish(self, answer: Answer) -> AIModel:
        """A model that was accepted with a schema, callable."""
        from gateway import services as gateway
        from marketplace import services as marketplace
        from marketplace.models import AIModel

        model: AIModel = AIModel.objects.referred_to(json.loads(answer.body)["id"]).get()
        gateway.set_endpoint(ai_model=model, url=self._ground.upstream.url, protocol="json")
        marketplace.submit(ai_model=model)
        marketplace.publish(ai_model=model, by_staff=True)
        return model

    # --- Doors ---

    @cached_property
    def doors(self) -> list[Door]:
        chat, open_ = self._chat.public_id.encode(), self._open.public_id.encode()
        messages = b'{"model":"' + chat + b'","messages":[{"role":"user","content":', b'}],"max_tokens":5}'
        return [
            Door("the log-in", "/api/auth/login", API_ROOM, (b'{"email":', b',"password":"x"}')),
            Door("a person", "/api/auth/me", API_ROOM, (b'{"name":', b"}"), "PATCH"),
            Door("a new model", "/api/models", API_ROOM, (b'{"name":', b"}")),
            Door("a new key", "/api/keys", API_ROOM, (b'{"name":"x","permissions":', b"}")),
            Door("a deployment", "/api/deployments", API_ROOM, (b'{"name":"x","model_id":', b"}")),
            Door("a call", f"/api/models/{self._open.public_id}/invoke", GATEWAY_ROOM, (b'{"text":', b"}")),
            Door("a chat", "/v1/chat/completions", GATEWAY_ROOM, messages),
            Door("messages", "/v1/messages", GATEWAY_ROOM, messages),
            Door("a completion", "/v1/completions", GATEWAY_ROOM, (b'{"model":"' + chat + b'","prompt":', b"}")),
            Door("embeddings", "/v1/embeddings", GATEWAY_ROOM, (b'{"model":"' + chat + b'","input":', b"}")),
            Door("a prediction", "/v1/predictions", GATEWAY_ROOM, (b'{"model":"' + open_ + b'","input":', b"}")),
        ]

    @property
    def schema_doors(self) -> list[str]:
        return ["the input", "the output", "a version", "the form"]

    def _offer(self, door: str, schema: bytes) -> Answer:
        """A schema, wherever one may be given."""
        if door == "the form":
            return self._type(schema)
        sides = (schema, b"{}") if door != "the output" else (b'{"type":"object"}', schema)
        self._made += 1
        spec = b'"version":"%d.0.0","api_spec":{"input":%s,"output":%s}' % (self._made, *sides)
        if door == "a version":
            path = f"/api/models/{self._mine.public_id}/versions"
            answer = self._post(path, b"{" + spec + b"}")
            return answer
        more = b'"name":"Bomb %d","description":"Ticks.","category":"other","pricing":{"type":"free"}' % self._made
        return self._post("/api/models", b"{" + spec + b"," + more + b"}")

    @cached_property
    def _mine(self) -> AIModel:
        """One of the attacker's own."""
        from marketplace import services as marketplace

        return marketplace.create_model(
            publisher=self._publisher,
            name="Mine",
            description="Ticks.",
            version="0.0.1",
            category="other",
            api_spec={"input": {"type": "object"}, "output": {}},
            pricing=marketplace.Terms(type="free"),
        )

    def _type(self, schema: bytes) -> Answer:
        """Into the first step of publishing."""
        if not self._visitor.cookies:
            self._visitor.log_in()
        basics = {"name": "Typed", "description": "Ticks.", "version": "1.0.0", "category": "other", "license": ""}
        token = self._token
        fields = {**basics, "csrfmiddlewaretoken": token, "output_schema": "{}"}
        body = "&".join(f"{name}={quote_plus(text)}" for name, text in fields.items()).encode()
        body += b"&input_schema=" + quote_plus(schema).encode()
        cookies = "; ".join(f"{name}={value}" for name, value in self._visitor.cookies.items())
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": cookies,
            "Origin": self._web.url,
            "Referer": self._web.url,
        }
        return _request(self._web, "POST", "/publish/new", body, headers)

    @cached_property
    def _token(self) -> str:
        from tests.pages.visitor import token_in

        return token_in(self._visitor.get("/publish/new"))["csrfmiddlewaretoken"]

    def _call(self, model: AIModel, body: bytes) -> Answer:
        return self._post(f"/api/models/{model.public_id}/invoke", body)

    def _post(self, path: str, body: bytes) -> Answer:
        return self._send(Door("", path, 0, (b"", b"")), body)

    def _send(self, door: Door, body: bytes) -> Answer:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._secret}"}
        return _request(self._web, door.method, door.path, body, headers)

    # --- Judgement ---

    def _measured(self, what: str, do: Callable[[], Answer]) -> Answer:
        """The answer. What costs too much is tried again: the least counts."""
        least = float("inf")
        for _ in range(ATTEMPTS):
            before = self._cpu_ms()
            answer = do()
            least = min(least, self._cpu_ms() - before)
            if least <= self._most_ms or answer.fault.startswith("Timeout"):
                break
        self._context.worst("cpu_ms", least)
        self._context.expect(least <= self._most_ms, f"{what}: it takes {least:.0f} ms of CPU")
        return answer

    def _judge(self, what: str, answer: Answer, *, is_refused: bool = False) -> None:
        said = f"{what}: {answer.fault or answer.status} {answer.body[:100]!r}"
        if not self._context.expect(not answer.fault and answer.status < 500, said) or not is_refused:
            return
        is_form_again = answer.status == 200 and b"<form" in answer.body
        self._context.expect(answer.status in REFUSED or is_form_again, f"it is taken: {said}")

    def _cpu_ms(self) -> float:
        """What the process has used, in all its threads and those that have ended."""
        fields = Path(f"/proc/{self._web.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_MS


DEPTH_BYTES = 1_000_000  # a text that does not heed its room is sent as it is


def _request(web: Web, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
    address = urlsplit(web.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_SECONDS)
    sent = {"Accept": "application/json", "User-Agent": "trust", **headers}
    try:
        try:
            connection.request(method, path, body, sent)
        except (BrokenPipeError, ConnectionResetError):
            time.sleep(0.05)  # it may have answered before it had read all
        response = connection.getresponse()
        return Answer(response.status, response.read())
    except (OSError, HTTPException) as error:
        return Answer(fault=f"{type(error).__name__} {error}")
    finally:
        connection.close()
