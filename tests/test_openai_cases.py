"""The shared list of cases, by the unmodified `openai` for Python and the one for Node: each of them gets the same."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web

from gateway.tests.upstream import FakeUpstream
from tests.client import Client, make_key, sign_up
from tests.openai_cases import ANYTHING, CASES, NOTHING

HERE = Path(__file__).resolve().parent / "node"
PACKAGES = HERE.parents[1] / "build" / "node"
CLIENTS = ["python", *(["node"] if shutil.which("node") and shutil.which("npm") else [])]
PER_MINUTE = 12  # of the key that is in a hurry: one more every five seconds
METHODS = {"chat": "chat.completions", "completions": "completions", "embeddings": "embeddings"}


async def as_the_case_says(request: web.Request) -> web.StreamResponse:
    """The fake endpoint: the case is named by the field `user`."""
    name = (await request.json())["user"]
    told = next(case for case in CASES if case["name"] == name)["upstream"]
    await asyncio.sleep(told.get("pause", 0))
    if "events" not in told:
        return web.json_response(told["json"], status=told.get("status", 200), headers=told.get("headers"))
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in told["events"]:
        text = event if isinstance(event, str) else f"data: {json.dumps(event)}\n\n"
        await response.write(text.encode())
    if told.get("cut") and request.transport is not None:
        await asyncio.sleep(0.2)  # what was written is read before the connection is found to be broken
        request.transport.abort()
    else:
        await response.write(b"data: [DONE]\n\n")
    return response


@pytest.fixture(scope="module")
def upstream():
    with FakeUpstream(behave=as_the_case_says) as found:
        yield found


@pytest.fixture(scope="module")
def person(stack, upstream):
    site = stack.start_gateway(OUTBOUND_ALLOWED_NETWORKS=f"127.0.0.1/32:{upstream.port}", OUTBOUND_ALLOW_HTTP="true")
    person = Client(site, sign_up(stack, "cases@example.org").credential)
    assert person.post("/api/auth/become-developer").status == 200
    return person


@pytest.fixture(scope="module")
def model(person, upstream) -> str:
    listing = {
        "name": "All Cases",
        "description": "Answers as a case says.",
        "version": "1.0.0",
        "category": "chat",
        "api_spec": {
            "input": {"type": "object", "properties": {"messages": {"type": "array"}}},
            "output": {"type": "object"},
        },
        "pricing": {"type": "paid", "rates": {"input_tokens_per_million": "1", "output_tokens_per_million": "2"}},
    }
    made = person.post("/api/models", listing).json["id"]
    endpoint = {
        "url": f"{upstream.url}/v1",
        "protocol": "openai",
        "upstream_model": "the-upstreams-name",
        "timeout_seconds": 2,
    }
    assert person.put(f"/api/models/{made}/endpoint", endpoint).status == 200
    published = person.post(f"/api/models/{made}/publish")
    assert published.status == 200, published
    return published.json["slug"]


@pytest.fixture(scope="module", params=CLIENTS)
def outcomes(request, person, model, upstream) -> dict[str, Any]:
    """What came of every case, by its name, with what the upstream was sent."""
    poor = {"amount": "0.000001", "currency": "USD"}
    keys = {
        "": make_key(person, permissions=["models:read", "models:invoke"]),
        "reader": make_key(person, permissions=["models:read"]),
        "poor": make_key(person, spend_limit=poor),
        "hurried": make_key(person, rate_limit=PER_MINUTE),
    }
    secrets = {name: key.credential for name, key in keys.items()} | {"malformed": "agr_live_nonsense"}
    upstream.seen.clear()
    run = run_python if request.param == "python" else run_node
    found: dict[str, Any] = {}
    for hurried in (False, True):
        cases = [
            {**case, "model": case.get("model", model), "credential": secrets[case.get("key", "")]}
            for case in CASES
            if (case.get("key") == "hurried") is hurried
        ]
        for case in cases:
            if not case["method"].startswith("models"):
                case["body"] = {**case["body"], "user": case["name"]}
        if hurried:
            while keys["hurried"].get("/v1/models").status == 200:
                pass  # until nothing is left in the bucket
        found |= run(person.url, cases)
    for seen in upstream.seen:
        found[seen.json["user"]]["sent"] = seen.json
    return found


def run_python(url: str, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """As tests/node/run.mjs does it."""
    outcomes = {}
    for case in cases:
        tries: list[Any] = []
        outcome: dict[str, Any] = {"chunks": []}
        with httpx.Client(event_hooks={"request": [tries.append]}) as http:
            client = openai.OpenAI(
                base_url=f"{url}/v1",
                api_key=case["credential"],
                max_retries=case.get("retries", 0),
                http_client=http,
            )
            try:
                answer = _call(client, case)
                outcome["request_id"] = getattr(answer, "_request_id", None)
                if case.get("body", {}).get("stream"):
                    for chunk in answer:
                        outcome["chunks"].append(_plain(chunk))
                else:
                    outcome["result"] = _plain(answer)
            except openai.APIError as error:
                outcome["error"] = {
                    "name": type(error).__name__,
                    "status": getattr(error, "status_code", None),
                    "code": error.code,
                    "type": error.type,
                    "param": error.param,
                    "request_id": getattr(error, "request_id", None),
                    "body": error.body,
                }
        outcomes[case["name"]] = outcome | {"attempts": len(tries)}
    return outcomes


def _call(client: openai.OpenAI, case: dict[str, Any]) -> Any:
    if case["method"] == "models.list":
        return client.models.list()
    if case["method"] == "models.retrieve":
        return client.models.retrieve(case["model"])
    methods: Any = client
    for name in METHODS[case["method"]].split("."):
        methods = getattr(methods, name)
    return methods.create(model=case["model"], **case["body"], extra_body=case.get("extra"))


def _plain(answer: Any) -> Any:
    return answer.model_dump(mode="json", exclude_unset=True, warnings=False)


def run_node(url: str, cases: list[dict[str, Any]]) -> dict[str, Any]:
    install_packages()
    given = json.dumps({"url": url, "cases": cases})
    command = ["node", str(HERE / "run.mjs"), str(PACKAGES)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def install_packages() -> None:
    """The pinned packages of tests/node, once for each lock file; their scripts are not run."""
    lock = (HERE / "package-lock.json").read_text()
    mark = PACKAGES / "installed"
    if mark.is_file() and mark.read_text() == lock:
        return
    PACKAGES.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, PACKAGES / name)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(PACKAGES / "cache")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGORAI_")}
    done = subprocess.run(command, cwd=PACKAGES, env=kept, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    mark.write_text(lock)


def at(value: Any, path: str) -> Any:
    """What stands at `result.choices.0.text`; NOTHING where it is not, or null."""
    for name in path.split("."):
        if isinstance(value, list):
            value = value[int(name)] if int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return NOTHING if value is None else value


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_case(outcomes, case):
    outcome = outcomes[case["name"]]
    wanted = case["expect"]
    if not any(path.startswith("error") for path in wanted):
        wanted = wanted | {"error": NOTHING}
    told = [
        (place, path, value, at(found, path))
        for place, paths, found in (("outcome", wanted, outcome), ("sent", case.get("sent", {}), outcome.get("sent")))
        for path, value in paths.items()
    ]
    wrong = [row for row in told if row[3] != row[2] and not (row[2] == ANYTHING and row[3] != NOTHING)]
    assert not wrong, (wrong, outcome)


def test_every_case_is_named_once():
    assert len({case["name"] for case in CASES}) == len(CASES)
