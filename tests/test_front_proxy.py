"""The front proxy that is shipped: what goes where, what is believed of a client, what it says itself. How it holds
against ambiguous and slow requests is tried by `python -m trust T17` and `T18`."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from config.cluster import random_port
from tests.client import Client
from trust.front import OPS, find_nginx, front

pytestmark = pytest.mark.skipif(find_nginx() is None, reason="nginx is not installed")


class Echo(BaseHTTPRequestHandler):
    """Tells what arrived; `/v1/stream` says something at once and the rest when the test is over."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/v1/stream":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("X-Accel-Buffering", "no")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"data: first\n\n")
            self.wfile.flush()
            self.server.over.wait(20)
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"who": self.server.who, "path": self.path, "headers": headers}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *arguments):
        """Nobody wants to know."""


@pytest.fixture(scope="module")
def proxy():
    servers = []
    for who in ("gateway", "web"):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        server.who, server.over, server.daemon_threads = who, threading.Event(), True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    gateway, web = (SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}") for server in servers)
    with front(gateway, web) as running:
        yield SimpleNamespace(url=running.url, port=running.port, gateway=servers[0])
    for server in servers:
        server.over.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("listen", ["listen.conf", "listen-tls.conf"])
def test_the_parts_that_an_installation_changes_are_accepted_as_they_are_shipped(listen, tmp_path):
    own = tmp_path / "agorai"
    own.mkdir()
    temporary = "".join(
        f"{name}_temp_path {tmp_path}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (own / "processes.conf").write_text((OPS / "nginx" / "processes.conf").read_text() + temporary)
    ports = re.sub(r"(listen (?:\[::\]:)?)(?:80|443) ", rf"\g<1>{random_port()} ", (OPS / "nginx" / listen).read_text())
    (own / "listen.conf").write_text(re.sub("/etc/letsencrypt/live/[^/]+", str(tmp_path), ports))
    _write_certificate(tmp_path)
    main = (OPS / "nginx.conf").read_text()
    (tmp_path / "nginx.conf").write_text(main)
    given = f"pid {tmp_path}/nginx.pid; error_log stderr;"
    command = [find_nginx(), "-t", "-q", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-g", given]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _write_certificate(directory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "models.example.org")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now)
    certificate = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    (directory / "fullchain.pem").write_bytes(certificate.public_bytes(pem))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (directory / "privkey.pem").write_bytes(key.private_bytes(pem, *plain))


@pytest.mark.parametrize(
    ("path", "who"),
    [
        ("/v1/chat/completions", "gateway"),
        ("/v1/models", "gateway"),
        ("/api/models/mdl_1/invoke", "gateway"),
        ("/api/models/a:b/invoke", "gateway"),
        ("/models/a/b/playground", "gateway"),
        ("/", "web"),
        ("/models/a/b", "web"),
        ("/api/models", "web"),
        ("/api/models/a/b/invoke", "web"),
        ("/api/models/a/invoke/more", "web"),
        ("/accounts/login/?next=/v1/", "web"),
    ],
)
def test_calls_go_to_the_gateway_and_all_else_to_the_pages(proxy, path, who):
    answer = Client(proxy.url).get(path)
    assert answer.status == 200
    assert (answer.json["who"], answer.json["path"]) == (who, path)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/keys", "/"])
def test_what_a_client_says_of_where_it_comes_from_ends_here(proxy, path):
    claims = {
        "X_Forwarded_For": "203.0.113.9, 10.0.0.1",
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Host": "evil.example",
        "X_Forwarded_Port": "1",
        "X_Real_IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.9",
    }
    seen = Client(proxy.url)("POST", path, {"a": 1}, **claims).json["headers"]
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    assert seen["host"] == f"127.0.0.1:{proxy.port}"
    assert not {"x-forwarded-host", "x-forwarded-port", "x-real-ip", "forwarded", "connection"} & seen.keys()


def test_figures_are_not_public(proxy):
    assert Client(proxy.url).get("/metrics").status == 404


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/models/m/invoke", "/api/keys"])
def test_a_body_that_is_too_large_is_refused_as_the_product_would(proxy, path):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as client:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {8 * 1024 * 1024 + 1}\r\nConnection: close\r\n\r\n"
        client.sendall(head.encode())
        answer = HTTPResponse(client)
        answer.begin()
        body = json.loads(answer.read())
    assert (answer.status, answer.getheader("Content-Type")) == (413, "application/json")
    assert body["code"] == body["error"]["code"] == "payload_too_large"


def test_a_stream_is_not_held_back(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        client.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while b"data: first\n\n" not in received:
            received += client.recv(4096)


def test_a_process_that_is_away_is_said_to_come_back(proxy):
    proxy.gateway.over.set()
    proxy.gateway.shutdown()
    proxy.gateway.server_close()
    time.sleep(0.1)
    answer = Client(proxy.url).post("/v1/chat/completions")
    assert answer.status == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json["error"]["code"] == "service_unavailable"
