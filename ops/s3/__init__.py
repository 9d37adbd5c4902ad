"""A real server that speaks S3, for tests: versitygw over a folder, built from its published Go module.

`binary()` builds it once, `Server` starts one with an empty bucket. See README.md.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from config.processes import spawn

BUILD = Path(__file__).resolve().parents[2] / "build" / "s3"
MODULE, VERSION = "github.com/versity/versitygw", "v1.8.0"
GO = (1, 25)  # what its go.mod asks for
TOOLCHAIN = "v0.0.1-go1.25.11"  # fetched where Go is older
ACCESS_KEY, SECRET_KEY, REGION, BUCKET = "tests", "a-secret-of-tests-alone", "us-east-1", "media"
START_SECONDS, BUILD_SECONDS = 20, 1200


class Missing(RuntimeError):
    """What the server is made with is not there, or did not do what was asked; the message says which."""


def lacks() -> str:
    """Why there is no server to be had here; empty where there is one, or Go to build it with."""
    if _built().is_file() or shutil.which("go"):
        return ""
    return "Go is not installed (apt-get install golang-go)"


def _built() -> Path:
    return BUILD / VERSION / "versitygw"


def binary() -> Path:
    """The program, built if it is not there yet. Raises Missing."""
    if why := lacks():
        raise Missing(why)
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:  # several processes may test at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _built().is_file():
            with tempfile.TemporaryDirectory(dir=BUILD) as folder:
                command = [_go(), "install", "-ldflags=-s -w", f"{MODULE}/cmd/versitygw@{VERSION}"]
                _run(command, GOBIN=folder, GOTOOLCHAIN="local", CGO_ENABLED="0")
                _built().parent.mkdir(exist_ok=True)
                (Path(folder) / "versitygw").rename(_built())
    return _built()


def _go() -> str:
    """A compiler that is new enough: the one that is installed, or the one that it fetches as a module."""
    installed = str(shutil.which("go"))
    found = re.search(r"go(\d+)\.(\d+)", _run([installed, "env", "GOVERSION"]))
    if found and (int(found[1]), int(found[2])) >= GO:
        return installed
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    told = _run(
        [installed, "mod", "download", "-json", f"golang.org/toolchain@{TOOLCHAIN}.linux-{machine}"],
        GOTOOLCHAIN="local",
        GOFLAGS="-mod=mod",
    )
    folder = Path(json.loads(told)["Dir"])
    for program in (*(folder / "bin").iterdir(), *(folder / "pkg" / "tool").rglob("*")):
        if program.is_file():
            program.chmod(0o755)  # a module's files come without
    return str(folder / "bin" / "go")


def _run(command: list[str], **environment: str) -> str:
    with tempfile.TemporaryDirectory() as folder:  # outside every module
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    if done.returncode:
        raise Missing(f"{Path(command[0]).name} failed: {(done.stdout + done.stderr)[-1500:]}")
    return done.stdout


class Server:
    """One server with an empty bucket, its objects in `folder`. It ends with this process at the latest."""

    def __init__(self, folder: Path) -> None:
        """Started and listening on loopback. Raises Missing."""
        program = binary()
        self.objects, side = folder / "objects", folder / "attributes"
        for part in (self.objects / BUCKET, side):
            part.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        #: What the site is told, to keep its media here.
        self.environment = {
            "MEDIA_S3_ENDPOINT": self.url,
            "MEDIA_S3_BUCKET": BUCKET,
            "MEDIA_S3_REGION": REGION,
            "MEDIA_S3_ACCESS_KEY": ACCESS_KEY,
            "MEDIA_S3_SECRET_KEY": SECRET_KEY,
        }
        command = [str(program), "--port", f"127.0.0.1:{port}", "--region", REGION, "--quiet"]
        command += ["posix", "--sidecar", str(side), str(self.objects)]
        secrets = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY, "HOME": str(folder)}
        with (folder / "output").open("wb") as log:
            self._process = spawn(command, death_signal=signal.SIGKILL, cwd=folder, env=secrets, stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise Missing(f"versitygw did not start: {(folder / 'output').read_text()[-1500:]}")
            time.sleep(0.02)

    def _listens(self) -> bool:
        try:
            build_opener(ProxyHandler({})).open(self.url, timeout=2).close()
        except HTTPError:  # whoever does not sign is refused
            return True
        except OSError:
            return False
        return True

    def names(self) -> list[str]:
        """The names of all objects, in order."""
        root = self.objects / BUCKET
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
