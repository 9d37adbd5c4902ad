"""Processes of the product in hundreds: forked from one that has imported everything, so that a start costs little.

What runs in a fork is what `config.up` starts, with the same arguments; only the imports were done before.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from config.cluster import ROOT, random_port
from config.processes import Failure, follow_parent, is_alive, spawn
from config.up import answers, web_command

READY_SECONDS = 60
LONGEST_ORDER = 65_536


@dataclass(slots=True)
class Forked:
    """A process of the product. `port` is 0 for a worker."""

    pid: int
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def runs(self) -> bool:
        return is_alive(self.pid)

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended by then."""
        deadline = time.monotonic() + seconds
        while self.runs and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.runs


class Zygote:
    """`with Zygote(environment, log) as zygote`: whatever was forked ends with it. To be made on the main thread."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._environment, self.log = dict(environment), log
        self._forked: list[Forked] = []

    def __enter__(self) -> Self:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with self.log.open("ab") as output:
            self._process = spawn(
                [sys.executable, "-m", "trust.zygote", str(theirs.fileno())],
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
            )
        theirs.close()
        self._orders.settimeout(READY_SECONDS)
        self._told()
        return self

    def __exit__(self, *_: object) -> None:
        for forked in self._forked:
            forked.kill()
        self._orders.close()
        self._process.kill()
        self._process.wait()

    def start_web(self, port: int = 0, *, wait: bool = True) -> Forked:
        """A process for pages, API and gateway, ready to answer. Raises Failure."""
        forked = self._fork({"port": port or random_port()})
        if wait:
            self.wait_until_ready(forked)
        return forked

    def start_worker(self, **environment: str) -> Forked:
        """A worker with its clock. environment: what libpq shall find there."""
        return self._fork({"port": 0, "environment": environment})

    def wait_until_ready(self, forked: Forked) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not answers(forked.port):
            if not forked.runs or time.monotonic() > deadline:
                raise Failure(f"A web process did not start; its log is {self.log}.")
            time.sleep(0.01)

    def _fork(self, order: dict[str, Any]) -> Forked:
        self._orders.send(json.dumps(order).encode())
        forked = Forked(int(self._told()), order["port"])
        self._forked.append(forked)
        return forked

    def _told(self) -> bytes:
        try:
            told = self._orders.recv(LONGEST_ORDER)
        except TimeoutError:
            told = b""
        if not told:
            raise Failure(f"The processes cannot be started; their log is {self.log}.")
        return told


# --- The other side ---------------------------------------------------------------------------------------------------


def main(descriptor: int) -> None:
    """Fork at every order, until there are no more."""
    import config.asgi
    import config.worker  # noqa: F401

    orders = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    gc.freeze()
    orders.send(b"ready")
    while order := orders.recv(LONGEST_ORDER):
        pid = os.fork()
        if pid == 0:
            orders.close()
            _live(json.loads(order))
        orders.send(str(pid).encode())


def _live(order: dict[str, Any]) -> None:
    import uvicorn.main

    import config.worker

    status = 1
    try:
        follow_parent(os.getppid(), signal.SIGKILL)
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ |= order.get("environment", {})
        if order["port"]:
            uvicorn.main.main(web_command(order["port"])[2:], standalone_mode=False)
            status = 0
        else:
            status = config.worker.main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(int(sys.argv[1]))
