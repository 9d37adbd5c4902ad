"""The playground: its form, a run in each of its three shapes, what it costs, and what is kept of it."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from aiohttp import web
from django.conf import settings as configured
from django.core.asgi import get_asgi_application
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Budget, Organization
from accounts.tests.factories import code_in, mails_to, make_client, make_user, new_address
from apikeys.tests.factories import make_person
from billing.models import CreditGrant
from billing.services import end_grant, ensure_account, grant_credit, post_usage
from common.ids import first_uuid, uuid7
from gateway.forms import MAX_LINK, PlaygroundForm
from gateway.hotpath import stream as stream_module
from gateway.hotpath.orm import run_in_django
from gateway.models import Invocation
from gateway.services import check_books, set_endpoint
from gateway.tests.asgi import Request, running_app
from gateway.tests.factories import make_call, make_endpoint
from gateway.tests.upstream import chunk, stream_of
from gateway.views import RUNS_SHOWN
from marketplace.models import MEASURED_DAYS, Measurement
from marketplace.services import Terms, find_model
from marketplace.tests.factories import LABEL_OUT, make_model, make_organization

ITEMS = {"type": "object", "properties": {"role": {"type": "string"}, "content": {"type": "string"}}}
CHAT_IN = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": {"type": "array", "minItems": 1, "items": ITEMS},
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 4096, "x-order": 1},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    },
}
CHAT_OUT = {"type": "object", "required": ["choices"], "properties": {"choices": {"type": "array"}}}
TEXT_IN = {
    "type": "object",
    "required": ["text"],
    "properties": {
        "text": {"type": "string", "examples": ["An example."]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "loud": {"type": "boolean", "default": True},
        "size": {"enum": ["a", "b"], "default": "b"},
        "token": {"type": "string", "format": "password"},
        "picture": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"},
        "more": {"type": "object"},
    },
}
PER_TOKEN = Terms(type="paid", input_nano_per_million=10**9, output_nano_per_million=10**9)
ADDRESS = "/models/acme/plain/playground"


def html_of(response, status=200):
    assert response.status_code == status, response.content[:500]
    return response.content.decode()


# --- The form ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def plain(db):
    acme = make_organization(slug="acme")
    ai_model = make_model(
        publisher=acme, name="Plain", status="published", api_spec={"input": TEXT_IN, "output": LABEL_OUT}
    )
    make_endpoint(ai_model, protocol="json")
    return ai_model


@pytest.fixture
def browser(db):
    found = Client()
    found.force_login(make_user(name="Ada Lovelace"))
    return found


def test_everybody_sees_the_form_of_a_published_model(plain):
    html = html_of(Client().get(ADDRESS))
    assert html.count("<h1>") == 1
    assert 'name="input.text"' in html
    assert "More settings (6)" in html
    assert 'enctype="multipart/form-data"' in html
    assert "Log in to run it" in html
    assert "Your last runs" not in html
    assert "data-runs" not in html


def test_a_person_sees_who_pays(plain, browser):
    html = html_of(browser.get(ADDRESS))
    assert "Uses the credit of Ada Lovelace" in html
    assert re.search(r"</svg>Run<kbd", html)
    assert "free" in html


def test_a_draft_is_hidden_and_a_model_without_an_endpoint_says_so(db):
    acme = make_organization(slug="acme")
    make_model(publisher=acme, name="Plain")
    assert Client().get(ADDRESS).status_code == 404
    make_model(publisher=acme, name="Bare", status="published")
    html = html_of(Client().get("/models/acme/bare/playground"))
    assert "Nothing to run here" in html
    assert "<form" not in html.partition("<main")[2].partition("</main>")[0]


def test_a_link_carries_values_but_neither_secrets_nor_files(plain):
    values = {"input.text": "a\r\nb <i>", "input.loud": "", "input.token": "hush", "input.picture": "x", "other": "y"}
    html = html_of(Client().get(f"{ADDRESS}?{urlencode(values)}"))
    assert "a\nb &lt;i&gt;</textarea>" in html
    assert "hush" not in html.partition("<main")[2].partition("</main>")[0]
    assert not re.search(r'name="input.loud" value="true" checked', html)
    link = re.search(r'data-copy="(http://testserver[^"]*playground[^"]*)"', html)[1].replace("&amp;", "&")
    assert parse_qs(urlsplit(link).query, keep_blank_values=True) == {"input.text": ["a\nb <i>"], "input.loud": [""]}


def test_a_link_is_short_or_nothing(plain):
    form = PlaygroundForm(plain, None, values={"input.text": "x" * MAX_LINK})
    assert form.query == ""


def test_an_example_is_a_link_away(plain):
    html = html_of(Client().get(ADDRESS))
    assert "An example.</textarea>" not in html
    assert f'href="{ADDRESS}?example=0"' in html
    assert "An example.</textarea>" in html_of(Client().get(f"{ADDRESS}?example=0"))
    html_of(Client().get(f"{ADDRESS}?example=nonsense"))


def test_a_stranger_is_sent_to_log_in_and_comes_back_to_the_same_inputs(plain):
    sent = {"input.text": "kept & safe", "input.size": '"a"', "input.loud": "true", "input.token": "hush"}
    response = Client().post(ADDRESS, sent)
    assert response.status_code == 302
    address = urlsplit(response["Location"])
    assert address.path == "/accounts/login/"
    back = parse_qs(address.query)["next"][0]
    assert "hush" not in back
    html = html_of(Client().get(back))
    assert "kept &amp; safe</textarea>" in html
    assert re.search(r'value="&quot;a&quot;" checked', html)
    response = Client().post(ADDRESS, sent | {"then": "signup"})
    assert urlsplit(response["Location"]).path == "/accounts/signup/"
    assert Invocation.objects.count() == 0


def test_inputs_survive_the_way_through_a_sign_up(plain):
    client, email = make_client(), new_address()
    entrance = client.post(ADDRESS, {"input.text": "kept", "then": "signup"})["Location"]
    values = {"email": email, "name": "Ada", "password1": "a long way to Tipperary"}
    page = html_of(client.get(entrance))
    back = unescape(re.search(r'name="next" value="([^"]+)"', page)[1])
    answer = client.post(entrance.partition("?")[0], {**values, "next": back})
    assert answer.status_code == 302, answer.content
    confirm = answer["Location"]
    answer = client.post(confirm, {"code": code_in(mails_to(email)[0])})
    assert (answer.status_code, answer["Location"]) == (302, back)
    assert "kept</textarea>" in html_of(client.get(back))


def test_what_does_not_fit_is_said_at_its_field_and_nothing_is_lost(plain, browser):
    sent = {"input.text": "kept <b>", "input.count": "12", "input.more": "{", "input.size": '"a"'}
    html = html_of(browser.post(ADDRESS, sent), 422)
    assert "kept &lt;b&gt;</textarea>" in html
    assert '<div class="errors" id="errors" role="alert" tabindex="-1" data-focus autofocus>' in html
    assert '<a href="#id_input_count">Count</a>: Enter a whole number from 1 to 9.' in html
    assert '<a href="#id_input_more">More</a>: This is not JSON' in html
    assert re.search(r'id="id_input_count"[^>]*value="12"[^>]*aria-invalid="true"', html)
    assert re.search(r'<details class="facet"[^>]* open', html)
    assert Invocation.objects.count() == 0


def test_a_script_gets_the_errors_as_json(plain, browser):
    answer = browser.post(ADDRESS, {"input.count": "12"}, headers={"accept": "text/event-stream"})
    assert answer.status_code == 422
    assert answer.json()["fields"] == {"id_input_count": "Enter a whole number from 1 to 9."}
    assert '<a href="#id_input_count">Count</a>' in answer.json()["errors"]


def test_a_file_of_the_wrong_kind_is_refused(plain, browser):
    wrong = SimpleUploadedFile("a.html", b"<b>", "text/html")
    html = html_of(browser.post(ADDRESS, {"input.text": "x", "input.picture": wrong}), 422)
    assert "Choose a file of type image/png; this one is text/html." in html


def test_a_run_needs_the_token_of_the_page(plain):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user())
    assert strict.post(ADDRESS, {"input.text": "x"}).status_code == 403


def test_a_script_whose_session_has_ended_is_told(plain):
    answer = Client().post(ADDRESS, {"input.text": "x"}, headers={"accept": "application/json"})
    assert answer.status_code == 401
    assert "Log in again" in answer.json()["message"]


def test_a_process_without_the_gateway_says_so(plain, browser):
    assert "another one" in html_of(browser.post(ADDRESS, {"input.text": "x"}), 421)


# --- What was run -----------------------------------------------------------------------------------------------------


def test_the_last_runs_are_ones_own_and_read_at_a_fixed_cost(plain, browser):
    user = make_user()
    own = user.personal_organization
    browser.force_login(user)

    def look():
        with CaptureQueriesContext(connection) as queries:
            html = html_of(browser.get(ADDRESS))
        return html, len(queries)

    look()  # what a process reads once is read
    make_call(plain, organization=make_user().personal_organization, user=make_user())
    shown = [make_call(plain, organization=own, user=user, cost_nano=1_000_000) for _ in range(3)]
    html, few = look()
    for call in shown:
        assert f'data-again="{call.public_id}"' in html
    assert html.count("data-again=") == 3
    for _ in range(27):
        make_call(plain, organization=own, user=user)
    html, many = look()
    assert html.count("data-again=") == RUNS_SHOWN
    assert many == few


def test_the_last_runs_are_found_by_an_index(plain):
    user = make_user()
    for _ in range(3):
        make_call(plain, organization=user.personal_organization, user=user)
    since = datetime.now(UTC) - timedelta(days=30)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    calls = Invocation.objects.tried_by(user, user.personal_organization, plain.id, since=since)
    assert len(calls[:RUNS_SHOWN]) == 3
    plan = calls[:RUNS_SHOWN].explain()
    assert "user_id_ai_model_id_id" in plan or "invocation_tried_by" in plan, plan
    assert "Sort Key" not in plan, plan


# --- Runs, through a real gateway -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(database, settings_of_module, upstream):
    """A person with credit; a chat priced per token and a model priced per call, on the upstream of the test."""
    person = make_person()
    publisher = make_organization(slug="acme")
    api_spec = {"input": CHAT_IN, "output": CHAT_OUT}
    chat = make_model(publisher=publisher, name="Chat", status="published", api_spec=api_spec, pricing=PER_TOKEN)
    set_endpoint(ai_model=chat, url=upstream.url, protocol="openai", timeout_seconds=5)
    per_call = Terms(type="paid", per_call_nano=1_000_000)
    plain = make_model(
        publisher=publisher, name="Plain", status="published", pricing=per_call,
        api_spec={"input": TEXT_IN, "output": LABEL_OUT},
    )  # fmt: skip
    set_endpoint(ai_model=plain, url=upstream.url, protocol="json", timeout_seconds=5)
    browser = Client()
    browser.force_login(person)
    cookie = browser.cookies[configured.SESSION_COOKIE_NAME].value
    return SimpleNamespace(person=person, chat=chat, plain=plain, cookie=cookie)


TOKEN = "t" * 32


class World:
    """The person at the browser, and what one test does with it."""

    def __init__(self, people: SimpleNamespace) -> None:
        self.people = people
        self.began = first_uuid(datetime.now(UTC))

    def post(self, values: dict, *, accept: str, slug: str = "chat") -> Request:
        cookies = f"{configured.SESSION_COOKIE_NAME}={self.people.cookie}; {configured.CSRF_COOKIE_NAME}={TOKEN}"
        headers = {"host": "localhost", "accept": accept, "cookie": cookies, "x-csrftoken": TOKEN}
        return Request(
            f"/models/acme/{slug}/playground",
            urlencode(values).encode(),
            headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            content_type="application/x-www-form-urlencoded",
        )

    def stream(self, **values) -> Request:
        return self.post({"input.messages": "hello", "stream": "on", **values}, accept="text/event-stream")

    def run(self, scenario):
        """Run `scenario(app)` in an application of its own, and look at the books afterwards."""

        async def main():
            async with running_app(get_asgi_application()) as app:
                return await scenario(app)

        found = asyncio.run(main())
        connections.close_all()
        assert not Invocation.objects.filter(state="started").exists()
        assert not Budget.objects.exclude(held=0).exists()
        assert check_books() == []
        return found

    @property
    def calls(self):
        return Invocation.objects.filter(id__gte=self.began).order_by("id")

    async def until_settled(self) -> None:
        async with asyncio.timeout(5):
            while not await run_in_django(self.calls.filter(state="final").exists):
                await asyncio.sleep(0.02)


@pytest.fixture
def world(people, upstream):
    upstream.answer, upstream.behave = {"label": "ok"}, None
    upstream.seen.clear()
    return World(people)


def events_of(request: Request) -> list[tuple[str, str]]:
    """(name, data) of each event; data events have no name."""
    found = []
    for event in request.received.decode().strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in event.split("\n"))
        found.append((lines.get("event", ""), lines["data"]))
    return found


def figures_of(html: str) -> dict[str, str]:
    cells = re.findall(r'data-cell="(\w+)"><dt>[^<]*</dt><dd>(.*?)</dd>', html)
    return {name: re.sub("<[^>]+>", "", value).replace("\N{NO-BREAK SPACE}", " ") for name, value in cells}


USAGE = {"prompt_tokens": 1000, "completion_tokens": 2000}
ANSWER = {"choices": [{"message": {"role": "assistant", "content": "<b>Hi</b>"}}], "usage": USAGE}


def test_a_streamed_run_comes_as_it_is_made_and_is_settled_once(world, upstream):
    upstream.behave = stream_of(chunk("Hel"), chunk("lo"), chunk(finish="stop"), chunk(choices=False, usage=USAGE))
    done = world.run(lambda app: world.stream(**{"input.max_tokens": "3000"})(app))
    assert (done.status, done.answered["content-type"]) == (200, "text/event-stream; charset=utf-8")
    (start, begun), *chunks, (_, end), (last, receipt) = events_of(done)
    assert (start, end, last) == ("start", "[DONE]", "receipt")
    texts = [json.loads(data)["choices"][0]["delta"].get("content") for _, data in chunks]
    assert texts == ["Hel", "lo", None]
    call = world.calls.get()
    assert json.loads(begun)["request_id"] == done.answered["x-request-id"] == call.public_id
    usage = json.loads(chunks[-1][1])["usage"]
    assert (call.rule, call.cost_nano, call.is_streamed) == ("usage_reported", 3_000_000, True)
    assert usage["cost"] == 0.003
    assert figures_of(json.loads(receipt)["figures"])["cost"] == "$0.003"
    # What is shown as sent is what a program would send, and what reached the upstream but for the model's name there.
    asked = {"model": "acme/chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3000}
    assert upstream.seen[0].json | {"model": "acme/chat"} == asked | {
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    shown = re.sub("<[^>]+>", "", json.loads(begun)["asked"]).replace("&quot;", '"')
    assert json.loads(shown[shown.index("{") : shown.rindex("}") + 1]) == asked | {"stream": True}
    assert (call.organization_id, call.user_id, call.api_key_id) == (
        world.people.person.personal_organization.id,
        world.people.person.id,
        None,
    )


def test_a_person_who_leaves_a_stream_pays_what_the_upstream_reports(world, upstream):
    upstream.behave = stream_of(
        chunk("abcd"), *[chunk("efgh")] * 20, chunk(finish="stop"), chunk(choices=False, usage=USAGE), pause=0.02
    )

    async def scenario(app):
        request = world.stream(**{"input.max_tokens": "3000"})
        visit = asyncio.create_task(request(app))
        await request.has_begun.wait()
        request.leave()
        await asyncio.wait_for(visit, 5)
        assert b"receipt" not in request.received
        await world.until_settled()

    world.run(scenario)
    call = world.calls.get()
    assert (call.rule, call.output_tokens, call.cost_nano) == ("usage_reported", 2000, 3_000_000)


def test_a_person_who_leaves_before_the_first_token_pays_for_it_too(world, upstream, monkeypatch):
    monkeypatch.setattr(stream_module, "DRAIN_SECONDS", 3)

    async def behave(request):
        await asyncio.sleep(0.4)
        return await stream_of(chunk("a", finish="stop"), chunk(choices=False, usage=USAGE))(request)

    upstream.behave = behave

    async def scenario(app):
        request = world.stream(**{"input.max_tokens": "3000"})
        visit = asyncio.create_task(request(app))
        async with asyncio.timeout(5):
            while not upstream.seen:
                await asyncio.sleep(0.02)
        request.leave()
        await asyncio.wait_for(visit, 5)
        await world.until_settled()

    world.run(scenario)
    assert (world.calls.get().rule, world.calls.get().cost_nano) == ("usage_reported", 3_000_000)


def test_an_answer_that_nobody_waits_for_is_paid_for(world, upstream):
    async def behave(request):
        await asyncio.sleep(0.3)
        return web.json_response({"label": "ok"})

    upstream.behave = behave

    async def scenario(app):
        request = world.post({"input.text": "x"}, accept="application/json", slug="plain")
        visit = asyncio.create_task(request(app))
        async with asyncio.timeout(5):
            while not upstream.seen:
                await asyncio.sleep(0.02)
        request.leave()
        await asyncio.wait_for(visit, 5)
        await world.until_settled()

    world.run(scenario)
    assert (world.calls.get().rule, world.calls.get().cost_nano) == ("per_call", 1_000_000)


def test_a_stream_that_breaks_says_so_and_shows_what_it_cost(world, upstream):
    upstream.behave = stream_of(chunk("abcd"), b'data: {"error": {"message": "no"}}\n\n')
    done = world.run(lambda app: world.stream()(app))
    names = [name for name, _ in events_of(done)]
    assert names[0] == "start"
    assert names[-1] == "receipt"
    assert any('"upstream_error"' in data for _, data in events_of(done))
    figures = figures_of(json.loads(events_of(done)[-1][1])["figures"])
    assert figures["status"] == str(world.calls.get().http_status)
    assert figures["cost"] != "$0.00"


def test_a_stream_that_never_began_is_a_plain_error_with_its_receipt(world, upstream):
    async def behave(request):
        return web.json_response({}, status=500)

    upstream.behave = behave
    done = world.run(lambda app: world.stream()(app))
    assert done.status == 502
    assert done.json["status"] == 502
    assert "errors" not in done.json
    assert figures_of(done.json["figures"]) == {
        "status": "502",
        "first": "–",
        "total": figures_of(done.json["figures"])["total"],
        "in": "0",
        "out": "0",
        "cost": "$0.00",
    }


def test_without_a_stream_a_script_gets_the_answer_in_one_piece(world, upstream):
    upstream.answer = ANSWER
    values = {"input.messages": "hello", "input.max_tokens": "3000", "system": "Be kind."}
    done = world.run(lambda app: world.post(values, accept="application/json")(app))
    assert (done.status, done.json["answer"]) == (200, {"text": "<b>Hi</b>"})
    assert json.loads(done.json["raw"]) == ANSWER
    assert figures_of(done.json["figures"])["cost"] == "$0.003"
    assert [message["role"] for message in upstream.seen[0].json["messages"]] == ["system", "user"]
    assert "stream" not in upstream.seen[0].json


def test_without_javascript_the_page_comes_back_with_the_answer(world, upstream):
    upstream.answer = ANSWER
    values = {"input.messages": "hello", "input.max_tokens": "3000", "stream": "on"}
    done = world.run(lambda app: world.post(values, accept="text/html,*/*;q=0.8")(app))
    html = done.received.decode()
    assert done.status == 200
    assert "&lt;b&gt;Hi&lt;/b&gt;" in html
    assert "<b>Hi" not in html
    call = world.calls.get()
    assert figures_of(html)["cost"] == "$0.003"
    assert f'data-again="{call.public_id}"' in html
    assert re.search(r">hello</textarea>|\nhello</textarea>", html)
    assert re.search(r'name="stream" value="on" checked', html)
    assert call.is_streamed is False


def test_the_most_it_can_cost_is_what_is_held(world, upstream):
    upstream.answer = ANSWER
    values = {"input.messages": "hello", "input.max_tokens": "3000"}
    world.run(lambda app: world.post(values, accept="application/json")(app))
    form = PlaygroundForm(
        world.people.chat, world.people.chat.current_version.endpoint, values=values, is_streamed=False
    )
    assert form.estimate.most == world.calls.get().hold_nano > 3_000_000


def leave_credit(organization: Organization, nano: int) -> None:
    ensure_account(organization)
    post_usage()
    for grant in CreditGrant.objects.filter(organization=organization, remaining_nano__gt=0):
        end_grant(grant=grant, reason="taken back")
    grant_credit(organization=organization, amount_nano=nano, source="given", key=f"given:{uuid7()}")


def test_a_call_that_the_credit_does_not_cover_says_where_to_look(world):
    values = {"input.messages": "x" * 1000, "input.max_tokens": "4096"}
    leave_credit(world.people.person.personal_organization, 1_000_000)
    try:
        done = world.run(lambda app: world.post(values, accept="application/json")(app))
        page = world.run(lambda app: world.post(values, accept="text/html")(app))
    finally:
        leave_credit(world.people.person.personal_organization, 5 * 10**9)
    assert (done.status, page.status) == (402, 402)
    assert done.json["link"] == {"href": f"{configured.SITE_URL}/usage", "text": "See what was spent"}
    assert f'href="{configured.SITE_URL}/usage">See what was spent</a>' in page.received.decode()
    assert world.calls.count() == 0


# --- Estimates --------------------------------------------------------------------------------------------------------


@pytest.fixture
def chat(db):
    acme = make_organization(slug="acme")
    api_spec = {"input": CHAT_IN, "output": CHAT_OUT}
    ai_model = make_model(publisher=acme, name="Chat", status="published", api_spec=api_spec, pricing=PER_TOKEN)
    return ai_model, make_endpoint(ai_model)


def test_an_estimate_says_what_is_known(chat):
    ai_model, endpoint = chat
    values = {"input.messages": "x" * 400, "input.max_tokens": "100"}
    estimate = PlaygroundForm(ai_model, endpoint, values=values).estimate
    assert estimate.about is None, "nobody knows yet how long its answers are"
    assert estimate.most > 500 * 1000
    Measurement.objects.create(
        ai_model=ai_model,
        requests=60,
        sample_size=60,
        typical_input_tokens=10,
        typical_output_tokens=30,
        days=["none"] * MEASURED_DAYS,
        measured_at=datetime.now(UTC),
    )
    ai_model = find_model(ai_model.public_id, organization=None)
    assert PlaygroundForm(ai_model, endpoint, values=values).estimate.about == (101 + 30) * 1000
    values["input.max_tokens"] = "7"
    assert PlaygroundForm(ai_model, endpoint, values=values).estimate.about == (101 + 7) * 1000


def test_the_estimate_follows_the_form(chat):
    client = Client()
    values = {"input.messages": "x", "input.max_tokens": "100", "stream": "on"}
    answer = client.post("/models/acme/chat/playground", values, headers={"hx-request": "true"})
    html = html_of(answer).strip()
    assert re.fullmatch(r"at most \$0\.000\d+", html), html
    assert Invocation.objects.count() == 0
