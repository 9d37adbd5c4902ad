"""The model server from outside: real answers, strict input, streams, and little memory."""

import http.client
import json
import math
import socket
import struct
import time
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from py3langid import langid

from examples.model_server import chat, embeddings, language, sentiment, tokens
from examples.tests.conftest import SECRET, RunningServer, run_server

Json = Any


def call(
    server: RunningServer, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, Json]:
    status, _, answer = exchange(server, method, path, json.dumps(body).encode() if body is not None else None, headers)
    return status, json.loads(answer)


def exchange(
    server: RunningServer, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def ask(server: RunningServer, **fields: object) -> tuple[int, Json]:
    messages = [{"role": "user", "content": "I need a holiday"}]
    body = {"model": "demo/eliza", "messages": messages} | fields
    return call(server, "POST", "/v1/chat/completions", body)


@pytest.fixture(scope="module")
def client(server: RunningServer):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


class TestPlainModels:
    @pytest.mark.parametrize(
        ("text", "label"),
        [
            ("I love this, it is wonderful!", "positive"),
            ("What a horrible, sad failure.", "negative"),
            ("The train leaves at nine.", "neutral"),
            ("It is not good at all.", "negative"),
            ("", "neutral"),
        ],
    )
    def test_sentiment(self, server: RunningServer, text: str, label: str):
        status, answer = call(server, "POST", "/sentiment", {"text": text})
        assert status == 200
        assert answer["label"] == label
        assert -1 <= answer["score"] <= 1
        assert set(answer["scores"]) == {"positive", "neutral", "negative"}

    def test_sentiment_of_a_long_text_takes_little_time(self):
        started = time.perf_counter()
        answer = sentiment.analyze("😀" * 20_000)
        assert answer["label"] == "positive"
        assert time.perf_counter() - started < 5  # in one piece it takes minutes

    def test_parts_of_a_long_text_are_the_text(self):
        text = "I love it, but it is not cheap 😀. " * 600
        parts = list(sentiment._parts(text))
        assert len(parts) > 1
        assert "".join(parts) == text

    @pytest.mark.parametrize(
        ("text", "code", "name"),
        [
            ("Where is the station, please?", "en", "English"),
            ("Wo ist der Bahnhof, bitte?", "de", "German"),
            ("Où est la gare, s'il vous plaît ?", "fr", "French"),
            ("¿Dónde está la estación, por favor?", "es", "Spanish"),
            ("駅はどこですか。", "ja", "Japanese"),
            ("Где находится вокзал?", "ru", "Russian"),
            ("12345 !?", "und", "Undetermined"),
        ],
    )
    def test_language(self, server: RunningServer, text: str, code: str, name: str):
        status, answer = call(server, "POST", "/language", {"text": text})
        assert status == 200
        assert (answer["language"], answer["name"]) == (code, name)
        assert 0 <= answer["confidence"] <= 1

    def test_mapped_tables_answer_as_the_package_does(self):
        theirs = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
        for text in ["Jag heter Anna och bor i Stockholm", "Ciao, come stai?", "你好，世界", "x", "Это русский текст"]:
            expected, confidence = theirs.classify(text)
            assert language.identify(text) == {
                "language": expected,
                "name": language.NAMES[expected],
                "confidence": pytest.approx(confidence, abs=1e-3),
            }
        assert set(theirs.labels) <= language.NAMES.keys()

    @pytest.mark.parametrize("path", ["/sentiment", "/language"])
    @pytest.mark.parametrize(
        ("body", "status", "code", "param"),
        [
            (b"", 400, "invalid_json", None),
            (b"{", 400, "invalid_json", None),
            (b"[1]", 400, "invalid_json", None),
            (b'{"text": NaN}', 400, "invalid_json", None),
            (b'{"text": "\\ud800"}', 400, "invalid_json", None),
            (b'{"text": "\xff"}', 400, "invalid_json", None),
            (b"[" * 100_000, 400, "invalid_json", None),
            (b"{}", 422, "invalid_value", "text"),
            (b'{"text": 5}', 422, "invalid_value", "text"),
            (b'{"text": "hi", "txet": 1}', 422, "unknown_field", "txet"),
            (json.dumps({"text": "a" * 20_001}).encode(), 422, "invalid_value", "text"),
            (b" " * (1 << 20) + b"{}", 413, "body_too_large", None),
        ],
    )
    def test_bad_input(self, server: RunningServer, path: str, body: bytes, status: int, code: str, param: str | None):
        found, headers, answer = exchange(server, "POST", path, body)
        error = json.loads(answer)["error"]
        assert (found, error["code"], error["param"]) == (status, code, param)
        assert headers["content-type"] == "application/json"
        assert error["message"]


class TestChat:
    def test_plain(self, client: openai.OpenAI):
        completion = client.chat.completions.create(
            model="demo/eliza", messages=[{"role": "user", "content": "I need a holiday"}], temperature=0.5
        )
        assert completion.choices[0].message.content == "What would it mean to you if you got a holiday?"
        assert completion.choices[0].finish_reason == "stop"
        assert completion.model == "demo/eliza"
        assert completion.usage is not None
        assert completion.usage.prompt_tokens == tokens.count_prompt(["I need a holiday"])
        assert completion.usage.completion_tokens == tokens.count(completion.choices[0].message.content)
        assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens

    def test_streamed(self, client: openai.OpenAI):
        stream = client.chat.completions.create(
            model="eliza",
            messages=[{"role": "user", "content": "I need a holiday"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == "What would it mean to you if you got a holiday?"
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
        assert all(chunk.usage is None for chunk in chunks[:-1])
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == tokens.count(text)

    def test_a_stream_reports_usage_only_when_asked(self, client: openai.OpenAI):
        stream = client.chat.completions.create(
            model="eliza", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        assert all(chunk.choices and chunk.usage is None for chunk in stream)

    def test_max_tokens(self, server: RunningServer):
        for name in ("max_tokens", "max_completion_tokens"):
            _, answer = ask(server, **{name: 3})
            assert answer["choices"][0]["message"]["content"] == "What would it"
            assert answer["choices"][0]["finish_reason"] == "length"
            assert answer["usage"]["completion_tokens"] == 3

    def test_max_tokens_that_suffice(self, server: RunningServer):
        _, whole = ask(server)
        _, answer = ask(server, max_tokens=whole["usage"]["completion_tokens"])
        assert answer["choices"] == whole["choices"]

    def test_stop(self, server: RunningServer):
        _, answer = ask(server, stop=["holiday", " to you"])
        assert answer["choices"][0]["message"]["content"] == "What would it mean"
        assert answer["choices"][0]["finish_reason"] == "stop"

    def test_history_matters(self, server: RunningServer):
        turn = {"role": "user", "content": "I need a holiday"}
        _, first = ask(server)
        said = first["choices"][0]["message"]
        _, second = ask(server, messages=[{"role": "system", "content": "Be kind."}, turn, said, turn])
        assert second["choices"][0]["message"]["content"] != said["content"]
        assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]

    def test_content_in_parts(self, server: RunningServer):
        parts = [{"type": "text", "text": "I need"}, {"type": "text", "text": "a holiday"}]
        status, _ = ask(server, messages=[{"role": "user", "content": parts}])
        assert status == 200

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"messages": []}, "messages"),
            ({"messages": "hi"}, "messages"),
            ({"messages": ["hi"]}, "messages[0]"),
            ({"messages": [{"role": "pilot", "content": "hi"}]}, "messages[0].role"),
            ({"messages": [{"role": ["user"], "content": "hi"}]}, "messages[0].role"),
            ({"messages": [{"role": "user"}]}, "messages[0].content"),
            ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
            ({"messages": [{"role": "user", "content": "a" * (chat.MAX_CHARACTERS + 1)}]}, "messages"),
            ({"model": ""}, "model"),
            ({"model": None}, "model"),
            ({"temperature": 3}, "temperature"),
            ({"temperature": True}, "temperature"),
            ({"top_p": "1"}, "top_p"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"max_tokens": 2.5}, "max_tokens"),
            ({"max_completion_tokens": True}, "max_completion_tokens"),
            ({"stop": [""]}, "stop"),
            ({"stop": ["a"] * 5}, "stop"),
            ({"stream": "yes"}, "stream"),
            ({"stream_options": {"include_usage": True}}, "stream_options"),
            ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
            ({"n": 2}, "n"),
            ({"tools": [{"type": "function"}]}, "tools"),
            ({"response_format": {"type": "json_object"}}, "response_format"),
        ],
    )
    def test_bad_input(self, server: RunningServer, fields: dict[str, object], param: str):
        status, answer = ask(server, **fields)
        assert status == 400
        assert answer["error"]["param"] == param
        assert answer["error"]["type"] == "invalid_request_error"

    def test_fields_of_tomorrow_are_passed_over(self, server: RunningServer):
        status, _ = ask(server, store=False, metadata={"a": "b"}, user="u", n=1, response_format={"type": "text"})
        assert status == 200

    def test_a_caller_who_goes_ends_the_stream(self, tmp_path: Path):
        with run_server(tmp_path / "log", "--pace-ms", "200") as server:
            body = json.dumps({"model": "eliza", "messages": [{"role": "user", "content": "Hi"}], "stream": True})
            host, port = urlsplit(server.url).netloc.split(":")
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall((head + body).encode())
                assert connection.recv(100)
            time.sleep(0.5)
        line = (tmp_path / "log").read_text().splitlines()[-1]
        assert line.endswith("client_gone")


class TestEmbeddings:
    def test_the_sdk_reads_them(self, client: openai.OpenAI):
        answer = client.embeddings.create(model="demo/embed", input=["one two", "three"])  # asks for base64
        assert [item.index for item in answer.data] == [0, 1]
        assert len(answer.data[0].embedding) == embeddings.DEFAULT_DIMENSIONS
        assert (
            answer.usage.prompt_tokens == answer.usage.total_tokens == tokens.count("one two") + tokens.count("three")
        )

    def test_both_encodings_hold_the_same_vector(self, server: RunningServer):
        body = {"model": "embed", "input": "a cat sat on the mat", "dimensions": 16}
        _, floats = call(server, "POST", "/v1/embeddings", body)
        _, packed = call(server, "POST", "/v1/embeddings", body | {"encoding_format": "base64"})
        vector = floats["data"][0]["embedding"]
        assert list(struct.unpack("<16f", b64decode(packed["data"][0]["embedding"]))) == vector
        assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-6)

    def test_likeness(self):
        def likeness(first: str, second: str) -> float:
            pairs = zip(embeddings.embed(first), embeddings.embed(second), strict=True)
            return sum(a * b for a, b in pairs)

        sentence = "The cat sat on the mat"
        assert likeness(sentence, "the CAT sat on the mat!") > 0.99
        assert likeness(sentence, "A cat was sitting on a mat") > 0.25
        assert abs(likeness(sentence, "Quarterly revenue grew by ten percent")) < 0.2

    def test_they_never_change(self):
        vector = embeddings.embed("hello", 4)
        assert vector.tolist() == pytest.approx([0.366508, -0.855186, 0.0, -0.366508], abs=1e-6)

    @pytest.mark.parametrize("text", ["?", " ", "😀😀", "日本語", "\x00"])
    @pytest.mark.parametrize("dimensions", [1, 2, 256])
    def test_every_text_has_a_direction(self, text: str, dimensions: int):
        assert math.isclose(math.hypot(*embeddings.embed(text, dimensions)), 1, abs_tol=1e-6)

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"input": ""}, "input"),
            ({"input": []}, "input"),
            ({"input": [1, 2]}, "input"),
            ({"input": ["a", ""]}, "input"),
            ({"input": None}, "input"),
            ({"input": ["a"] * 257}, "input"),
            ({"input": "a" * 200_001}, "input"),
            ({"dimensions": 0}, "dimensions"),
            ({"dimensions": True}, "dimensions"),
            ({"dimensions": 4096}, "dimensions"),
            ({"encoding_format": "int8"}, "encoding_format"),
            ({"encoding_format": ["float"]}, "encoding_format"),
            ({"model": 1}, "model"),
        ],
    )
    def test_bad_input(self, server: RunningServer, fields: dict[str, object], param: str):
        status, answer = call(server, "POST", "/v1/embeddings", {"model": "embed", "input": "a"} | fields)
        assert status == 400
        assert answer["error"]["param"] == param


class TestServer:
    def test_models(self, client: openai.OpenAI):
        assert [model.id for model in client.models.list()] == ["eliza", "embed"]
        assert client.models.retrieve("embed").id == "embed"
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("gpt-9")
        assert caught.value.code == "model_not_found"

    def test_health(self, server: RunningServer):
        assert call(server, "GET", "/health") == (200, {"status": "ok"})
        assert exchange(server, "HEAD", "/health")[0] == 200

    @pytest.mark.parametrize(
        ("method", "path", "status"), [("GET", "/", 404), ("GET", "/sentiment", 405), ("PUT", "/health", 405)]
    )
    def test_wrong_addresses(self, server: RunningServer, method: str, path: str, status: int):
        assert call(server, method, path)[0] == status

    def test_a_secret_is_asked_for(self, tmp_path: Path):
        with run_server(tmp_path / "log", secret=SECRET) as server:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {SECRET}"}):
                status, sent, answer = exchange(server, "POST", "/sentiment", b'{"text":"hi"}', headers)
                assert status == 401
                assert sent["www-authenticate"] == "Bearer"
                assert json.loads(answer)["error"]["code"] == "invalid_api_key"
            assert call(server, "POST", "/sentiment", {"text": "hi"}, {"Authorization": f"Bearer {SECRET}"})[0] == 200
            assert call(server, "GET", "/health")[0] == 200
        assert SECRET not in (tmp_path / "log").read_text()

    def test_every_request_is_one_line(self, tmp_path: Path):
        with run_server(tmp_path / "log") as server:
            call(server, "POST", "/sentiment", {"text": "private words"}, {"X-Agorai-Request-Id": "req_01k"})
            call(server, "GET", "/a%0Ab", headers={"X-Agorai-Request-Id": "a b\xe9"})
        first, second = (tmp_path / "log").read_text().splitlines()
        assert "POST /sentiment 200" in first
        assert first.endswith("request=req_01k ok")
        assert "private" not in first
        assert " GET /a%0Ab 404 " in second
        assert second.endswith(" request=a?b? not_found")

    def test_a_taken_port_is_one_sentence(self, server: RunningServer, tmp_path: Path):
        port = server.url.rpartition(":")[2]
        with (
            pytest.raises(AssertionError) as caught,
            run_server(tmp_path / "log", "--port", port),
        ):
            pass
        assert f"Cannot listen on 127.0.0.1:{port}: " in str(caught.value)
        assert "Traceback" not in str(caught.value)

    def test_memory(self, tmp_path: Path):
        with run_server(tmp_path / "log") as server:
            assert call(server, "GET", "/health")[0] == 200
            assert pss_megabytes(server.pid) < 45
            call(server, "POST", "/sentiment", {"text": "I love it"})
            call(server, "POST", "/language", {"text": "Je ne regrette rien"})
            ask(server)
            assert pss_megabytes(server.pid) < 75  # py3langid alone takes over 90 when it loads its tables itself


def pss_megabytes(pid: int) -> float:
    """What the process would free if it ended; Linux only."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if not rollup.exists():
        pytest.skip("needs Linux's /proc")
    return next(int(line.split()[1]) / 1024 for line in rollup.read_text().splitlines() if line.startswith("Pss:"))


@pytest.mark.parametrize("text", ["Hello,  computers are\n nice!", "", "   ", "日本語のテキスト", "a_b-c 😀\t\r\n"])
def test_tokens_are_the_text(text: str):
    assert "".join(tokens.split(text)) == text
    assert len(tokens.split(text)) == tokens.count(text)
