"""There is one door out: which code may hold a client of its own, and who opens connections while this process runs.

`faults()` reads the source. `watch()` sees every socket of the process from then on, with the code that made it: one
that product code makes beside the door may lead to the operator's own servers alone. Tests connect as they like.
"""

from __future__ import annotations

import ast
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    *("accounts", "analytics", "apikeys", "billing", "common"),
    *("config", "gateway", "marketplace", "media", "notifications", "observability", "reviews"),
)
DOOR = "common/outbound/"

#: Modules by which a program talks to another machine.
# fmt: off
CLIENTS = frozenset((
    "aiohttp", "boto3", "botocore", "ftplib", "grpc", "http.client", "httpcore", "httptools", "httpx", "imaplib",
    "paramiko", "poplib", "pycurl", "requests", "smtplib", "socket", "ssl", "telnetlib", "tornado", "urllib.request",
    "urllib3", "websocket", "websockets", "xmlrpc.client",
))
#: Ways of asyncio to do so.
WAYS = frozenset((
    "create_connection", "create_datagram_endpoint", "open_connection", "open_unix_connection", "sock_connect",
    "start_tls",
))
# fmt: on
#: What may, beside the door, and whom it talks to: nobody whose address a user gave.
EXCUSED: dict[str, dict[str, str]] = {
    "common/serving.py": {"httptools": "reads the requests that come in, on connections that others opened"},
    "common/bucket.py": {
        "boto3": "the operator's own storage of files",
        "botocore": "its settings, which name no proxy of the environment, and its errors",
    },
    "config/servers.py": {"socket": "asks whether our own PostgreSQL and Valkey have started"},
    "config/up.py": {
        "socket": "looks for a free port",
        "create_connection": "asks whether our own web process has started",
    },
    "notifications/adapters/email.py": {
        "smtplib": "the errors of Django's mailer, which talks to the operator's server"
    },
    "accounts/views/identity.py": {"requests": "the errors of allauth, which asks the operator's own provider"},
}
#: Clients of Redis, which go to the address that the operator gives and to no other.
REDIS_CLIENTS = frozenset({"common/limiter.py", "common/wake.py"})
#: A client that the environment could lead elsewhere.
PROXIES = frozenset({"getproxies", "getproxies_environment", "proxy_bypass", "trust_env", "ProxyHandler"})


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (
            path for path in sorted((ROOT / package).rglob("*.py")) if not {"tests", "migrations"} & set(path.parts)
        )


def faults() -> list[str]:
    """What the source holds that it may not, and excuses that nothing needs any more."""
    found, used = [], set()
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(DOOR):
            continue
        for line, what in _clients(ast.parse(path.read_text())):
            if what in EXCUSED.get(name, {}):
                used.add((name, what))
            else:
                found.append(f"{name}:{line} uses {what}: addresses that users give go through common.outbound alone")
    unused = {(name, what) for name, whats in EXCUSED.items() for what in whats} - used
    return found + [f"{name} is excused for {what}, which it does not use" for name, what in sorted(unused)]


def _clients(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        names: list[str] = []
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(level=0):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            case ast.Call(args=[ast.Constant(value=str(named)), *_]) if "import" in ast.unparse(node.func):
                names = [named]
            case ast.Attribute(attr=way) if way in WAYS or way in PROXIES:
                yield node.lineno, way
            case ast.keyword(arg=str(way)) if way in PROXIES:
                yield node.value.lineno, way
            case ast.Name(id=way) if way in PROXIES:
                yield node.lineno, way
        for client in {client for name in names for client in CLIENTS if f"{name}.".startswith(f"{client}.")}:
            yield node.lineno, client  # type: ignore[attr-defined]


# --- The process ------------------------------------------------------------------------------------------------------

_makers: WeakKeyDictionary[socket.socket, str] = WeakKeyDictionary()
_found: list[str] = []
_is_watching = False
_seen = {"door": 0, "beside": 0}


def watch() -> None:
    """From now on, until the process ends. To be called once Django is set up; again does nothing."""
    global _is_watching
    if not _is_watching:
        _is_watching = True
        sys.addaudithook(_hear)


def take_found() -> list[str]:
    """What was found since the last time."""
    found, _found[:] = list(_found), []
    return found


def connections_seen() -> dict[str, int]:
    """How many were opened by the door, and beside it."""
    return dict(_seen)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.__new__":
        if arguments[1] in (socket.AF_INET, socket.AF_INET6):
            _makers[arguments[0]] = _maker()
    elif event == "socket.connect":
        _judge(*arguments[:2])


def _judge(made: socket.socket, address: Any) -> None:
    if not isinstance(address, tuple):
        return  # a socket of this machine's file system
    maker = _makers.get(made) or _maker()
    if maker.startswith(DOOR):
        _seen["door"] += 1
        return
    if maker.partition("/")[0] not in PACKAGES or "/tests/" in maker:
        return
    _seen["beside"] += 1
    if maker not in EXCUSED and maker not in REDIS_CLIENTS and address[:2] not in _operators():
        _found.append(f"{maker} opened a connection to {address[0]}:{address[1]} beside the door")


def _maker() -> str:
    """The innermost code of ours on the stack, as its path; empty where there is none."""
    frame = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_PREFIX) and not path.startswith(_STRANGERS):
            return path[len(_PREFIX) :]
        frame = frame.f_back  # type: ignore[assignment]
    return ""


_PREFIX = f"{ROOT}/"
_STRANGERS = (f"{ROOT}/.venv/", f"{ROOT}/build/")


def _operators() -> set[tuple[str, int]]:
    """Where the settings say that the operator's servers are."""
    from django.conf import settings

    urls = [settings.DATABASE_URL, settings.REDIS_URL, settings.ELASTICSEARCH_URL, settings.OIDC_ISSUER]
    urls.append(settings.MEDIA_S3_ENDPOINT)
    found = {(str(settings.EMAIL_HOST), int(settings.EMAIL_PORT))}
    for parts in (urlsplit(str(url or "")) for url in urls):
        if parts.hostname:
            found.add((parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)))
    return {(here, port) for host, port in found for here in ({host} if host != "localhost" else {"127.0.0.1", "::1"})}
