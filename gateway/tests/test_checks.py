"""The contract check: eight questions to real servers, good ones and ones that are wrong in one way each."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from accounts.models import Membership
from accounts.tests.factories import make_user
from common import clock
from common.ids import uuid7
from common.outbound import Door
from common.problems import NotFound, RateLimited
from examples.tests.conftest import run_server
from gateway import services
from gateway.errors import NoEndpoint
from gateway.models import ContractCheck, Endpoint
from gateway.services import check_words, set_endpoint
from gateway.services.contract import NAMES, Step, Subject
from gateway.services.endpoints import Target
from gateway.services.examples import example_of
from gateway.services.probes import check_contract
from gateway.tests.upstream import FakeUpstream
from marketplace import services as marketplace
from marketplace.models import AIModel
from marketplace.services.schemas import validator_for, violations
from marketplace.tests.factories import LABEL_OUT, TEXT_IN, make_model
from notifications.models import Message

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]
SECRET = "s3cret-of-the-endpoint"
USAGE = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
HELLO = {"messages": [{"role": "user", "content": "Say hello."}]}


def subject(url: str, *, protocol: str = "openai", secret: str | None = SECRET, **values: Any) -> Subject:
    target = Target(
        endpoint_id=uuid7(),
        url=url,
        protocol=protocol,
        upstream_model="m",
        auth_header="Authorization",
        secret=secret,
        signing_key=b"key",
        timeout_seconds=values.pop("timeout_seconds", 5),
        max_cost_nano=None,
    )
    is_json = protocol == "json"
    validator = validator_for(uuid7(), "output", values.pop("output", LABEL_OUT if is_json else {}))
    defaults: dict[str, Any] = {
        "slug": "acme/m",
        "kind": "invoke" if is_json else "chat",
        "sample": {"text": "Fine."} if is_json else HELLO,
        "faults_of": lambda output, size: violations(validator, output),
        "needs_usage": not is_json,
    }
    return Subject(target=target, **{**defaults, **values})


def take(checked: Subject, port: int) -> dict[str, Step]:
    async def run() -> list[Step]:
        async with Door(allowed=[f"127.0.0.1/32:{port}"], allow_http=True) as door:
            return [step async for step in check_contract(checked, door)]

    steps = asyncio.run(run())
    assert tuple(step.name for step in steps) == NAMES
    for step in steps:  # whatever was found can be said
        words = check_words.words_of(json.loads(json.dumps(step.document)))
        assert words.seen
        assert bool(words.wanted) == (step.outcome in ("failed", "open"))
        assert SECRET not in words.sent + words.received
    return {step.name: step for step in steps}


def failed(steps: dict[str, Step]) -> dict[str, str]:
    return {name: step.code for name, step in steps.items() if step.outcome == "failed"}


class Chat:
    """An OpenAI-compatible endpoint that keeps the contract, but for what a test changes."""

    def __init__(self, **faults: Any) -> None:
        self.faults, self.running, self.most = faults, 0, 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._answer(request)
        finally:
            self.running -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        faults = self.faults
        if redirect := faults.get("redirect"):
            return web.Response(status=302, headers={"Location": redirect})
        if request.headers.get("Authorization") != f"Bearer {SECRET}" and not faults.get("is_open"):
            return _refusal(401, "Who are you?")
        body = json.loads(await request.read())
        if len(body.get("padding", "")) and faults.get("breaks_when_large"):
            return _refusal(500, "Too much.")
        if not body.get("messages"):
            if "bad_error" in faults:
                return faults["bad_error"]()
            return _refusal(400, "There are no messages.")
        await asyncio.sleep(faults.get("pause", 0))
        if self.running > faults.get("most", 100):
            return _refusal(503, "Busy.")
        if body.get("stream"):
            return await self._stream(request, body)
        answer = {"choices": [{"message": {"role": "assistant", "content": f"Hello, not {SECRET}."}}], "usage": USAGE}
        return web.json_response(faults.get("answer", answer))

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        assert body["stream_options"]["include_usage"] is True
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        events: list[Any] = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in ("Hel", "lo")]
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if "no_stream_usage" not in self.faults:
            events.append({"choices": [], "usage": USAGE})
        for event in self.faults.get("events", events):
            await response.write(b"data: " + json.dumps(event).encode() + b"\r\n\r\n")
        if "no_done" not in self.faults:
            await response.write(b"data: [DONE]\n\n")
        return response


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "invalid"}}, status=status)


def test_an_endpoint_that_keeps_the_contract_passes_all_eight():
    with FakeUpstream(behave=(chat := Chat(pause=0.02))) as upstream:
        steps = take(subject(upstream.url), upstream.port)
    assert {step.outcome for step in steps.values()} == {"passed"}
    assert steps["credential"].facts == {"stranger": 401, "status": 200}
    assert steps["answer"].facts["input_tokens"] == 4
    assert steps["stream"].facts["output_tokens"] == 2
    assert chat.most >= 10, "ten requests were not under way at once"
    assert "[hidden]" in steps["answer"].received


@pytest.mark.parametrize("secret", [SECRET, ""])
def test_the_example_server_passes(tmp_path: Path, secret: str):
    with run_server(tmp_path / "log", secret=secret) as server:
        port = int(server.url.rpartition(":")[2])
        chat = take(subject(f"{server.url}/v1", secret=secret or None), port)
        mood = take(subject(f"{server.url}/sentiment", protocol="json", secret=secret or None, output={}), port)
    assert not failed(chat)
    assert not failed(mood)
    assert chat["credential"].outcome == mood["credential"].outcome == ("passed" if secret else "open")
    assert mood["stream"].outcome == "skipped"


FAULTS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "redirect": ({"redirect": "https://elsewhere.example/"}, {"reach": "redirects"}),
    "open though there is a secret": ({"is_open": True}, {"credential": "credential_ignored"}),
    "no usage": (
        {"answer": {"choices": [{"message": {"content": "Hi"}}]}},
        {"answer": "answer_without_usage"},
    ),
    "nothing": ({"answer": {"choices": []}}, {"answer": "answer_is_empty", "parallel": "parallel_fails"}),
    "no usage in the stream": ({"no_stream_usage": True}, {"stream": "stream_without_usage"}),
    "no end of the stream": ({"no_done": True}, {"stream": "stream_without_end"}),
    "an empty stream": ({"events": []}, {"stream": "stream_is_empty"}),
    "an error in the stream": ({"events": [{"error": {"message": "x"}}]}, {"stream": "stream_reports_error"}),
    "an error that is none": ({"bad_error": lambda: web.json_response({})}, {"error": "error_status"}),
    "an error in HTML": (
        {"bad_error": lambda: web.json_response("no", status=400)},
        {"error": "error_not_json"},
    ),
    "an error without words": (
        {"bad_error": lambda: web.json_response({"code": 1}, status=400)},
        {"error": "error_without_message"},
    ),
    "breaks when a request is large": ({"breaks_when_large": True}, {"limits": "large_breaks"}),
    "three at a time": ({"most": 3, "pause": 0.05}, {"parallel": "parallel_fails"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_found_and_nothing_else(name: str):
    faults, wanted = FAULTS[name]
    with FakeUpstream(behave=Chat(**faults)) as upstream:
        steps = take(subject(upstream.url), upstream.port)
    assert failed(steps) == wanted


def test_a_wrong_secret_and_an_answer_that_does_not_fit():
    with FakeUpstream(behave=Chat()) as upstream:
        steps = take(subject(upstream.url, secret="another"), upstream.port)
        assert steps["credential"].code == "credential_refused"
    unfit = {"type": "object", "required": ["score"]}
    with FakeUpstream(answer={"label": "ok"}) as upstream:
        steps = take(subject(upstream.url, protocol="json", secret=None, output=unfit), upstream.port)
    assert steps["answer"].code == "answer_unfit"
    assert steps["answer"].facts["pointer"] == "/score"


def test_work_that_goes_on_after_its_caller_has_left_is_noticed():
    """One at a time, and nobody looks whether the caller is still there."""
    lock = asyncio.Lock()

    async def work() -> None:
        async with lock:
            await asyncio.sleep(0.6)

    async def behave(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        if not isinstance(body, dict) or "text" not in body:
            return _refusal(400, "no text")
        await asyncio.shield(asyncio.ensure_future(work()))
        return web.json_response({"label": "ok"})

    with FakeUpstream(behave=behave) as upstream:
        steps = take(subject(upstream.url, protocol="json", secret=None, timeout_seconds=20), upstream.port)
    assert failed(steps) == {"hang_up": "slow_after_hang_up"}


def test_a_good_answer_is_kept_as_an_example_without_secrets_and_cut_where_it_is_long():
    long = {"choices": [{"message": {"content": f"{SECRET} " + "x" * 5000}}] * 9, "usage": USAGE}
    with FakeUpstream(behave=Chat(answer=long)) as upstream:
        kept = take(subject(upstream.url), upstream.port)["answer"].example
    assert kept is not None
    assert kept["input"] == {"max_tokens": 64, **HELLO}, "as callers ask it here, without the endpoint's own names"
    assert (kept["kind"], kept["is_cut"]) == ("chat", True)
    assert kept["output"]["usage"] == USAGE
    texts = [choice["message"]["content"] for choice in kept["output"]["choices"]]
    assert len(texts) == 6
    assert texts[0].startswith("[hidden] xxx")
    assert texts[0].endswith("…")
    assert SECRET not in json.dumps(kept)
    with FakeUpstream(behave=Chat(answer={"choices": [{"message": {}}]})) as upstream:
        assert take(subject(upstream.url), upstream.port)["answer"].example is None, "it did not keep the contract"
    with FakeUpstream(answer={str(number): "x" * 99 for number in range(200)}) as upstream:
        huge = take(subject(upstream.url, protocol="json", secret=None, output={}), upstream.port)
    assert huge["answer"].outcome == "passed"
    assert huge["answer"].example is None, "nobody reads so much"


def test_what_cannot_be_reached_is_asked_nothing_more():
    with FakeUpstream() as upstream:
        port = upstream.port
    steps = take(subject(f"http://127.0.0.1:{port}"), port)
    assert failed(steps) == {"reach": "no_answer"}
    assert {step.code for name, step in steps.items() if name != "reach"} == {"not_asked"}
    assert take(subject("http://169.254.169.254/"), port)["reach"].code == "address_refused"


def test_a_slow_endpoint_runs_into_its_own_limit():
    async def behave(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3)
        return web.json_response({})

    with FakeUpstream(behave=behave) as upstream:
        assert take(subject(upstream.url, timeout_seconds=1), upstream.port)["reach"].code == "too_slow"


def test_requests_are_signed_and_worded_as_calls_are():
    with FakeUpstream(behave=Chat()) as upstream:
        take(subject(upstream.url), upstream.port)
        strangers = [seen for seen in upstream.seen if "authorization" not in seen.headers]
        sent = next(seen for seen in upstream.seen if "authorization" in seen.headers)
    assert [("x-agorai-signature" in seen.headers) for seen in strangers] == [False]
    at, _, signature = sent.headers["x-agorai-signature"].removeprefix("t=").partition(",v1=")
    signed = f"{at}.{sent.headers['x-agorai-request-id']}.".encode() + sent.body
    assert hmac.digest(b"key", signed, "sha256").hex() == signature
    assert sent.headers["accept"] == sent.headers["content-type"] == "application/json"
    assert sent.path == "/chat/completions"
    assert sent.json == {"model": "m", "max_tokens": 64, **HELLO}


# --- Rows -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def upstream():
    with (
        FakeUpstream() as found,
        override_settings(OUTBOUND_ALLOWED_NETWORKS=[f"127.0.0.1/32:{found.port}"], OUTBOUND_ALLOW_HTTP=True),
    ):
        yield found


async def _good(request: web.Request) -> web.StreamResponse:
    body = json.loads(await request.read())
    if not isinstance(body, dict) or "text" not in body:
        return _refusal(422, "Give a text.")
    return web.json_response({"label": "kind"})


async def _bad(request: web.Request) -> web.StreamResponse:
    return web.json_response({"label": 1})


def listed(upstream: FakeUpstream, **values: Any) -> AIModel:
    ai_model = make_model(status="published", **values)
    set_endpoint(ai_model=ai_model, url=upstream.url, protocol="json")
    user = make_user()
    Membership.objects.create(organization=ai_model.publisher, user=user, role=Membership.Role.DEVELOPER)
    other = make_user()
    Membership.objects.create(organization=ai_model.publisher, user=other, role=Membership.Role.MEMBER)
    ai_model.developer = user
    return ai_model


def check_now(ai_model: AIModel) -> ContractCheck:
    asked = services.ask_check(ai_model=ai_model)
    assert services.run_checks() == 1
    asked.refresh_from_db()
    return asked


@pytest.mark.django_db
def test_a_run_is_kept_and_told_to_the_catalogue(upstream):
    upstream.behave = _good
    ai_model = listed(upstream)
    check = check_now(ai_model)
    assert check.status == "passed"
    assert check.ended_at
    assert [step["name"] for step in check.steps] == list(NAMES)
    ai_model.refresh_from_db()
    assert ai_model.check_passed is True
    assert ai_model.checked_at == check.ended_at
    assert services.run_checks() == 0
    set_endpoint(ai_model=ai_model, url=f"{upstream.url}/v2", protocol="json")
    ai_model.refresh_from_db()
    assert ai_model.check_passed is None
    assert ai_model.checked_at is None


@pytest.mark.django_db
def test_the_page_shows_the_exchange_of_the_check_until_it_is_no_longer_true(upstream, client: Client):
    upstream.behave = _good
    ai_model = listed(upstream)
    path = f"/models/{ai_model.publisher.slug}/{ai_model.slug}/api"
    words = "answered to this request in its contract check"
    assert words not in client.get(path).content.decode()
    check_now(ai_model)
    page = client.get(path).content.decode()
    assert words in page
    assert "kind" in page[page.index('id="invoke-example"') : page.index(words)]
    upstream.behave = _bad
    check_now(ai_model)
    assert words in client.get(path).content.decode(), "what was answered before is still true"
    set_endpoint(ai_model=ai_model, url=f"{upstream.url}/v2", protocol="json")
    assert words not in client.get(path).content.decode(), "of another endpoint nothing is known"


@pytest.mark.django_db
def test_an_example_of_another_question_is_not_shown(upstream):
    upstream.behave = _good
    ai_model = listed(upstream)
    check_now(ai_model)
    ai_model = AIModel.objects.detailed().get(pk=ai_model.pk)
    found = example_of(ai_model)
    assert found is not None
    assert (found.input, found.output, found.is_cut) == ({"text": "text"}, {"label": "kind"}, False)
    ai_model.current_version.input_schema = {**TEXT_IN, "examples": [{"text": "Another."}]}
    assert example_of(ai_model) is None


@pytest.mark.django_db
def test_a_model_is_locked_before_its_endpoint_and_its_checks(upstream):
    """In that order whoever deletes it locks them too; in another one both could wait for each other."""
    upstream.behave = _good
    ai_model = listed(upstream)
    with CaptureQueriesContext(connection) as set_again:
        set_endpoint(ai_model=ai_model, url=f"{upstream.url}/v2", protocol="json")
    with CaptureQueriesContext(connection) as asked:
        services.ask_check(ai_model=ai_model)
    with CaptureQueriesContext(connection) as run:
        assert services.run_checks() == 1

    ending = [n for n, query in enumerate(run) if "FOR NO KEY UPDATE" in query["sql"]]
    ended = [n for n, query in enumerate(run) if '"ended_at" = ' in query["sql"] and "UPDATE" in query["sql"]]
    assert len(ending) == len(ended) == 1
    assert ending < ended
    for queries in (set_again, asked):
        touched = [query["sql"] for query in queries if "FOR " in query["sql"] or "INSERT" in query["sql"]]
        assert touched[0].rstrip().endswith("FOR NO KEY UPDATE")
        assert 'FROM "marketplace_aimodel"' in touched[0]
        assert any('"gateway_' in sql for sql in touched[1:])


@pytest.mark.django_db
def test_an_endpoint_of_a_model_that_is_gone_is_refused(upstream):
    ai_model = make_model()
    AIModel.objects.filter(pk=ai_model.pk).update(current_version=None)
    AIModel.objects.get(pk=ai_model.pk).delete()
    with pytest.raises(NotFound):
        set_endpoint(ai_model=ai_model, url=upstream.url, protocol="json")


@pytest.mark.django_db
def test_two_failures_in_a_row_degrade_the_model_and_one_that_passes_ends_that(upstream, client):
    upstream.behave = _bad
    ai_model = listed(upstream)
    assert check_now(ai_model).status == "failed"
    ai_model.refresh_from_db()
    assert ai_model.check_passed is False
    assert ai_model.degraded_at is None
    assert not Message.objects.exists()
    second = check_now(ai_model)
    ai_model.refresh_from_db()
    assert ai_model.degraded_at == second.ended_at
    assert b"Degraded" in client.get(f"/models/{ai_model.publisher.slug}/{ai_model.slug}").content
    sent = Message.objects.get()
    assert (sent.kind, sent.recipient) == ("marketplace.degraded", ai_model.developer)
    check_now(ai_model)
    assert Message.objects.count() == 1, "of the same trouble nobody hears twice"
    upstream.behave = _good
    check_now(ai_model)
    ai_model.refresh_from_db()
    assert ai_model.degraded_at is None
    assert ai_model.check_passed is True
    assert set(Message.objects.values_list("kind", flat=True)) == {"marketplace.degraded", "marketplace.recovered"}


@pytest.mark.django_db
def test_a_failure_a_success_and_a_failure_are_no_row(upstream):
    ai_model = listed(upstream)
    for behave in (_bad, _good, _bad):
        upstream.behave = behave
        check_now(ai_model)
    ai_model.refresh_from_db()
    assert ai_model.degraded_at is None


@pytest.mark.django_db
def test_a_draft_is_checked_and_never_degraded(upstream):
    upstream.behave = _bad
    ai_model = make_model()
    set_endpoint(ai_model=ai_model, url=upstream.url, protocol="json")
    check_now(ai_model)
    check_now(ai_model)
    ai_model.refresh_from_db()
    assert ai_model.check_passed is False
    assert ai_model.degraded_at is None


@pytest.mark.django_db
def test_the_schedule_asks_once_a_day_and_an_hour_after_a_failure(upstream):
    upstream.behave = _good
    ai_model = listed(upstream)
    make_model(status="published")  # without an endpoint
    assert services.schedule_checks() == 1
    assert services.schedule_checks() == 0, "it is live"
    services.run_checks()
    assert services.schedule_checks() == 0, "it was just checked"
    last = ContractCheck.objects.get()
    assert last.reason == "schedule"

    def was(status: str, **ago: int) -> None:
        at = clock.now() - timedelta(**ago)
        ContractCheck.objects.update(status=status, ended_at=at)

    was("passed", hours=23)
    assert services.schedule_checks() == 0
    was("failed", minutes=59)
    assert services.schedule_checks() == 0
    was("failed", minutes=61)
    assert services.schedule_checks() == 1
    ContractCheck.objects.exclude(pk=last.pk).delete()
    was("passed", hours=25)
    marketplace.suspend(ai_model=ai_model)
    assert services.schedule_checks() == 0
    marketplace.publish(ai_model=ai_model, by_staff=True)
    assert services.schedule_checks() == 1


@pytest.mark.django_db
def test_what_a_dead_worker_left_is_run_again(upstream):
    upstream.behave = _good
    ai_model = listed(upstream)
    asked = services.ask_check(ai_model=ai_model)
    assert services.ask_check(ai_model=ai_model) == asked, "one at a time"
    ContractCheck.objects.update(status="running", started_at=clock.now() - timedelta(minutes=9))
    assert services.run_checks() == 0
    ContractCheck.objects.update(started_at=clock.now() - timedelta(minutes=11))
    assert services.run_checks() == 1
    asked.refresh_from_db()
    assert asked.status == "passed"


@pytest.mark.django_db
def test_an_endpoint_is_not_checked_without_end(upstream):
    ai_model = listed(upstream)
    with pytest.raises(NoEndpoint):
        services.ask_check(ai_model=make_model())
    endpoint = Endpoint.objects.get(version__ai_model=ai_model)
    at = clock.now()
    for _ in range(20):
        endpoint.checks.create(status="passed", reason="asked", created_at=at, started_at=at, ended_at=at)
    with pytest.raises(RateLimited):
        services.ask_check(ai_model=ai_model)
    ContractCheck.objects.update(created_at=at - timedelta(minutes=61))
    assert services.ask_check(ai_model=ai_model).is_live


def test_the_command_says_what_is_wrong():
    with FakeUpstream(behave=Chat(no_done=True)) as upstream:
        out = StringIO()
        with pytest.raises(CommandError, match="1 of 8 failed"):
            call_command("check_endpoint", upstream.url, "--secret", SECRET, "--local", stdout=out)
    text = out.getvalue()
    assert text.count("ok  ") == 7
    assert "XX  Stream the same answer" in text
    assert "fix: Send the ending event" in text
    with FakeUpstream(behave=_good) as upstream:
        out = StringIO()
        schema = json.dumps(TEXT_IN | {"required": []})
        given = ("--protocol", "json", "--input", '{"text": "x"}', "--output-schema", schema, "--local", "--json")
        call_command("check_endpoint", upstream.url, *given, stdout=out)
    assert [json.loads(line)["name"] for line in out.getvalue().splitlines()] == list(NAMES)
    with pytest.raises(CommandError, match="--input"):
        call_command("check_endpoint", "https://example.org", "--protocol", "json")
