"""Compressed bodies that nobody asked for, and the types of answers."""

import gzip
import os
import zlib

import pytest

from common.outbound import OutboundBadAnswer, OutboundError, OutboundTooLarge
from common.outbound.bodies import FREE_BYTES, MAX_RATIO, Inflater, is_accepted

TEXT = b'{"label": "positive", "score": 0.25}' * 50
ROOM = 16 * 1024 * 1024


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


# Without a time of its making, which would be another in each process that collects these tests.
ZIPPED = gzip.compress(TEXT, mtime=0)
PACKED = [("gzip", ZIPPED), ("x-gzip", ZIPPED), ("deflate", zlib.compress(TEXT)), ("deflate", bare(TEXT))]


def unpack(encoding: str, *pieces: bytes, room: int = ROOM) -> bytes:
    inflater, found = Inflater(encoding), b""
    for piece in pieces:
        found += inflater.feed(piece, room - len(found))
    inflater.end()
    return found


@pytest.mark.parametrize(("encoding", "packed"), PACKED)
def test_what_is_compressed_is_read_however_it_is_cut(encoding, packed):
    assert unpack(encoding, packed) == TEXT
    assert unpack(encoding, *(packed[i : i + 1] for i in range(len(packed)))) == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_nothing_is_nothing(encoding):
    assert unpack(encoding) == b""


@pytest.mark.parametrize(("encoding", "packed"), PACKED)
def test_what_ends_too_early_or_goes_on_is_refused(encoding, packed):
    for broken in (packed[:-9], packed[:1], packed + packed, packed + b"x", b"\0" * 40):
        with pytest.raises(OutboundBadAnswer):
            unpack(encoding, broken)


def test_a_bomb_is_seen_before_it_is_unpacked():
    bomb = gzip.compress(bytes(50 * 1024 * 1024), compresslevel=9)
    inflater, sizes = Inflater("gzip"), []

    def unpack_all():
        for first in range(0, len(bomb), 1000):
            sizes.append(len(inflater.feed(bomb[first : first + 1000], ROOM)))

    with pytest.raises(OutboundTooLarge):
        unpack_all()
    assert sum(sizes) <= FREE_BYTES + 1000 * MAX_RATIO


def test_no_more_comes_out_than_there_is_room_for():
    noise = os.urandom(4000)
    assert unpack("gzip", gzip.compress(noise), room=4000) == noise
    with pytest.raises(OutboundTooLarge):
        unpack("gzip", gzip.compress(noise), room=3999)


def test_a_bomb_in_a_bomb_is_a_bomb():
    with pytest.raises(OutboundError):
        unpack("gzip", gzip.compress(gzip.compress(bytes(20 * 1024 * 1024))) * 3)


@pytest.mark.parametrize(
    ("content_type", "accept", "is_fine"),
    [
        ("application/json", "application/json", True),
        ("Application/JSON; charset=utf-8", "application/json", True),
        ("application/problem+json", "application/json", True),
        ("text/json", "application/json", True),
        ("", "application/json", True),
        ("text/html", "application/json", False),
        ("text/html; x=application/json", "application/json", False),
        ("text/plain", "application/json", False),
        ("application/json", "text/event-stream", False),
        ("text/event-stream;charset=utf-8", "text/event-stream", True),
        ("image/svg+xml", "image/png, image/webp", False),
        ("image/png", "image/png, image/webp", True),
        ("audio/mpeg", "audio/*", True),
        ("audiobook/mpeg", "audio/*", False),
        ("text/html", "*/*", True),
        ("text/html", "", True),
    ],
)
def test_an_answer_is_of_a_type_that_was_asked_for(content_type, accept, is_fine):
    assert is_accepted(content_type, accept) is is_fine
