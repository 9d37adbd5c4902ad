"""The rule that there is one door out, and proof that a second one is noticed."""

from __future__ import annotations

import ast
import socket
from collections.abc import Iterator

import pytest

from common.outbound import Door
from tests import one_door


def test_product_code_talks_to_strangers_through_the_door_alone():
    assert one_door.faults() == []


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import requests", "requests"),
        ("import httpx as quick", "httpx"),
        ("from urllib import request", "urllib.request"),
        ("import urllib.request", "urllib.request"),
        ("from aiohttp.client import ClientSession", "aiohttp"),
        ("from http.client import HTTPConnection", "http.client"),
        ("def work():\n    __import__('httpx').get('http://x')", "httpx"),
        ("importlib.import_module('requests.sessions')", "requests"),
        ("asyncio.open_connection('x', 80)", "open_connection"),
        ("await loop.create_connection(Protocol, 'x', 80)", "create_connection"),
        ("session(trust_env=True)", "trust_env"),
        ("urllib.request.getproxies()", "getproxies"),
    ],
)
def test_a_client_of_its_own_is_noticed(code: str, what: str):
    tree = compile(code, "x", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert what in {found for _, found in one_door._clients(tree)}


@pytest.mark.parametrize("code", ["import urllib.parse", "from http import HTTPStatus", "import sockets_of_ours"])
def test_what_only_looks_like_one_is_not(code: str):
    assert list(one_door._clients(ast.parse(code))) == []


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_connection_of_product_code_beside_the_door_is_noticed(port: int):
    code = "import socket\nsocket.create_connection(('127.0.0.1', port)).close()"
    for path, is_found in (("gateway/tasks.py", True), ("gateway/tests/test_x.py", False), ("config/up.py", False)):
        exec(compile(code, f"{one_door.ROOT}/{path}", "exec"), {"port": port})
        assert one_door.take_found() == (
            [f"{path} opened a connection to 127.0.0.1:{port} beside the door"] if is_found else []
        )


async def test_the_door_is_known_by_the_sockets_that_it_makes(port: int):
    before = one_door.connections_seen()
    async with Door(allowed=[f"127.0.0.1/32:{port}"]) as door:
        target = door.policy.check(f"http://127.0.0.1:{port}/")
        connection = await door._dial(target, 2)
        connection.close()
    assert one_door.connections_seen() == {**before, "door": before["door"] + 1}
    assert one_door.take_found() == []
