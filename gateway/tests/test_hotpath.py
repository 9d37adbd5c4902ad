"""What can happen around a call: callers that leave, processes that end, upstreams that lie, databases that go away."""

import asyncio
import contextlib
import json
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from types import SimpleNamespace

import psycopg
import pytest
from aiohttp import web
from asgiref.sync import sync_to_async
from django.conf import settings as configured
from django.db import connections

from accounts.models import Budget
from apikeys.tests.factories import make_key, make_person
from billing.services import ensure_account
from common.ids import first_uuid, uuid7
from common.problems import Problem, RoleRequired, ServiceUnavailable, ValidationFailed
from gateway.errors import MoneyUnavailable
from gateway.hotpath import app as app_module
from gateway.hotpath import money as money_module
from gateway.hotpath import snapshot as snapshot_module
from gateway.hotpath import stream as stream_module
from gateway.hotpath import writer as writer_module
from gateway.hotpath.money import Money
from gateway.hotpath.rules import MAX_HOLD_NANO, PART_TOKENS, Call, hold_of, max_output_tokens
from gateway.hotpath.snapshot import Caller, Schema, TTLCache
from gateway.models import Invocation, Rule
from gateway.services import check_books, set_endpoint, settle_orphans
from gateway.services.calls import Reserve, Settle
from gateway.tests.asgi import Request, running_app
from gateway.tests.factories import make_endpoint
from gateway.tests.upstream import chunk, stream_of
from marketplace.models import Price
from marketplace.services import Terms
from marketplace.tests.factories import make_model

HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 10}


@pytest.fixture(scope="module")
def people(database, settings_of_module, upstream):
    """A key with credit, a model priced per call and a chat priced per token, both on the upstream of the test."""
    person = make_person()
    organization = person.personal_organization
    per_call = Terms(type="paid", per_call_nano=1_000_000)
    plain = make_model(publisher=organization, name="Plain", status="published", pricing=per_call)
    set_endpoint(ai_model=plain, url=upstream.url, protocol="json", timeout_seconds=5)
    anything = {"input": {"type": "object"}, "output": {"type": "object"}}
    per_token = Terms(type="paid", input_nano_per_million=10**9, output_nano_per_million=10**9)
    chat = make_model(publisher=organization, name="Chat", status="published", api_spec=anything, pricing=per_token)
    set_endpoint(ai_model=chat, url=upstream.url, protocol="openai", timeout_seconds=5)
    return SimpleNamespace(organization=organization, plain=plain, chat=chat, secret=make_key(user=person)[1])


class World:
    """The people, and what one test does with them."""

    def __init__(self, people: SimpleNamespace, database: str) -> None:
        self.people, self.plain, self.secret, self.database = people, people.plain, people.secret, database
        self.began = first_uuid(datetime.now(UTC))

    def invoke(self) -> Request:
        return Request(f"/api/models/{self.plain.public_id}/invoke", {"text": "x"}, self.secret)

    def stream(self, **values) -> Request:
        model = f"{self.people.organization.slug}/{self.people.chat.slug}"
        return Request("/v1/chat/completions", {"model": model, **HELLO, "stream": True}, self.secret, **values)

    def run(self, scenario):
        """Run `scenario(app)` in an application of its own, and look at the books afterwards."""

        async def main():
            async with running_app() as app:
                return await scenario(app)

        found = asyncio.run(main())
        connections.close_all()  # the test's own may have been ended, too
        assert not Invocation.objects.filter(state="started").exists()
        assert not Budget.objects.exclude(held=0).exists()
        assert check_books() == []
        return found

    @property
    def calls(self):
        return Invocation.objects.filter(id__gte=self.began).order_by("id")

    @property
    def rules(self) -> list[str]:
        return [call.rule for call in self.calls]

    @contextmanager
    def locked_budgets(self):
        """Somebody else holds the budgets, so that a batch which moves them has to wait."""
        with psycopg.connect(self.database) as other:
            other.execute("SELECT FROM accounts_budget FOR UPDATE")
            yield

    async def until_a_batch_waits(self) -> None:
        with psycopg.connect(self.database, autocommit=True) as other:
            await until(
                lambda: other.execute(
                    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ).fetchone()
            )

    def end_connections(self) -> int:
        """As a restart of the database does. Returns how many there were."""
        with psycopg.connect(self.database, autocommit=True) as other:
            return other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = 'agorai_app'"
            ).rowcount


@pytest.fixture
def world(people, database, upstream):
    upstream.answer, upstream.behave = {"label": "ok"}, None
    upstream.seen.clear()
    return World(people, database)


async def until(condition, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


# --- Callers that leave, processes that end ---------------------------------------------------------------------------


def test_a_call_that_is_cancelled_while_its_hold_is_made_holds_nothing(world, upstream):
    async def scenario(app):
        assert (await world.invoke()(app)).status == 200  # the snapshots are warm, the credit is there
        with world.locked_budgets():
            call = asyncio.create_task(world.invoke()(app))
            await world.until_a_batch_waits()
            call.cancel()
            await asyncio.sleep(0.05)
        assert ((await call).status, (await call).code) == (503, "gateway_stopped")

    world.run(scenario)
    assert world.rules == ["per_call", "not_sent"]
    assert len(upstream.seen) == 1


def test_a_call_that_is_cancelled_before_its_hold_was_asked_for_leaves_no_row(world):
    async def scenario(app):
        assert (await world.invoke()(app)).status == 200
        with world.locked_budgets():
            first = asyncio.create_task(world.invoke()(app))
            await world.until_a_batch_waits()
            second = asyncio.create_task(world.invoke()(app))
            await asyncio.sleep(0.1)  # queued behind the batch that waits
            second.cancel()
        assert (await first).status == 200
        assert (await second).code == "gateway_stopped"

    world.run(scenario)
    assert world.rules == ["per_call", "per_call"]


def test_a_call_that_is_cancelled_while_the_upstream_works_costs_nothing(world, upstream):
    async def hang(request):
        await asyncio.sleep(20)
        return web.Response()

    upstream.behave = hang

    async def scenario(app):
        call = asyncio.create_task(world.invoke()(app))
        await until(lambda: upstream.seen)
        call.cancel()
        assert ((await call).status, (await call).code) == (503, "gateway_stopped")

    world.run(scenario)
    call = world.calls.get()
    assert (call.rule, call.http_status, call.error_code, call.cost_nano) == ("orphan_void", 503, "gateway_stopped", 0)


def test_a_stream_that_is_cancelled_costs_what_was_delivered(world, upstream):
    upstream.behave = stream_of(*[chunk("abcd") for _ in range(100)], pause=0.05)

    async def scenario(app):
        request = world.stream()
        call = asyncio.create_task(request(app))
        await request.has_begun.wait()
        call.cancel()
        return await call

    error, done = world.run(scenario).received.split(b"data: ")[-2:]
    assert (json.loads(error)["error"]["code"], done) == ("gateway_stopped", b"[DONE]\n\n")
    call = world.calls.get()
    assert (call.rule, call.error_code) == ("usage_counted", "gateway_stopped")
    assert 0 < call.output_tokens < 50
    assert call.cost_nano > 0


def test_after_a_client_has_left_an_upstream_that_only_keeps_talking_is_cut_off(world, upstream, monkeypatch):
    monkeypatch.setattr(stream_module, "DRAIN_SECONDS", 0.3)
    upstream.behave = stream_of(chunk("abcd"), *[b": still here\n\n"] * 1000, pause=0.01)

    async def scenario(app):
        request = world.stream()
        call = asyncio.create_task(request(app))
        await request.has_begun.wait()
        request.leave()
        await asyncio.wait_for(call, 3)

    world.run(scenario)
    assert world.calls.get().output_tokens == 1


def test_a_client_that_takes_nothing_of_its_stream_has_left(world, upstream, monkeypatch):
    monkeypatch.setattr(writer_module, "STALLED_SECONDS", 0.2)
    usage = {"prompt_tokens": 10, "completion_tokens": 20}
    upstream.behave = stream_of(chunk("abcd"), chunk("efgh"), chunk(finish="stop", usage=usage))

    async def scenario(app):
        await asyncio.wait_for(world.stream(stalls=True)(app), 5)

    world.run(scenario)
    assert world.calls.get().output_tokens == 20


# --- Upstreams that lie -----------------------------------------------------------------------------------------------

BAD_JSON = [
    b"",
    b"{",
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"label": NaN}',
    b'{"label": "x", "n": 1e999}',
    b'{"label": "\\ud800"}',
    b'{"label": "\xff"}',
    b'{"\\udfff": 1, "label": "x"}',
    b"null",
    b"{}",
    b"[]",
    b'{"label": 5}',
    b'{"label": ' + b"9" * 5000 + b"}",
]


def test_an_answer_that_is_no_json_or_does_not_fit_is_502(world, upstream):
    async def scenario(app):
        for raw in BAD_JSON:

            async def behave(request, raw=raw):
                return web.Response(body=raw, content_type="application/json")

            upstream.behave = behave
            answer = await world.invoke()(app)
            assert (answer.status, answer.code) == (502, "upstream_invalid_output"), (raw[:50], answer.received)

    world.run(scenario)
    assert set(world.rules) == {"invalid_output"}


def test_a_stream_of_anything_else_is_502(world, upstream):
    events = [
        *(b"data: " + raw + b"\n\n" for raw in BAD_JSON if raw and raw != b"{}" and b"label" not in raw),
        b'data: {"choices": 5}\n\n',
        b'data: {"choices": {"a": 1}}\n\n',
        b'data: {"choices": NaN}\n\n',
        b'data: {"choices": [{"delta": {"content": "\\ud800"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}]}\n\n",
        b'data: {"error": {"message": "no"}}\n\n',
        b"data: " + b"x" * 2_000_000 + b"\n\n",
    ]

    async def scenario(app):
        for event in events:
            upstream.behave = stream_of(event)
            answer = await world.stream()(app)
            assert answer.status == 502, (event[:60], answer.received[:200])

    world.run(scenario)
    assert all(cost == 0 for cost in world.calls.values_list("cost_nano", flat=True))


def test_odd_but_sound_chunks_pass(world, upstream):
    odd = [
        b'data: {"choices": [7, null, {"delta": 5}, {"delta": {"content": 123456789012345678901234567890}}]}\n\n',
        b'data: {"choices": null, "error": null}\n\n',
        b'data: {"choices": [], "usage": 5}\n\n',
        b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": -1}}\n\n',
    ]
    upstream.behave = stream_of(*odd)

    async def scenario(app):
        return await world.stream()(app)

    answer = world.run(scenario)
    assert answer.status == 200
    assert answer.received.endswith(b"data: [DONE]\n\n")
    last = json.loads(answer.received.split(b"data: ")[-2])
    assert last["usage"]["prompt_tokens"] > 0, "what is shown is what is billed"


@pytest.mark.parametrize("wait", ["\u00b2", "9" * 5000, "-1", "soon", ""])
def test_an_odd_retry_after_is_no_reason_to_break(world, upstream, wait):
    async def behave(request):
        return web.Response(status=429, headers={"Retry-After": wait})

    upstream.behave = behave

    async def scenario(app):
        return await world.invoke()(app)

    answer = world.run(scenario)
    assert (answer.status, answer.code) == (503, "upstream_busy")
    assert answer.answered["retry-after"] == "5"


def test_an_error_without_end_is_an_error_all_the_same(world, upstream):
    async def behave(request):
        return web.Response(status=400, body=b"[" * 1_000_000)

    upstream.behave = behave

    async def scenario(app):
        return await world.invoke()(app)

    assert world.run(scenario).code == "upstream_rejected"


@pytest.mark.parametrize("path", ["plain", "chat"])
def test_an_upstream_that_repeats_its_secret_is_not_quoted(world, upstream, path):
    model = getattr(world, path, world.people.chat)
    protocol = "json" if path == "plain" else "openai"
    given = {"ai_model": model, "url": upstream.url, "protocol": protocol, "timeout_seconds": 5}
    set_endpoint(**given, secret="hush-hush-42")

    async def behave(request):
        told = f"{request.headers['Authorization']} is wrong, as sk_live_0123456789abcdef is, in {model.slug}"
        return web.json_response({"error": {"message": told}}, status=400)

    upstream.behave = behave

    async def scenario(app):
        return await (world.invoke() if path == "plain" else world.stream())(app)

    answer = world.run(scenario)
    set_endpoint(**given, secret="")
    assert answer.code == "upstream_rejected"
    assert f"Bearer [hidden] is wrong, as sk_[hidden] is, in {model.slug}" in answer.received.decode()


# --- What is asked ----------------------------------------------------------------------------------------------------


def test_every_other_method_is_405(world):
    async def scenario(app):
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
            for path in ("/v1/chat/completions", f"/api/models/{world.plain.public_id}/invoke"):
                answer = await Request(path, method=method)(app)
                assert (answer.status, answer.answered["allow"]) == (405, "POST")

    world.run(scenario)


def test_a_name_of_any_length_is_a_model_that_is_not_there(world):
    async def scenario(app):
        for name in ("x" * 5000, "a:b", "mdl_x", "\ud7ff", "a\nb:c"):
            answer = await Request(f"/api/models/{name}/invoke", {}, world.secret)(app)
            assert (answer.status, answer.code) == (404, "model_not_found"), name

    world.run(scenario)


def test_a_second_credential_spoils_the_first(world):
    async def scenario(app):
        twice = world.invoke()
        twice.headers = [(b"authorization", b"Bearer " + world.secret.encode())]
        return await twice(app)

    assert world.run(scenario).code == "key_malformed"


def test_a_long_credential_or_one_of_odd_characters_is_refused(world):
    async def scenario(app):
        for value in (
            b"Bearer " + b"x" * 100_000,
            b"Bearer \xff\xfe",
            b"Bearer eyJ" + b"." * 100_000,
            b"Bearer eyJ\xff",
        ):
            answer = await Request(
                f"/api/models/{world.plain.public_id}/invoke", {}, headers=[(b"authorization", value)]
            )(app)
            assert answer.status == 401, value[:20]

    world.run(scenario)


def test_the_name_of_a_site_may_be_in_any_script(world, settings):
    settings.SITE_NAME = "Агора"

    async def scenario(app):
        return await Request("/v1/chat/completions", {})(app)

    answer = world.run(scenario)
    assert (answer.status, answer.answered["www-authenticate"]) == (401, 'Bearer realm="?????"')


def test_texts_may_be_sent_as_many_tokens(world, upstream):
    upstream.answer = {"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 300_000}}

    async def scenario(app):
        body = {"model": f"{world.people.organization.slug}/{world.people.chat.slug}", "input": [list(range(300_000))]}
        return await Request("/v1/embeddings", body, world.secret)(app)

    answer = world.run(scenario)
    assert answer.status == 200, answer.received[:300]


def test_whose_role_does_not_cover_calls_makes_none(world):
    members = {role: make_person(organization=world.people.organization, role=role) for role in ("member", "billing")}
    ids = {role: (world.people.organization.pk, member.pk) for role, member in members.items()}
    ids["stranger"] = (world.people.organization.pk, make_person().pk)

    async def scenario(app):
        gateway = await app_module.running_gateway()
        found = {}
        for name, who in ids.items():
            try:
                found[name] = await gateway.find_listing(world.plain.pk, await gateway.snapshots.caller_of_person(who))
            except Problem as problem:
                found[name] = problem
        return found

    found = world.run(scenario)
    assert found["member"].id == world.plain.pk
    assert isinstance(found["billing"], RoleRequired)
    assert isinstance(found["stranger"], RoleRequired)


def test_an_endpoint_whose_secrets_do_not_open_is_not_called(world):
    broken = make_model(publisher=world.people.organization, name="Broken", status="published")
    make_endpoint(broken, sealed_signing_key=b"sealed under a key that is gone")

    async def scenario(app):
        return await Request(f"/api/models/{broken.public_id}/invoke", {"text": "x"}, world.secret)(app)

    answer = world.run(scenario)
    assert (answer.status, answer.code) == (409, "model_not_callable")


def test_a_body_too_large_for_a_schema_of_many_steps_is_refused():
    schema = Schema.of_row(
        {"version_id": uuid7(), "input_schema": {"type": "object", "properties": {str(n): {} for n in range(4000)}}},
        "input",
    )
    assert schema.violations({"a": 1}, 1000) == []
    (fault,) = schema.violations({"a": 1}, 1_000_000)
    assert fault["code"] == "too_complex"


# --- What is held -----------------------------------------------------------------------------------------------------


def call_of(body: dict, kind: str = "chat", size: int = 100, max_cost_nano: int | None = None, **rates: int) -> Call:
    price = Price(**{"input_nano_per_million": 10**6, "output_nano_per_million": 10**6, **rates})
    listing = SimpleNamespace(price=price, endpoint=SimpleNamespace(max_cost_nano=max_cost_nano))
    return Call(Caller(uuid7(), uuid7()), listing, kind, body, size)


@pytest.mark.parametrize(
    ("kind", "body", "tokens"),
    [
        ("chat", {}, 4096),
        ("chat", {"max_tokens": 7}, 7),
        ("chat", {"max_tokens": 7, "max_completion_tokens": 9}, 9),
        ("chat", {"max_tokens": -7}, 4096),
        ("chat", {"max_tokens": True}, 4096),
        ("chat", {"max_tokens": 7, "n": 3}, 21),
        ("chat", {"max_tokens": 7, "n": 10**9}, 7 * 128),
        ("completion", {"max_tokens": 7, "n": 2, "best_of": 5}, 35),
        ("completion", {"max_tokens": 7, "prompt": "one"}, 7),
        ("completion", {"max_tokens": 7, "prompt": ["one", "two"]}, 14),
        ("completion", {"max_tokens": 7, "prompt": [1, 2, 3]}, 7),
        ("completion", {"max_tokens": 7, "prompt": [[1, 2], [3]]}, 14),
        ("completion", {"max_tokens": 7, "prompt": []}, 7),
        ("embedding", {"input": "x"}, 0),
    ],
)
def test_every_token_that_may_come_back_is_held(kind, body, tokens):
    assert max_output_tokens(kind, body) == tokens
    assert hold_of(call_of(body, kind)) == 100 + tokens


@pytest.mark.parametrize(
    ("allowed", "address", "may_come"),
    [
        ([], "", True),
        (["203.0.113.0/24"], "203.0.113.7", True),
        (["203.0.113.0/24"], "203.0.114.7", False),
        (["203.0.113.0/24"], "", False),
        (["203.0.113.0/24"], "2001:db8::1", False),
        (["2001:db8::/32"], "2001:db8::1", True),
        (["2001:db8::/32"], "2001:db9::1", False),
        (["2001:db8::/32", "203.0.113.7/32"], "203.0.113.7", True),
    ],
)
def test_a_key_is_for_its_networks_of_both_families(allowed, address, may_come):
    caller = Caller(uuid7(), uuid7(), allowed_networks=tuple(ip_network(network) for network in allowed))
    assert caller.may_come_from(address) is may_come


def test_parts_that_are_no_text_are_held_beyond_their_bytes():
    parts = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]
    body = {"messages": [{"role": "user", "content": parts}, {"content": "x"}, 5], "max_tokens": 1}
    assert hold_of(call_of(body)) == 100 + PART_TOKENS + 1


def test_no_hold_is_larger_than_the_endpoint_says():
    assert hold_of(call_of({}, max_cost_nano=50)) == 50


def test_what_no_budget_could_hold_is_a_fault_of_the_request():
    with pytest.raises(ValidationFailed) as raised:
        hold_of(call_of({"max_tokens": 10**9, "n": 128}, output_nano_per_million=2**63 - 1))
    assert raised.value.errors[0]["code"] == "cost_out_of_range"
    assert hold_of(call_of({}, per_call_nano=MAX_HOLD_NANO, input_nano_per_million=0, output_nano_per_million=0)) > 0


# --- Money over a connection that breaks ------------------------------------------------------------------------------


def reserve(hold: int = 0, budgets: tuple = (), id=None, **values) -> Reserve:
    ids = {name: uuid7() for name in ("organization_id", "publisher_id", "ai_model_id", "version_id", "price_id")}
    flags = {"user_id": None, "api_key_id": None, "kind": "invoke", "mode": "live", "is_streamed": False}
    return Reserve.of(id=id or uuid7(), hold_nano=hold, budget_ids=budgets, **ids | flags | values)


def settle(of: Reserve, cost: int = 0) -> Settle:
    return Settle(of.id, Rule.DEMO, cost, 0, 0, "counted", 200, "", 5, None)


def with_money(scenario):
    """Run `scenario(money)` on a connection of its own."""

    async def main():
        money = Money(configured.DATABASE_URL)
        try:
            return await scenario(money)
        finally:
            await money.close()

    return asyncio.run(main())


def state(id) -> tuple[str, str] | None:
    return Invocation.objects.filter(pk=id).values_list("state", "rule").first()


def test_connections_that_a_restart_ended_are_noticed_by_nobody(world):
    async def scenario(app):
        assert (await world.invoke()(app)).status == 200
        assert world.end_connections() >= 2
        await asyncio.sleep(1.1)  # the snapshots are read anew
        return await world.invoke()(app)

    assert world.run(scenario).status == 200


def test_one_call_that_cannot_be_written_fails_alone(world):
    good, bad = reserve(), reserve(id=first_uuid(datetime(1990, 1, 1, tzinfo=UTC)))  # a day without a partition

    async def scenario(money):
        return await asyncio.gather(money.reserve(bad), money.reserve(good), return_exceptions=True)

    failed, passed = with_money(scenario)
    assert isinstance(failed, MoneyUnavailable)
    assert failed.headers["Retry-After"] == "5"
    assert passed is None
    assert state(good.id) == ("started", "")
    with_money(lambda money: money.settle(settle(good)))


class AnswerLost:
    """A connection that breaks after the server has committed and before its answer arrives, once."""

    def __init__(self, connection) -> None:
        self._connection = connection

    def __getattr__(self, name):
        return getattr(self._connection, name)

    async def run(self, parameters):
        await self._connection.run(parameters)
        await self._connection.close()
        raise psycopg.OperationalError("the connection was reset")


def test_what_was_committed_and_not_answered_is_done_once(world):
    budget = ensure_account(world.people.organization)
    call = reserve(40, (budget.pk,), organization_id=world.people.organization.pk)

    async def scenario(money):
        money._connection = AnswerLost(await money._connect())
        assert await money.reserve(call) is None
        held = await Budget.objects.aget(pk=budget.pk)
        money._connection = AnswerLost(await money._connect())
        assert await money.settle(settle(call, 30)) is True, "it was ours"
        assert await money.settle(settle(call, 30)) is False, "another one's, if nothing was lost"
        return held

    held = with_money(scenario)
    assert held.held - budget.held == 40
    after = Budget.objects.get(pk=budget.pk)
    assert (after.held - budget.held, after.spent - budget.spent) == (0, 30)


@pytest.mark.parametrize("rule", [Rule.ORPHAN_VOID, Rule.ORPHAN_PROGRESS, Rule.ORPHAN_CONFIRMED])
def test_what_the_orphan_rule_ended_meanwhile_is_not_taken_for_ours(world, rule):
    call = reserve()

    async def scenario(money):
        await money.reserve(call)
        await money.settle(Settle(call.id, rule, 0, 0, 0, "", 503, "gateway_stopped", 0, None))
        money._connection = AnswerLost(await money._connect())
        return await money.settle(settle(call, 30))

    assert with_money(scenario) is False


def test_an_end_of_ours_that_charges_nothing_is_ours_too(world):
    call = reserve()

    async def scenario(money):
        await money.reserve(call)
        money._connection = AnswerLost(await money._connect())
        return await money.settle(Settle(call.id, Rule.ORPHAN_VOID, 0, 0, 0, "", 503, "gateway_stopped", 7, None))

    assert with_money(scenario) is True


def test_a_server_that_says_nothing_is_given_up_on(world, monkeypatch):
    monkeypatch.setattr(money_module, "ATTEMPT_SECONDS", 0.2)
    monkeypatch.setattr(money_module, "RETRY_SECONDS", 0.5)

    async def scenario(app):
        assert (await world.invoke()(app)).status == 200
        with world.locked_budgets():
            return await world.invoke()(app)

    answer = world.run(scenario)
    assert (answer.status, answer.code, answer.answered["retry-after"]) == (503, "ledger_unavailable", "5")


def test_a_settlement_that_cannot_be_made_is_503_said_in_the_log_and_left_to_the_orphan_rule(
    world, upstream, monkeypatch, caplog
):
    usage = {"prompt_tokens": 10, "completion_tokens": 20}
    upstream.behave = stream_of(chunk("abcd"), chunk(finish="stop", usage=usage), pause=0.2)

    async def scenario(app):
        request = world.stream()
        call = asyncio.create_task(request(app))
        await request.has_begun.wait()
        monkeypatch.setattr(money_module, "ATTEMPT_SECONDS", 0.2)  # the reservation had all the time it wanted
        monkeypatch.setattr(money_module, "RETRY_SECONDS", 0.3)
        with world.locked_budgets():
            await call
        with psycopg.connect(world.database, autocommit=True) as owner:
            owner.execute("UPDATE gateway_invocation SET beat_at = now() - interval '1 hour' WHERE state = 'started'")
        assert await sync_to_async(settle_orphans)() == 1
        return request

    answer = world.run(scenario)
    error, done = answer.received.split(b"data: ")[-2:]
    assert (json.loads(error)["error"]["code"], done) == ("ledger_unavailable", b"[DONE]\n\n")
    assert world.rules == ["orphan_void"]
    (record,) = [record for record in caplog.records if record.message == "call_not_settled"]
    assert (record.output_tokens, record.cost_nano) == (20, 30_000)


def test_an_answer_is_withheld_when_the_orphan_rule_has_ended_its_call(world, upstream):
    """As in a process that was stopped for minutes: its receipt says by now that nothing was delivered."""

    async def scenario(app):
        released = asyncio.Event()

        async def hang(request):
            while not released.is_set():
                await asyncio.sleep(0.01)
            return web.json_response({"label": "ok"})

        upstream.behave = hang
        call = asyncio.create_task(world.invoke()(app))
        await until(lambda: upstream.seen)
        with psycopg.connect(world.database, autocommit=True) as owner:
            owner.execute("UPDATE gateway_invocation SET beat_at = now() - interval '1 hour' WHERE state = 'started'")
        assert await sync_to_async(settle_orphans)() == 1
        released.set()
        return await call

    answer = world.run(scenario)
    assert (answer.status, answer.code, answer.answered["retry-after"]) == (503, "ledger_unavailable", "5")
    assert "x-cost-usd" not in answer.answered
    assert world.rules == ["orphan_void"]


def test_without_redis_each_process_allows_its_share(world, settings):
    settings.REDIS_URL, settings.LIMITER_PROCESSES, settings.API_RATE_PER_MINUTE = "redis://127.0.0.1:1/0", 10, 20

    async def scenario(app):
        return [(await world.invoke()(app)).status for _ in range(4)]

    assert world.run(scenario) == [200, 200, 429, 429]


# --- Snapshots --------------------------------------------------------------------------------------------------------


def test_a_value_is_read_once_however_many_ask_and_again_when_it_is_old(monkeypatch):
    monkeypatch.setattr(snapshot_module, "TTL_SECONDS", 0.05)
    monkeypatch.setattr(snapshot_module, "AHEAD_SECONDS", 0)
    loads = []

    async def load(key):
        loads.append(key)
        await asyncio.sleep(0.01)
        return len(loads)

    async def scenario():
        cache = TTLCache(load)
        assert await asyncio.gather(*(cache("a") for _ in range(5))) == [1] * 5
        assert await cache("a") == 1
        await asyncio.sleep(0.06)
        return await cache("a")

    assert asyncio.run(scenario()) == 2


def test_what_is_asked_for_to_the_end_is_read_ahead_and_nobody_waits(monkeypatch):
    monkeypatch.setattr(snapshot_module, "TTL_SECONDS", 0.2)
    monkeypatch.setattr(snapshot_module, "AHEAD_SECONDS", 0.1)
    reads = []

    async def load(key):
        reads.append(time.monotonic())
        await asyncio.sleep(0.02)
        if len(reads) == 2:
            raise ServiceUnavailable()  # of which nobody hears
        return len(reads)

    async def scenario():
        cache = TTLCache(load)
        assert await cache("a") == 1
        given = []
        while time.monotonic() < reads[0] + 0.5:
            at = time.monotonic()
            if (value := cache.get("a")) is not None:
                given.append((value, at))
            elif given[-1][0] == 1:  # a machine so busy that it missed the time to read ahead
                with contextlib.suppress(ServiceUnavailable):
                    await cache("a")
            await asyncio.sleep(0.005)
        return given

    given = asyncio.run(scenario())
    assert {value for value, _ in given} >= {1, 3}
    assert all(at - reads[value - 1] < 0.2 for value, at in given), "nothing is given that is older than it may be"
    assert reads[1] - reads[0] > 0.09, "nor read again before it is time"


def test_a_failed_read_fails_those_who_wait_and_is_not_remembered():
    answers = [ServiceUnavailable(), 7]

    async def load(key):
        await asyncio.sleep(0.01)
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def scenario():
        cache = TTLCache(load)
        failed = await asyncio.gather(cache("a"), cache("a"), return_exceptions=True)
        assert [type(error) for error in failed] == [ServiceUnavailable] * 2
        return await cache("a")

    assert asyncio.run(scenario()) == 7


def test_whoever_gives_up_takes_nothing_from_the_others():
    async def load(key):
        await asyncio.sleep(0.02)
        return key

    async def scenario():
        cache = TTLCache(load)
        first, second = asyncio.create_task(cache("a")), asyncio.create_task(cache("a"))
        await asyncio.sleep(0.01)
        first.cancel()
        return await second

    assert asyncio.run(scenario()) == "a"


def test_no_more_is_remembered_than_the_size():
    async def load(key):
        return key

    async def scenario():
        cache = TTLCache(load, size=3)
        assert [await cache(key) for key in range(10)] == list(range(10))
        return len(cache._known)

    assert asyncio.run(scenario()) == 3
