"""Hostile addresses set as endpoints, through the front door: nothing on the inside is ever reached."""

import pytest
from aiohttp import web

from gateway.tests.upstream import FakeUpstream
from tests.client import Client, make_key, sign_up
from tests.test_publish_story import DRAFT

HOSTS = [
    "127.0.0.1 127.1 127.0.1 127.1.2.3 2130706433 0x7f000001 0x7f.1 0177.0.0.1 017700000001 0 0.0.0.0 0x0",
    "localhost LOCALHOST localhost. foo.localhost [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1] [::127.0.0.1] ①②⑦.⓪.⓪.① 127。0。0。1 １２７.0.0.1 [64:ff9b::7f00:1]",
    "[2002:7f00:1::] [fe80::1%25lo] user:pw@127.0.0.1 public.test@127.0.0.1 127.0.0.1%2f@public.test",
    "169.254.169.254 10.0.0.1 192.168.0.1 100.64.0.1 168.63.129.16",
]


@pytest.fixture(scope="module")
def canary():
    with FakeUpstream(answer={"loud": "CANARY"}) as found:
        yield found


@pytest.fixture(scope="module")
def publisher(stack):
    person = sign_up(stack, "hostile@example.org")
    assert person.post("/api/auth/become-developer").status == 200
    return person


def test_no_endpoint_leads_inside(publisher, canary):
    """Every address is either refused when it is set, or the call through it fails without reaching the canary."""
    key = make_key(publisher)
    made = publisher.post("/api/models", DRAFT | {"name": "Hostile", "pricing": {"type": "free"}})
    assert made.status == 201, made
    model = made.json["id"]
    accepted = 0
    for scheme in ("http", "https"):
        for host in " ".join(HOSTS).split():
            url = f"{scheme}://{host}:{canary.port}/latest/meta-data/"
            answer = publisher.put(f"/api/models/{model}/endpoint", {"url": url, "protocol": "json"})
            assert answer.status in (200, 422), (url, answer)
            if answer.status == 200:
                accepted += 1
                call = key.post(f"/api/models/{model}/invoke", {"text": "x"})
                assert call.status in (502, 504), (url, call)
            else:
                assert answer.json["errors"][0]["pointer"] == "/url"
    for url in ("file:///etc/passwd", "gopher://127.0.0.1/x", "ftp://example.org/", "//127.0.0.1/", "", "http://"):
        assert publisher.put(f"/api/models/{model}/endpoint", {"url": url, "protocol": "json"}).status == 422, url
    assert canary.seen == []


def test_the_canary_is_alive(canary):
    assert Client(canary.url).get("/").json == {"loud": "CANARY"}


TARGETS = ["http://127.0.0.1:{port}/r", "http://[::1]:{port}/r", "http://2130706433:{port}/r", "//127.0.0.1:{port}/r"]
TARGETS += ["file:///etc/passwd", "gopher://127.0.0.1:{port}/x"]


def test_an_endpoint_that_is_allowed_leads_nowhere_else(stack, publisher, canary):
    """The operator allowed one address; what it redirects to is not followed, streamed or not."""
    before = len(canary.seen)
    targets = iter([target.format(port=canary.port) for target in TARGETS for _ in range(2)])

    async def redirect(request):
        return web.Response(status=307, headers={"Location": next(targets)})

    with FakeUpstream(behave=redirect) as upstream:
        allowed = f"127.0.0.1/32:{upstream.port}"
        site = stack.start_gateway(OUTBOUND_ALLOWED_NETWORKS=allowed, OUTBOUND_ALLOW_HTTP="true")
        person = Client(site, publisher.credential)
        made = person.post("/api/models", DRAFT | {"name": "Redirecting", "pricing": {"type": "free"}}).json["id"]
        endpoint = {"url": f"{upstream.url}/v1", "protocol": "openai"}
        assert person.put(f"/api/models/{made}/endpoint", endpoint).status == 200
        key = make_key(person)
        for _ in TARGETS:
            for stream in (False, True):
                body = {"text": "x", "messages": [], "stream": stream}
                answer = key.post(f"/api/models/{made}/invoke", body)
                assert (answer.status, answer.json["code"]) == (502, "upstream_error"), answer
        assert len(upstream.seen) == 2 * len(TARGETS)
    assert len(canary.seen) == before
