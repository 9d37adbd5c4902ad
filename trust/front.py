"""The front proxy that is shipped, `ops/nginx.conf` as it stands, before web processes of this run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from config.cluster import ROOT, random_port
from config.processes import Failure, spawn
from config.up import answers
from trust.ground import Web

OPS = ROOT / "ops"
LAST_LINES = 5
#: An installation's own part, for a directory of ours. The rest is the file as it is shipped.
PROCESSES = """
client_body_temp_path {directory}/body;
proxy_temp_path {directory}/proxy;
fastcgi_temp_path {directory}/fastcgi;
uwsgi_temp_path {directory}/uwsgi;
scgi_temp_path {directory}/scgi;
upstream gateway {{ server 127.0.0.1:{gateway}; keepalive 256; keepalive_timeout 4s; }}
upstream web {{ server 127.0.0.1:{web}; keepalive 32; keepalive_timeout 4s; }}
"""


@dataclass(frozen=True, slots=True)
class Front:
    """`port` is the proxy's on 127.0.0.1; `log` holds what it complained of."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def find_nginx() -> str | None:
    """Its program; `/usr/sbin` is not on everybody's path."""
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


def lacks() -> str:
    """Why nothing can be tried with it on this machine; empty when it can."""
    return "" if find_nginx() else "nginx is not installed (Debian: apt-get install nginx-light)"


def wanted_of_web() -> dict[str, str]:
    """Settings of a process that stands behind it."""
    return {"TRUSTED_PROXIES": "1"}


@contextmanager
def front(gateway: Web, web: Web) -> Iterator[Front]:
    """Raises Failure when there is no nginx, or when it does not take the file."""
    if (program := find_nginx()) is None:
        raise Failure(lacks())
    with tempfile.TemporaryDirectory(prefix="agorai-front-") as name:
        directory, port = Path(name), random_port()
        directory.chmod(0o755)  # nginx gives up root's rights
        own = directory / "agorai"
        own.mkdir()
        shutil.copy(OPS / "nginx.conf", directory / "nginx.conf")
        ports = {"gateway": _port_of(gateway), "web": _port_of(web)}
        (own / "processes.conf").write_text(PROCESSES.format(directory=directory, **ports))
        shipped = (OPS / "nginx" / "listen.conf").read_text()
        listen = shipped.replace("listen 80 ", f"listen 127.0.0.1:{port} ").replace("listen [::]:80 ", "# ")
        (own / "listen.conf").write_text(listen)
        log = directory / "error.log"
        given = f"daemon off; pid {directory}/nginx.pid; error_log {log} error;"
        process = spawn(
            [program, "-p", name, "-e", str(log), "-c", str(directory / "nginx.conf"), "-g", given],
            death_signal=signal.SIGTERM,  # so that its workers end too
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", "")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(port, process, log)
            yield Front(port, log)
        finally:
            process.terminate()
            process.wait()


def _port_of(web: Web) -> int:
    return int(web.url.rpartition(":")[2])


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while not answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace").splitlines()[-LAST_LINES:] if log.exists() else []
            raise Failure("\n".join(["nginx does not start with ops/nginx.conf:", *said]))
        time.sleep(0.05)
