import asyncio
import re

import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from common.tests.doors import BODY, CLOSE, HEAD, post, served, talk


def test_a_whole_answer_and_the_next_request_on_its_connection():
    said = talk(post("/whole") + post("/whole", CLOSE))
    first, second = said.split(BODY)[:2]
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert HEAD in first
    assert b"connection: close" not in first
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n\r\n" in second
    assert said.endswith(BODY), "then the server hung up"


def test_both_ways_take_turns_on_one_connection():
    said = talk(
        post("/asgi", body="1") + post("/echo", body="2") + post("/asgi?q", body="") + post("/echo", CLOSE, "4")
    )
    assert re.findall(rb"\r\n\r\n(1 by asgi|2|q by asgi|4)", said) == [b"1 by asgi", b"2", b"q by asgi", b"4"]


@pytest.mark.parametrize("paths", [("/late", "/echo"), ("/late", "/asgi"), ("/late", "/late", "/asgi", "/echo")])
def test_what_comes_behind_a_request_waits_for_its_answer(paths):
    async def run() -> None:
        async with served() as line:
            await line.say(b"".join(post(path, body="abc") for path in paths[:-1]) + post(paths[-1], CLOSE, "abc"))
            await line.true(lambda: line.app.requests)
            await asyncio.sleep(0.05)
            assert len(line.app.requests) == 1
            line.app.released.set()
            said = await line.rest()
            assert said.startswith(b"HTTP/1.1 200 OK\r\n" + HEAD), said
            assert said.count(b"HTTP/1.1 200 OK") == len(paths)
            assert said.endswith(b"abc by asgi" if paths[-1] == "/asgi" else b"abc")

    asyncio.run(run())


def test_path_query_and_headers_are_what_asgi_would_say():
    said = talk(post("/with%20a%20space?a=%20b", f"X-One: 1\r\nX-TWO: 2\r\nx-one: 3\r\n{CLOSE}"))
    assert said.endswith(b"('/with a space', b'a=%20b')")

    async def run() -> dict[bytes, bytes]:
        async with served() as line:
            await line.say(post("/whole", "X-One: 1\r\nX-TWO: 2\r\nx-one: 3\r\n"))
            await line.until(BODY)
            (request,) = line.app.requests
            assert (request.method, request.remote) == ("POST", "127.0.0.1")
            return request.headers

    headers = asyncio.run(run())
    assert headers == {b"host": b"x", b"x-one": b"1, 3", b"x-two": b"2", b"content-length": b"2"}


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_large_body_comes_in_pieces_and_is_not_read_ahead_of_the_application(framing):
    size = 1_000_000

    async def run() -> None:
        async with served() as line:
            if framing == "length":
                await line.say(f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
                pieces = [b"x" * 1000] * (size // 1000)
            else:
                await line.say(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
                pieces = [b"3e8\r\n%b\r\n" % (b"x" * 1000)] * (size // 1000) + [b"0\r\n\r\n"]
            sending = asyncio.create_task(line.say(b"".join(pieces)))
            assert (await line.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await asyncio.wait_for(line.reader.readexactly(size), 5) == b"x" * size
            await sending

    asyncio.run(run())


def test_a_body_that_nobody_takes_stays_with_the_client():
    async def run() -> None:
        async with served() as line:
            await line.say(b"POST /asleep HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(line.say(b"x" * 50_000_000), 0.5)
            (request,) = line.app.requests
            assert request.unread < 1_000_000
            line.app.released.set()
            await line.until(BODY)
            line.writer.transport.abort()

    asyncio.run(run())


def test_who_is_refused_before_the_body_is_read_may_go_on_with_the_next_request():
    said = talk(post("/refused", body="x" * 300_000) + post("/echo", CLOSE, "next"))
    assert said.startswith(b"HTTP/1.1 413 ")
    assert said.endswith(b"\r\n\r\nnext")


def test_an_expected_continue_is_said_when_the_body_is_wanted():
    async def run(path: str) -> bytes:
        async with served() as line:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{CLOSE}Content-Length: 3\r\n\r\n"
            await line.say(head.encode())
            said = await line.until(b"\r\n\r\n")
            await line.say(b"abc")
            return said + await line.rest()

    assert asyncio.run(run("/echo")).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert asyncio.run(run("/refused")).startswith(b"HTTP/1.1 413 ")


def test_http_1_0_is_answered_once():
    said = talk(b"POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx")
    assert b"connection: close\r\n\r\nx" in said


def test_a_head_is_answered_without_a_body():
    said = talk(b"HEAD /whole HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert HEAD in said
    assert said.endswith(b"\r\n\r\n")


def test_a_stream_leaves_as_it_comes():
    async def run() -> None:
        async with served() as line:
            await line.say(post("/stream"))
            head, first = (await line.until(b"one \r\n")).split(b"\r\n\r\n")
            assert b"transfer-encoding: chunked" in head
            assert first == b"4\r\none \r\n"
            line.app.released.set()
            assert await line.until(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"
            await line.say(post("/echo", body="again"))
            assert await line.until(b"again")
            assert line.app.noticed == []

    asyncio.run(run())


def test_whoever_takes_nothing_of_a_stream_is_waited_for():
    async def run() -> None:
        async with served() as line:
            await line.say(post("/flood"))
            await line.true(lambda: line.app.noticed)
            await asyncio.sleep(0.1)
            sent = len(line.app.noticed)
            await asyncio.sleep(0.1)
            assert len(line.app.noticed) == sent < 200
            while not (await asyncio.wait_for(line.reader.read(1 << 20), 5)).endswith(b"\r\n0\r\n\r\n"):
                pass
            assert len(line.app.noticed) == 200

    asyncio.run(run())


def test_an_answer_that_is_not_ended_ends_the_connection():
    said = talk(post("/torn"))
    assert said.endswith(b"4\r\nsome\r\n")


def test_a_fault_of_the_application_is_said():
    said = talk(post("/broken"))
    assert said.startswith(b"HTTP/1.1 500 ")
    assert said.endswith(b"connection: close\r\n\r\nInternal Server Error")


def test_whoever_leaves_is_noticed():
    async def run() -> None:
        async with served() as line:
            await line.say(post("/stream"))
            await line.until(b"one \r\n")
            line.writer.transport.abort()
            await line.true(lambda: line.app.noticed)
            assert line.app.noticed == ["gone"]
            assert line.app.requests[0].has_left
            late = []
            line.app.requests[0].when_gone(lambda: late.append("told"))
            assert late == ["told"]
            line.app.released.set()
            await line.true(lambda: not line.state.tasks)

    asyncio.run(run())


def test_whoever_leaves_is_noticed_by_the_answer_also_when_more_was_asked():
    async def run() -> None:
        async with served() as line:
            await line.say(post("/flood") + post("/late"))
            await line.until(b"x" * 1000)
            line.writer.transport.abort()
            await line.true(lambda: "gone" in line.app.noticed)
            await line.true(lambda: not line.state.tasks)
            assert len(line.app.requests) == 1, "nobody is there for what came behind it"

    asyncio.run(run())


def test_whoever_leaves_in_the_middle_of_a_body_is_noticed():
    async def run() -> None:
        async with served() as line:
            await line.say(post("/echo", body="abc")[:-1])
            await line.true(lambda: line.app.requests)
            line.writer.close()
            await line.true(lambda: line.app.noticed)
            assert line.app.noticed == ["left"]

    asyncio.run(run())


def test_at_the_end_of_the_server_answers_under_way_are_its_last():
    async def run() -> None:
        async with served() as line:
            await line.say(post("/late"))
            await line.true(lambda: line.app.requests)
            assert len(line.state.tasks) == 1, "which the server waits for"
            for connection in list(line.state.connections):
                connection.shutdown()
            line.app.released.set()
            said = await line.rest()
            assert b"connection: close\r\n\r\n" + BODY in said

    asyncio.run(run())


def test_idle_connections_are_closed_and_busy_ones_are_not():
    async def run() -> None:
        async with served(timeout_keep_alive=0.1) as line:
            await line.say(post("/whole"))
            await line.until(BODY)
            await line.say(post("/late"))
            await asyncio.sleep(0.3)
            line.app.released.set()
            await line.until(BODY)
            assert await line.rest() == b""

    asyncio.run(run())


def test_a_limit_of_the_server_holds_for_both_ways():
    assert talk(post("/whole", CLOSE), limit_concurrency=1).startswith(b"HTTP/1.1 503 ")


def test_an_application_that_uvicorn_wrapped_is_found():
    assert talk(post("/whole", CLOSE), wrap=ProxyHeadersMiddleware).endswith(BODY)


def test_garbage_is_a_bad_request():
    assert talk(b"POST /\xff HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert talk(b"\x16\x03\x01\r\n\r\n").startswith(b"HTTP/1.1 400 ")
