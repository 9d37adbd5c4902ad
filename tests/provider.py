"""A small OpenID Connect provider from the package index, which really runs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from config.cluster import random_port


@dataclass(frozen=True, slots=True)
class Provider:
    url: str

    def knows(self, number: str, **claims: Any) -> None:
        assert httpx.put(f"{self.url}/users/{number}", json=claims).status_code == 204


@contextlib.contextmanager
def run_provider() -> Iterator[Provider]:
    port = random_port()
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = Provider(f"http://localhost:{port}")
    try:
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{found.url}/.well-known/openid-configuration")
                break
            time.sleep(0.1)
        yield found
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def run_broker(provider: Provider) -> Iterator[str]:
    """An issuer whose log-in is at another origin than itself, and sends people on to a third: `provider`."""
    facts: dict[str, Any] = httpx.get(f"{provider.url}/.well-known/openid-configuration").json()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/start?"):
                self.send_response(302)
                self.send_header("Location", facts["authorization_endpoint"] + self.path.removeprefix("/start"))
                self.end_headers()
                return
            here = f"http://localhost:{self.server.server_address[1]}/start"
            body = json.dumps(facts | {"authorization_endpoint": here}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
