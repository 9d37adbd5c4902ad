"""The door against upstreams that are slow, broken or hostile. What it must never reach is in tests/test_ssrf.py."""

import asyncio
import contextlib
import datetime
import gzip
import logging
import socket
import ssl
import zlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.outbound import (
    Door,
    OutboundBadAnswer,
    OutboundRefused,
    OutboundTimeout,
    OutboundTooLarge,
    OutboundUnreachable,
    OutboundWrongType,
    Policy,
    Timeouts,
    check_url,
    origin_of,
)
from common.outbound.addresses import AllowedNetwork

QUICK = Timeouts(connect=0.3, first_byte=0.3, idle=0.3, total=1)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
HANG_UP = None
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Upstream:
    """A server that says exactly the given bytes; a number among them is a pause in seconds; in the end it repeats."""

    def __init__(self, *script, tls=None, repeat=b""):
        self.script, self.tls, self.repeat = script, tls, repeat
        self.requests: list[bytes] = []
        self.connections: set[asyncio.Task] = set()
        self.hung_up = asyncio.Event()  # the client did, not we

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"
        self.door = await Door(allowed=[f"127.0.0.1/32:{self.port}"]).__aenter__()
        return self

    async def __aexit__(self, *_):
        await self.door.close()
        self.server.close()
        for connection in self.connections:
            connection.cancel()
        await asyncio.wait([*self.connections, asyncio.create_task(self.server.wait_closed())])

    async def accept(self, reader, writer):
        self.connections.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                while await self.serve(reader, writer):
                    pass
            except ConnectionError:
                self.hung_up.set()
            finally:
                writer.close()
                await writer.wait_closed()

    async def serve(self, reader, writer):
        """One request. True if another may follow."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"), 0)
        self.requests.append(head + await reader.readexactly(length))
        for step in self.script:
            if step is HANG_UP:
                return False
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), step)
                    raise ConnectionResetError
        while self.repeat:
            writer.write(self.repeat)
            await writer.drain()
            await asyncio.sleep(0)
        return True

    async def request(self, method="GET", timeout=QUICK, max_bytes=100_000, **options):
        return await self.door.request(method, self.url, timeout=timeout, max_bytes=max_bytes, **options)


async def test_a_request_arrives_as_given_and_the_answer_comes_back():
    async with Upstream(OK) as upstream:
        headers = {"Authorization": "Bearer sk-1", "Content-Type": "application/json", "X-Name": "Zoë"}
        reply = await upstream.request("POST", headers=headers, body=b'{"a":1}')
        assert (reply.status, reply.body) == (200, b"{}")
        assert reply.headers == {"content-type": "application/json"}
        head, _, body = upstream.requests[0].partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0] == b"POST /v1 HTTP/1.1"
        assert body == b'{"a":1}'
        assert sorted(line.partition(b":")[0].lower() for line in lines[1:]) == sorted(
            b"host accept accept-encoding user-agent authorization content-type x-name content-length".split()
        )
        assert b"Accept-Encoding: identity" in lines
        assert "X-Name: Zoë".encode() in lines


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "other"},
        {"transfer-encoding": "chunked"},
        {"Connection": "close"},
        {"Accept-Encoding": "gzip"},
        {"X-A": "b\r\nX-C: d"},
        {"X-A": "b\0"},
        {"X A": "b"},
        {"": "b"},
        {"X-A\r\nX-B": "c"},
    ],
)
async def test_headers_that_belong_to_the_connection_or_break_it_are_not_sent(headers):
    async with Upstream(OK) as upstream:
        with pytest.raises(OutboundRefused, match="header"):
            await upstream.request(headers=headers)
        assert upstream.requests == []


async def test_only_known_headers_of_an_answer_are_kept_and_no_cookie():
    head = b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nSet-Cookie: a=b\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    async with Upstream(head) as upstream:
        reply = await upstream.request()
        assert (reply.status, reply.headers) == (429, {"retry-after": "3"})
        await upstream.request()
        assert b"ookie" not in upstream.requests[1]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([b"hello\r\n\r\n"], OutboundBadAnswer),
        ([b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n"], OutboundBadAnswer),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"], OutboundBadAnswer),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"], OutboundBadAnswer),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"], OutboundBadAnswer),
        ([b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"], OutboundBadAnswer),
        ([b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"], OutboundBadAnswer),
        ([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab"], OutboundBadAnswer),
        ([b"HTTP/1.1 200 OK\r\nContent-Encoding: identity, br\r\nContent-Length: 2\r\n\r\nab"], OutboundBadAnswer),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", HANG_UP], OutboundBadAnswer),
        ([CHUNKED + b"5\r\nab", HANG_UP], OutboundBadAnswer),
        ([CHUNKED + b"zz\r\nab\r\n"], OutboundBadAnswer),
        ([CHUNKED + b"-1\r\nab\r\n"], OutboundBadAnswer),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na"], OutboundBadAnswer),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"], OutboundBadAnswer),
        ([b"HTTP/1.1 200 OK\nContent-Length: 1\n\na"], OutboundBadAnswer),
        ([CHUNKED + b"1;" + b"x" * 2_000_000 + b"\r\na\r\n0\r\n\r\n"], OutboundBadAnswer),
        ([CHUNKED + b"1\r\na\r\n0\r\n" + b"X: y\r\n" * 200 + b"\r\n"], OutboundBadAnswer),
        ([HANG_UP], OutboundUnreachable),
        ([b"HTTP/1.1 200", HANG_UP], (OutboundBadAnswer, OutboundUnreachable)),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n"], OutboundTooLarge),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999999999999\r\n\r\n"], (OutboundTooLarge, OutboundBadAnswer)),
        ([CHUNKED + b"186a1\r\n" + b"x" * 100_001 + b"\r\n0\r\n\r\n"], OutboundTooLarge),
        ([b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_001, HANG_UP], OutboundTooLarge),
    ],
)
async def test_a_bad_answer_has_a_name(script, error):
    async with Upstream(*script) as upstream:
        with pytest.raises(error):
            await upstream.request(timeout=Timeouts(connect=10, first_byte=10, idle=10, total=20))


@pytest.mark.parametrize(
    ("script", "repeat", "phase"),
    [
        ([5.0], b"", "first_byte"),
        ([b"HTTP/1.1 200 OK\r\n", 5.0], b"", "first_byte"),
        ([], b"HTTP/1.1 100 Continue\r\n\r\n", "first_byte"),
        ([CHUNKED + b"1\r\na\r\n", 5.0], b"", "idle"),
        ([CHUNKED + b"1;", 0.1], b"ext", "idle"),  # a line that never ends carries no data
        ([CHUNKED, *[b"1\r\na\r\n", 0.1] * 50], b"", "total"),
    ],
)
async def test_a_slow_answer_is_cut_off(script, repeat, phase):
    async with Upstream(*script, repeat=repeat) as upstream:
        with pytest.raises((OutboundTimeout, OutboundBadAnswer)) as caught:
            await asyncio.wait_for(upstream.request(), 3)
        if isinstance(caught.value, OutboundTimeout):
            assert caught.value.phase == phase
        else:
            assert repeat  # the endless line was found out before the time was up
        await asyncio.wait_for(upstream.hung_up.wait(), 2)


async def test_a_name_server_that_does_not_answer_is_a_slow_connection():
    class Silent:
        async def resolve(self, *_):
            await asyncio.sleep(5)

        async def close(self):
            pass

    async with Door(allowed=["127.0.0.1/32"], resolver=Silent()) as door:
        with pytest.raises(OutboundTimeout) as caught:
            await door.request("GET", "http://slow.test/", timeout=QUICK, max_bytes=1)
        assert caught.value.phase == "connect"


PACKED = gzip.compress(b'{"a": 1}', mtime=0)
BOMB = gzip.compress(bytes(20 * 1024 * 1024), compresslevel=9, mtime=0)


def packed(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_what_is_compressed_though_it_was_asked_for_plain_is_unpacked():
    async with Upstream(packed(PACKED, "Content-Encoding: gzip")) as upstream:
        for _ in range(2):
            assert (await upstream.request()).body == b'{"a": 1}'
        assert len(upstream.connections) == 1


async def test_a_compressed_stream_is_unpacked_as_it_comes():
    packer = zlib.compressobj(wbits=31)
    one = packer.compress(b"data: 1\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)
    two = packer.compress(b"data: 2\n\n") + packer.flush()
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    script = [head + b"%x\r\n%b\r\n" % (len(one), one), 0.1, b"%x\r\n%b\r\n0\r\n\r\n" % (len(two), two)]
    async with (
        Upstream(*script) as upstream,
        upstream.door.stream("GET", upstream.url, timeout=QUICK, max_bytes=100) as reply,
    ):
        assert [piece async for piece in reply.chunks()] == [b"data: 1\n\n", b"data: 2\n\n"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (packed(BOMB, "Content-Encoding: gzip"), OutboundTooLarge),
        (packed(gzip.compress(BOMB, mtime=0), "Content-Encoding: gzip, gzip"), OutboundBadAnswer),
        (packed(gzip.compress(BOMB, mtime=0), "Content-Encoding: gzip", "Content-Encoding: gzip"), OutboundBadAnswer),
        (packed(PACKED, "Content-Encoding: br"), OutboundBadAnswer),
        (packed(PACKED, "Content-Encoding: zstd"), OutboundBadAnswer),
        (packed(PACKED, "Content-Encoding: deflate"), OutboundBadAnswer),
        (packed(PACKED[:-2], "Content-Encoding: gzip"), OutboundBadAnswer),
        (packed(PACKED + b"more", "Content-Encoding: gzip"), OutboundBadAnswer),
        (packed(b"{}", "Content-Type: text/html"), OutboundWrongType),
    ],
)
async def test_a_body_is_what_was_asked_for_and_no_more(answer, error):
    async with Upstream(answer) as upstream:
        with pytest.raises(error):
            await upstream.request(headers={"Accept": "application/json"}, max_bytes=10**8)


async def test_an_error_may_be_of_any_type():
    async with Upstream(b"HTTP/1.1 502 No\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno") as upstream:
        assert (await upstream.request(headers={"Accept": "application/json"})).body == b"no"


async def test_a_closed_port_and_an_unknown_name_are_unreachable():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with Door(allowed=["127.0.0.1/32"]) as door:
        for url in (f"http://127.0.0.1:{port}/", "https://no-such-host.invalid/"):
            with pytest.raises(OutboundUnreachable):
                await door.request("GET", url, timeout=Timeouts(connect=10), max_bytes=1)


async def test_a_stream_comes_as_it_is_sent():
    async with Upstream(CHUNKED + b"3\r\none\r\n", 0.15, b"3\r\ntwo\r\n", 0.15, b"0\r\n\r\n") as upstream:
        seen = []
        started = asyncio.get_running_loop().time()
        async with upstream.door.stream("POST", upstream.url, body=b"x", timeout=QUICK, max_bytes=10) as reply:
            assert reply.status == 200
            async for chunk in reply.chunks():
                seen.append((chunk, asyncio.get_running_loop().time() - started > 0.1))
        assert seen == [(b"one", False), (b"two", True)]


async def test_what_is_dealt_with_where_it_arrives_wakes_nobody():
    pieces = [b"3\r\n%b\r\n" % word for word in (b"one", b"two", b"six", b"ten")]
    pauses = [step for piece in pieces for step in (piece, 0.05)]
    async with Upstream(CHUNKED, 0.05, *pauses, b"0\r\n\r\n") as upstream:
        seen, returned = [], []

        def take(piece):
            seen.append(piece)
            return piece != b"six"

        async with upstream.door.stream("GET", upstream.url, timeout=QUICK, max_bytes=100) as reply:
            while piece := await reply.piece(take):
                returned.append(piece)
        assert seen == [b"one", b"two", b"six", b"ten"]
        assert returned == [b"six"]


async def test_what_goes_wrong_where_a_piece_arrives_ends_the_reading():
    def refuse(piece):
        raise LookupError(piece)

    async with Upstream(CHUNKED, 0.05, b"3\r\none\r\n", 5.0) as upstream:
        with pytest.raises(LookupError):
            async with upstream.door.stream("GET", upstream.url, timeout=QUICK, max_bytes=100) as reply:
                await reply.piece(refuse)
        await asyncio.wait_for(upstream.hung_up.wait(), 2)


async def test_what_is_dealt_with_where_it_arrives_may_not_take_for_ever():
    async with Upstream(CHUNKED, *[b"1\r\na\r\n", 0.1] * 50) as upstream:
        async with upstream.door.stream("GET", upstream.url, timeout=QUICK, max_bytes=100) as reply:

            async def read_on() -> None:
                while await reply.piece(lambda piece: True):
                    pass

            with pytest.raises(OutboundTimeout) as caught:
                await asyncio.wait_for(read_on(), 9)
        assert caught.value.phase == "total"


async def test_exchanges_share_a_timer_and_each_keeps_its_own_time():
    """A later exchange of a kept connection ends by its own bounds, be they nearer or further than the one before."""
    async with Upstream(OK) as upstream:
        await upstream.request(timeout=Timeouts())
        upstream.script = (5.0,)
        with pytest.raises(OutboundTimeout) as caught:
            await asyncio.wait_for(upstream.request(timeout=QUICK), 2)
        assert caught.value.phase == "first_byte"
        upstream.script = (OK,)
        await upstream.request(timeout=QUICK)
        upstream.script = (1.2, OK)
        assert (await upstream.request(timeout=Timeouts())).body == b"{}"


async def test_whoever_leaves_a_stream_hangs_up():
    async with Upstream(CHUNKED, repeat=b"1\r\na\r\n") as upstream:
        async with upstream.door.stream("GET", upstream.url, timeout=QUICK, max_bytes=10**9) as reply:
            async for _ in reply.chunks():
                break
        await asyncio.wait_for(upstream.hung_up.wait(), 2)


async def test_a_cancelled_request_hangs_up():
    async with Upstream(5.0) as upstream:
        task = asyncio.create_task(upstream.request(timeout=Timeouts()))
        while not upstream.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert upstream.door.in_use == 0


async def test_a_connection_is_used_again_but_not_for_ever(monkeypatch):
    async with Upstream(OK) as upstream:
        for _ in range(5):
            await upstream.request()
        assert len(upstream.connections) == 1
        monkeypatch.setattr("common.outbound.connection.LIFETIME_SECONDS", 0)
        for _ in range(5):
            await upstream.request()
        assert len(upstream.connections) == 6


async def test_a_connection_that_was_hung_up_on_meanwhile_is_not_used_again():
    async with Upstream(OK, HANG_UP) as upstream:
        for _ in range(3):
            assert (await upstream.request()).body == b"{}"
            await asyncio.sleep(0.05)
        assert len(upstream.connections) == 3


async def test_a_connection_that_says_more_than_was_asked_for_is_not_used_again():
    async with Upstream(OK + OK) as upstream:  # the second would be taken for the answer to the next request
        for _ in range(3):
            assert (await upstream.request()).body == b"{}"
        assert len(upstream.connections) == 3


async def test_an_idle_connection_is_closed(monkeypatch):
    monkeypatch.setattr("common.outbound.connection.KEEPALIVE_SECONDS", 0.05)
    monkeypatch.setattr("common.outbound.pool.KEEPALIVE_SECONDS", 0.05)
    async with Upstream(OK) as upstream:
        await upstream.request()
        for _ in range(100):
            if all(connection.done() for connection in upstream.connections):
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the connection stayed open")


async def test_an_answer_without_a_length_ends_with_its_connection():
    async with Upstream(b"HTTP/1.1 200 OK\r\n\r\nab", 0.05, b"cd", HANG_UP) as upstream:
        assert (await upstream.request()).body == b"abcd"


async def test_interim_answers_are_passed_over():
    async with Upstream(b"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n" + OK) as upstream:
        reply = await upstream.request()
        assert (reply.status, reply.headers) == (200, {"content-type": "application/json"})


async def test_who_reads_slowly_is_not_taken_for_a_slow_upstream_and_keeps_it_waiting():
    pieces = b"%x\r\n%b\r\n" % (50_000, b"x" * 50_000)
    async with Upstream(CHUNKED + pieces * 40 + b"0\r\n\r\n") as upstream:
        slow = Timeouts(connect=1, first_byte=1, idle=0.2, total=10)
        size = 0
        async with upstream.door.stream("GET", upstream.url, timeout=slow, max_bytes=10**8) as reply:
            async for piece in reply.chunks():
                assert len(piece) < 700_000  # what was not asked for stayed with the upstream
                if size < 800_000:
                    await asyncio.sleep(0.25)
                size += len(piece)
        assert size == 2_000_000


async def test_a_large_body_arrives_whole():
    async with Upstream(OK) as upstream:
        body = bytes(range(256)) * 8000
        await upstream.request("POST", body=body, timeout=Timeouts())
        assert upstream.requests[0].endswith(b"\r\n\r\n" + body)


async def test_addresses_are_tried_one_after_the_other():
    class Two:
        async def resolve(self, host, port):
            return ["127.0.0.9", "127.0.0.1"]  # nobody listens at the first

        async def close(self):
            pass

    async with Upstream(OK) as upstream, Door(allowed=["127.0.0.0/8"], resolver=Two()) as door:
        url = f"http://two.test:{upstream.port}/"
        assert (await door.request("GET", url, timeout=QUICK, max_bytes=10)).body == b"{}"


async def test_what_the_operator_opened_is_said_aloud(caplog):
    with caplog.at_level(logging.WARNING):
        async with Door(allowed=["10.0.0.0/8", "127.0.0.1/32:8901"], allow_http=True):
            pass
    assert "10.0.0.0/8 on every port" in caplog.text
    assert "127.0.0.1/32 on port 8901" in caplog.text
    assert "plain http" in caplog.text


class Named:
    """A name server that knows one machine."""

    async def resolve(self, host, port):
        return ["127.0.0.1"]

    async def close(self):
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A local CA, and what it certifies: 127.0.0.1 and the name models.test."""
    directory = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name, name = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)]) for one in ("A local CA", "test"))

    def certify(subject, public_key, extension, is_ca):
        return (
            x509.CertificateBuilder(ca_name, subject, public_key, x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(extension, critical=False)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .sign(ca_key, hashes.SHA256())
        )

    address = x509.IPAddress(AllowedNetwork.parse("127.0.0.1/32").network.network_address)
    names = x509.SubjectAlternativeName([address, x509.DNSName("models.test")])
    own = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = certify(ca_name, ca_key.public_key(), own, True)
    certificate = certify(name, key.public_key(), names, False)
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(ca.public_bytes(pem))
    (directory / "server.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    return directory


@pytest.fixture
def server_tls(authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority / "server.pem")
    return context


async def test_tls_is_verified(authority, server_tls):
    async with Upstream(OK, tls=server_tls) as upstream:
        with pytest.raises(OutboundUnreachable, match="certificate"):
            await upstream.request()
        assert upstream.requests == []
        trusting = ssl.create_default_context(cafile=authority / "ca.pem")
        async with Door(allowed=["127.0.0.1/32"], tls=trusting) as door:
            reply = await door.request("GET", upstream.url, timeout=QUICK, max_bytes=10)
        assert reply.body == b"{}"


async def test_the_address_is_pinned_and_the_name_is_what_tls_and_the_server_are_told(authority, server_tls):
    """Dialled is the address that was checked; asked for, and certified, is the name."""
    told = []
    server_tls.sni_callback = lambda _socket, name, _context: told.append(name)
    trusting = ssl.create_default_context(cafile=authority / "ca.pem")
    async with (
        Upstream(OK, tls=server_tls) as upstream,
        Door(allowed=["127.0.0.1/32"], tls=trusting, resolver=Named()) as door,
    ):
        reply = await door.request("GET", f"https://models.test:{upstream.port}/v1", timeout=QUICK, max_bytes=10)
        assert reply.body == b"{}"
        assert told == ["models.test"]
        assert f"Host: models.test:{upstream.port}".encode() in upstream.requests[0].split(b"\r\n")
        with pytest.raises(OutboundUnreachable, match="certificate"):
            await door.request("GET", f"https://other.test:{upstream.port}/v1", timeout=QUICK, max_bytes=10)
        assert told == ["models.test", "other.test"]
        assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:x",
        "[::1",
        "[10.0.0.0/8]",
        "*",
    ],
)
def test_a_wrong_setting_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        AllowedNetwork.parse(text)


@pytest.mark.parametrize(
    ("setting", "scheme", "host", "port", "allowed"),
    [
        ("10.0.0.0/8", "http", "10.1.2.3", 9000, True),
        ("10.0.0.0/8", "https", "11.1.2.3", 9000, True),  # public anyway
        ("10.0.0.0/8", "http", "11.1.2.3", 9000, False),
        ("127.0.0.1/32:8901", "http", "127.0.0.1", 8901, True),
        ("127.0.0.1/32:8901", "http", "::ffff:127.0.0.1", 8901, True),
        ("127.0.0.1/32:8901", "http", "127.0.0.1", 8902, False),
        ("127.0.0.1/32:8901", "http", "127.0.0.2", 8901, False),
        ("127.0.0.1:8901", "https", "127.0.0.1", 8901, True),
        ("fd00::/8", "http", "fd00::1", 80, True),
        ("[fd00::/8]:443", "https", "fd00::1", 443, True),
        ("[fd00::/8]:443", "https", "fd00::1", 444, False),
        ("fe80::/10", "https", "fe80::1%eth0", 443, False),
        ("0.0.0.0/0", "https", "::1", 443, False),
    ],
)
def test_an_opened_network_opens_just_that(setting, scheme, host, port, allowed):
    assert Policy.of([setting]).permits(scheme, host, port) is allowed


@pytest.fixture
def strict(settings):
    settings.OUTBOUND_ALLOWED_NETWORKS = []
    settings.OUTBOUND_ALLOW_HTTP = False
    return settings


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "https://api.example.com:8443/v1/chat?x=%20&y=[".replace("[", "1"),
        "https://münchen.example/",
        "https://my_host.example./v1",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]:444/",
        "https://xn--mnchen-3ya.example/~a/b;c=d",
    ],
)
def test_an_ordinary_url_may_be_saved(strict, url):
    check_url(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://api.example.com/", "https://"),
        ("http://8.8.8.8/", "https://"),
        ("https://127.0.0.1/", "not public"),
        ("https://[::1]/", "not public"),
        ("https://localhost/", "localhost"),
        ("https://a.localhost./", "localhost"),
        ("https://8.8.8.8:22/", "Port 22"),
        ("https://example.com:6379/", "Port 6379"),
        ("https://example.com:0/", "port"),
        ("https://example.com:65536/", "port"),
        ("https://127.1/", "IPv4"),
        ("https://0x7f000001/", "IPv4"),
        ("https://example.0x1/", "IPv4"),
        ("https://010.8.8.8/", "IPv4"),
        ("https://[::1/", "URL"),
        ("https://[1:2]/", "IPv6"),
        ("https://exa mple.com/", "URL"),
        ("https://-a.example/", "host name"),
        ("https://a..example/", "host name"),
        ("https://" + "a" * 64 + ".example/", "host name"),
        ("https://\u2100.example/", "host name"),
        ("https://a@b.example/", "URL"),
        ("https://b.example/#x", "URL"),
        ("https://b.example/a b", "escape"),
        ("https://b.example/ä", "escape"),
        ("https://b.example/%zz", "escape"),
        ("https://b.example/" + "a" * 2048, "longer"),
        ("ftp://b.example/", "URL"),
        ("//b.example/", "URL"),
        ("", "URL"),
    ],
)
def test_any_other_url_is_refused_with_the_reason(strict, url, reason):
    with pytest.raises(OutboundRefused) as caught:
        check_url(url)
    assert reason in caught.value.reason


def test_settings_open_what_they_say(strict):
    strict.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.1/32:8901"]
    check_url("http://127.0.0.1:8901/v1")
    check_url("http://model-server:8901/v1")  # where it leads is seen when dialling
    with pytest.raises(OutboundRefused):
        check_url("http://model-server:8902/v1")
    strict.OUTBOUND_ALLOW_HTTP = True
    check_url("http://api.example.com/")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.Example.com/v1", "https://api.example.com:443"),
        ("HTTPS://api.example.com.:443", "https://api.example.com:443"),
        ("http://[2606:4700::0:1]:81/", "http://[2606:4700::1]:81"),
        ("https://bücher.example", "https://xn--bcher-kva.example:443"),
    ],
)
def test_an_origin_has_one_spelling(url, origin):
    assert origin_of(url) == origin
