"""Until a process listens."""

from __future__ import annotations

import socket
import subprocess
import time

from config.processes import Failure


def wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Raises Failure when the process ends before it listens on the port, or takes too long."""
    deadline = time.monotonic() + seconds
    while not _listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failure(f"Nothing listens on port {port}.")
        time.sleep(0.05)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
