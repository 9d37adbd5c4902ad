"""The directory of an embedded run: whose it is, who uses it now, its secrets and its demo. Standard library only."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config.processes import Failure

NEEDED_BYTES = 200_000_000
_WAIT_FOR_STOP_SECONDS = 60
_SKIPPED = {"var", "tests", "docs", "bench", "trust", "build", "staticfiles", "__pycache__"}


class Var:
    """The directory and the names in it."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.marker = self.path / ".agorai"
        self.run = self.path / "run"
        self.log = self.path / "log"
        self.mail = self.path / "mail"
        self.demo = self.path / "demo.json"
        self.secrets = self.path / "secrets.env"
        self._lock: int | None = None

    def claim(self) -> None:
        """Make it, or find that it is ours. Touches nothing that is not. Raises Failure."""
        try:
            if self.path.exists() and not self.path.is_dir():
                raise Failure(f"{self.path} is not a directory: move it away, or set AGORAI_VAR to another place.")
            if self.marker.exists():
                if self.marker.stat().st_uid != os.geteuid():
                    owner = _user_name(self.marker.stat().st_uid)
                    raise Failure(f"{self.path} belongs to the user {owner}: run this as {owner}, or set AGORAI_VAR.")
            elif self.path.exists() and any(self.path.iterdir()):
                raise Failure(
                    f"{self.path} holds files that are not Agorai's: move them away or set AGORAI_VAR to another place."
                )
            self.path.mkdir(parents=True, exist_ok=True, mode=0o711)
            if not self.marker.exists():
                write_private(self.marker, "The data of a local Agorai. Stop it before you copy or remove them.\n")
            for directory in (self.run, self.log, self.mail):
                directory.mkdir(exist_ok=True, mode=0o700)
            free = shutil.disk_usage(self.path).free
        except OSError as error:
            raise Failure(f"{self.path} cannot be written: {error.strerror or error}.") from error
        if free < NEEDED_BYTES:
            raise Failure(
                f"The disk is too full: {free // 1_000_000} MB are free at {self.path}, "
                f"and at least {NEEDED_BYTES // 1_000_000} MB are needed."
            )

    def acquire(self, say: Callable[[str], None]) -> dict[str, Any]:
        """Be the only run on this directory until this process ends.

        Returns what the run before wrote about itself, if it did not stop cleanly. Raises Failure if one is running.
        """
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + _WAIT_FOR_STOP_SECONDS
        told = False
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                other = self.told()
            else:
                return self.told()
            if other.get("state") == "stopping" and time.monotonic() < deadline:
                if not told:
                    say("Waiting for the run before to stop")
                told = True
                time.sleep(0.1)
                continue
            where = f" at {other['url']}" if "url" in other else ""
            process = f" (process {other['pid']})" if "pid" in other else ""
            raise Failure(f"Agorai runs already{where}{process}: use that one, or stop it first.")

    def announce(self, state: str, **facts: Any) -> None:
        """Write beside the lock what a second launcher should know."""
        assert self._lock is not None
        text = json.dumps({"pid": os.getpid(), "state": state, **facts}).encode()
        with contextlib.suppress(OSError):  # a full disk does not keep a run from ending
            os.pwrite(self._lock, text.ljust(512), 0)

    def release(self) -> None:
        """Forget this run: it stopped cleanly."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def told(self) -> dict[str, Any]:
        """What the run on this directory wrote about itself: pid, state, url, port. Empty when none runs."""
        try:
            told = json.loads((self.path / "lock").read_text())
        except (OSError, ValueError):
            return {}
        return told if isinstance(told, dict) else {}

    def load_secrets(self) -> dict[str, str]:
        """Secrets of this installation, made once and kept; what a newer version needs more is added."""
        found = dict(re.findall(r"^([A-Z_]+)=(\S+)$", self.secrets.read_text(), re.M)) if self.secrets.exists() else {}
        made = {
            "SECRET_KEY": _random_key() + _random_key(),
            "KEY_PEPPERS": f"k1:{_random_key()}",
            "KEY_ENCRYPTION_KEYS": f"k1:{_random_key()}",
            "JWT_SIGNING_KEYS": f"k1:{_random_key()}",
        }
        if made.keys() - found.keys():
            found = made | found
            write_private(self.secrets, "".join(f"{name}={value}\n" for name, value in found.items()))
        return found

    def load_demo(self) -> dict[str, Any] | None:
        """The demo's address, people and key, if there is a demo."""
        try:
            demo = json.loads(self.demo.read_text())
        except (OSError, ValueError):
            return None
        return demo if isinstance(demo, dict) else None

    def move_demo(self, url: str) -> None:
        """The same people and key at another address."""
        demo = self.load_demo()
        if demo is not None and demo.get("url") != url:
            write_private(self.demo, json.dumps(demo | {"url": url}, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a whole file, readable by its owner alone; a crash leaves the old one or the new one."""
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def code_digest(root: Path) -> str:
    """Changes when anything changes that a prepared database and collected static files depend on."""
    digest = hashlib.sha256()
    for directory, below, files in os.walk(root):
        below[:] = sorted(name for name in below if name not in _SKIPPED and not name.startswith("."))
        if directory == str(root):
            files = ["requirements.txt"]
        for name in sorted(files):
            found = os.stat(os.path.join(directory, name))
            digest.update(f"{directory}/{name} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _random_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
