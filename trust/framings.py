"""T17's: sixty requests of which two readers may see the end in two places, with another request where they differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Framing:
    """`build(head, inner)`: what is sent. head: request line and harmless headers, ended by CRLF; inner: the request
    that must not be taken for one of its own by anybody but its sender."""

    name: str
    build: Callable[[bytes, bytes], bytes]


def _chunk(data: bytes, size: bytes | None = None) -> bytes:
    return (size or b"%x" % len(data)) + b"\r\n" + data + b"\r\n"


END = b"0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

#: Ways to say "chunked" that some take for it and others do not.
CODINGS: Sequence[tuple[str, bytes]] = (
    ("plain", CHUNKED),
    ("space before the colon", b"Transfer-Encoding : chunked\r\n"),
    ("tab before the colon", b"Transfer-Encoding\t: chunked\r\n"),
    ("tab after it", b"Transfer-Encoding:\tchunked\r\n"),
    ("no space", b"Transfer-Encoding:chunked\r\n"),
    ("vertical tab", b"Transfer-Encoding: \x0bchunked\r\n"),
    ("NUL", b"Transfer-Encoding: chunked\x00\r\n"),
    ("folded", b"Transfer-Encoding:\r\n chunked\r\n"),
    ("a folded name", b"X-A: b\r\n Transfer-Encoding: chunked\r\n"),
    ("bare LF", b"X-A: b\nTransfer-Encoding: chunked\r\n"),
    ("bare CR", b"X-A: b\rTransfer-Encoding: chunked\r\n"),
    ("other case", b"tRANSFER-eNCODING: cHUNKED\r\n"),
    ("unknown", b"Transfer-Encoding: xchunked\r\n"),
    ("identity after", b"Transfer-Encoding: chunked, identity\r\n"),
    ("identity before", b"Transfer-Encoding: identity, chunked\r\n"),
    ("two lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    ("twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ("quoted", b'Transfer-Encoding: "chunked"\r\n'),
    ("a parameter", b"Transfer-Encoding: chunked;q=1\r\n"),
    ("underscore", b"Transfer_Encoding: chunked\r\n"),
)

#: Lengths that are none, or two.
LENGTHS: Sequence[tuple[str, bytes]] = (
    ("two, the first short", b"Content-Length: 0\r\nContent-Length: %d\r\n"),
    ("two, the last short", b"Content-Length: %d\r\nContent-Length: 0\r\n"),
    ("a list", b"Content-Length: 0, %d\r\n"),
    ("plus", b"Content-Length: +%d\r\n"),
    ("minus", b"Content-Length: -%d\r\n"),
    ("in words of hexadecimal", b"Content-Length: 0x%x\r\n"),
    ("space inside", b"Content-Length: 0 %d\r\n"),
    ("vertical tab", b"Content-Length: \x0b%d\r\n"),
    ("space before the colon", b"Content-Length : %d\r\n"),
    ("underscore", b"Content_Length: %d\r\nContent-Length: 0\r\n"),
    ("too large for 64 bits", b"Content-Length: 184467440737095516160\r\nX-Length: %d\r\n"),
    ("named by Connection", b"Connection: keep-alive, Content-Length\r\nContent-Length: %d\r\n"),
)


def _sizes(inner: bytes) -> Sequence[tuple[str, bytes]]:
    """Bodies in pieces whose sizes are read in two ways."""
    return (
        ("0x", _chunk(inner, b"0x%x" % len(inner)) + END),
        ("plus", _chunk(inner, b"+%x" % len(inner)) + END),
        ("minus", _chunk(b"", b"-1") + END + inner),
        ("too large for 64 bits", _chunk(b"", b"10000000000000000") + END + inner),
        ("an extension with LF", _chunk(b"", b"5;a=\n0") + END + inner),
        ("LF for its end", b"0\n\n" + inner),
        ("CR for its end", b"0\r\r" + inner),
        ("space before", _chunk(inner, b" %x" % len(inner)) + END),
        ("longer than it says", _chunk(b"{}" + inner, b"2") + END),
        ("without the last line", b"2\r\n{}\r\n0\r\n" + inner),
        ("a length among the trailers", b"2\r\n{}\r\n0\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner),
    )


def _with_coding(coding: bytes, *, by_length: bool) -> Callable[[bytes, bytes], bytes]:
    def build(head: bytes, inner: bytes) -> bytes:
        if by_length:  # whoever believes the coding ends before `inner`, whoever believes the length after it
            body = END + inner
            return head + b"Content-Length: %d\r\n" % len(body) + coding + b"\r\n" + body
        body = _chunk(inner)
        return head + b"Content-Length: %d\r\n" % (body.index(b"\r\n") + 2) + coding + b"\r\n" + body + END

    return build


def _with_length(line: bytes) -> Callable[[bytes, bytes], bytes]:
    return lambda head, inner: head + line % len(inner) + b"\r\n" + inner


def _with_size(number: int) -> Callable[[bytes, bytes], bytes]:
    return lambda head, inner: head + CHUNKED + b"\r\n" + _sizes(inner)[number][1]


def _as(version: bytes) -> Callable[[bytes, bytes], bytes]:
    return lambda head, inner: head.replace(b"HTTP/1.1", version, 1) + CHUNKED + b"\r\n" + END + inner


def _upgrade(head: bytes, inner: bytes) -> bytes:
    asked = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n"
    return head + asked + b"Content-Length: 0\r\n\r\n" + inner


def _in_pieces(head: bytes, inner: bytes) -> bytes:
    """In order, but what is in the piece reads as a request: who forgets the coding takes it for the next one."""
    return head + CHUNKED + b"\r\n" + _chunk(inner) + END


def _all() -> tuple[Framing, ...]:
    found = [
        Framing("in pieces", _in_pieces),
        Framing("HTTP/1.0 in pieces", _as(b"HTTP/1.0")),
        Framing("asks for HTTP/2", _upgrade),
    ]
    found += [
        Framing(f"coding, {name}, {'length' if by_length else 'pieces'} first", _with_coding(line, by_length=by_length))
        for name, line in CODINGS
        for by_length in (True, False)
        if by_length or name not in ("no space", "other case", "twice", "identity after", "a parameter", "tab after it")
    ]
    found += [Framing(f"length, {name}", _with_length(line)) for name, line in LENGTHS]
    found += [Framing(f"size, {name}", _with_size(number)) for number, (name, _) in enumerate(_sizes(b""))]
    return tuple(found)


FRAMINGS = _all()
