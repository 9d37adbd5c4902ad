"""What stands before the body of a request. Strict, so that nothing given as a header can end it or become another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from common.outbound.addresses import Target
from common.outbound.errors import OutboundRefused

# What we set ourselves, and what belongs to the connection instead of the message.
# fmt: off
_OWN_HEADERS = frozenset((
    "accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
))
# fmt: on
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]{0,8000}")
MAX_PLAIN = 8000
_METHOD = re.compile(r"[A-Z]{1,20}", re.ASCII)


def head_of(target: Target, method: str, headers: Mapping[str, str]) -> str:
    """The request line and headers, without the empty line after them. Raises OutboundRefused."""
    if not _METHOD.fullmatch(method):
        raise OutboundRefused(f"{method[:60]!r} is no method.")
    host = f"[{target.host}]" if ":" in target.host else target.host
    if target.port != (443 if target.scheme == "https" else 80):
        host = f"{host}:{target.port}"
    given = {_sendable(name) for name in headers}
    usual = {"Accept": "*/*", "User-Agent": "Agorai"}
    added = {name: value for name, value in usual.items() if name.lower() not in given}
    return (
        f"{method} {target.path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: identity\r\n"
        f"{header_lines(headers)}{header_lines(added)}"
    )


def header_lines(headers: Mapping[str, str]) -> str:
    """Raises OutboundRefused for what would break the request or belongs to the connection."""
    lines = ""
    for name, value in headers.items():
        _sendable(name)
        is_plain = len(value) <= MAX_PLAIN and value.isascii() and value.isprintable()
        if not is_plain and not _HEADER_VALUE.fullmatch(value):
            raise OutboundRefused(f"The value of the header {name[:60]!r} holds characters that cannot be sent.")
        lines += f"{name}: {value}\r\n"
    return lines


@lru_cache(1024)
def _sendable(name: str) -> str:
    """The name in lower case. Raises OutboundRefused for one that cannot be sent, or is not for others to set."""
    lower = name.lower()
    if not _HEADER_NAME.fullmatch(name) or lower in _OWN_HEADERS:
        raise OutboundRefused(f"The header {name[:60]!r} cannot be sent.")
    return lower
