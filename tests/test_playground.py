"""The playground of a whole instance: streamed, left in the middle, and its code run as people would run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from decimal import Decimal
from html import unescape
from http.client import HTTPConnection, HTTPResponse
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.client import Client, make_key, sign_up

PASSWORD = "correct horse 42"


class Browser:
    """A session, without a browser: it keeps cookies and sends forms with the page's token."""

    def __init__(self, url: str) -> None:
        self.url, self.cookies = url, SimpleCookie()

    def open(self, method: str, path: str, values: dict[str, str] | None = None, accept: str = "text/html") -> Any:
        """The connection and its answer, not yet read."""
        address = urlsplit(self.url)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=30)
        headers = {"Accept": accept, "Cookie": "; ".join(f"{c.key}={c.value}" for c in self.cookies.values())}
        if "csrf" in self.cookies:
            headers["X-CSRFToken"] = self.cookies["csrf"].value
        if values is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, values and urlencode(values), headers)
        answer = connection.getresponse()
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            self.cookies.load(cookie)
        return connection, answer

    def send(self, method: str, path: str, *args: Any) -> tuple[HTTPResponse, str]:
        connection, answer = self.open(method, path, *args)
        body = answer.read().decode()
        connection.close()
        return answer, body

    def log_in(self, email: str) -> None:
        self.send("GET", "/accounts/login/")
        answer, _ = self.send("POST", "/accounts/login/", {"login": email, "password": PASSWORD})
        assert answer.status == 302, answer.status


@pytest.fixture(scope="module")
def person(stack) -> Client:
    return sign_up(stack, "playground@example.org", password=PASSWORD)


@pytest.fixture(scope="module")
def key(person) -> Client:
    return make_key(person)


@pytest.fixture(scope="module")
def browser(stack, person) -> Browser:
    found = Browser(stack.url)
    found.log_in("playground@example.org")
    return found


def receipt_of(person: Client, request_id: str) -> dict[str, Any]:
    """Once the call is settled."""
    deadline = time.monotonic() + 10
    while True:
        answer = person.get(f"/api/requests/{request_id}")
        assert answer.status == 200, answer
        if answer.json["state"] == "final":
            return answer.json
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)


SENT = {"input.messages": "I am a little tired of my job.", "input.seed": "7"}


def test_a_stream_is_settled_once_and_shows_what_the_receipt_says(person, browser):
    answer, body = browser.send("POST", "/models/demo/eliza/playground", SENT | {"stream": "on"}, "text/event-stream")
    assert (answer.status, answer.headers.get_content_type()) == (200, "text/event-stream")
    events = body.strip().split("\n\n")
    request_id = answer.headers["x-request-id"]
    assert json.loads(events[0].partition("data: ")[2])["request_id"] == request_id
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[1:-2]]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    receipt = receipt_of(person, request_id)
    assert Decimal(str(chunks[-1]["usage"]["cost"])) == Decimal(receipt["cost"]["amount"]) > 0
    assert receipt["rule"]["code"] == "usage_reported"
    assert receipt["key_id"] is None
    shown = json.loads(events[-1].partition("data: ")[2])["figures"]
    assert f"/requests/{request_id}" in shown
    assert f">{receipt['usage']['output_tokens']}</dd>" in shown
    _, page = browser.send("GET", "/models/demo/eliza/playground")
    assert page.count(f'data-again="{request_id}"') == 1


def test_a_stream_that_is_left_is_read_to_its_end_and_paid_for(person, browser):
    connection, answer = browser.open(
        "POST", "/models/demo/eliza/playground", SENT | {"stream": "on"}, "text/event-stream"
    )
    request_id = answer.headers["x-request-id"]
    assert answer.readline().startswith(b"event: start")
    connection.sock.close()
    answer.close()
    receipt = receipt_of(person, request_id)
    assert receipt["rule"]["code"] == "usage_reported"
    assert receipt["usage"]["output_tokens"] > 3
    assert Decimal(receipt["cost"]["amount"]) > 0


RUNS = [
    ("eliza", SENT, "text/event-stream"),
    ("eliza", SENT | {"input.max_tokens": "5", "system": 'It\'s $HOME `x` "q"\\n é\n–'}, "application/json"),
    ("embed", {"input.input": 'The cat\'s "mat"', "input.dimensions": "16"}, "application/json"),
    ("language-id", {"input.text": "Où est l'hôtel « Central » ?\nMerci\\"}, "application/json"),
]


@pytest.mark.parametrize(("slug", "sent", "accept"), RUNS, ids=["stream", "chat", "embeddings", "invoke"])
def test_the_code_shown_does_what_was_just_done(key, browser, slug, sent, accept):
    stream = {"stream": "on"} if accept == "text/event-stream" else {}
    answer, body = browser.send("POST", f"/models/demo/{slug}/playground", sent | stream, accept)
    assert answer.status == 200, body
    if stream:
        events = body.strip().split("\n\n")
        told = json.loads(events[0].partition("data: ")[2])
        raw = [json.loads(event.removeprefix("data: ")) for event in events[1:-2]]
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in raw)
    else:
        told = json.loads(body)
        raw = json.loads(told["raw"])
        text = told["answer"].get("text", "")
    shell, python, _ = sources_in(told["code"])

    curled = run(["bash", "-c", shell.replace("curl", "curl -sS", 1)], key)
    printed = run([sys.executable, "-c", python], key)
    if stream:
        chunks = [json.loads(line[6:]) for line in curled.splitlines() if line.startswith("data: {")]
        assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == text
        assert printed == text
    elif slug == "eliza":
        assert json.loads(curled)["choices"] == raw["choices"]
        assert printed.strip() == text
    elif slug == "embed":
        assert json.loads(curled)["data"] == raw["data"]
        assert printed.strip() == "16"
    else:
        assert json.loads(curled) == raw
        assert printed.strip() == str(raw)


def sources_in(html: str) -> list[str]:
    """The text of each tab of a code block."""
    blocks = re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", html, re.DOTALL)
    return [unescape(re.sub("<[^>]+>", "", block)) for block in blocks]


def run(command: list[str], key: Client) -> str:
    environment = {**os.environ, "AGORAI_API_KEY": key.credential, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
