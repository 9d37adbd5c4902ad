"""Child processes: how they are started, found again after a launcher was killed, and kept from being root."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import pwd
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

STOP_SECONDS = 30
OPEN_FILES = 65_536
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Failure(Exception):
    """What went wrong, as one plain sentence for the person at the terminal."""


def spawn(command: Sequence[str], *, death_signal: int = signal.SIGKILL, **options: Any) -> subprocess.Popen[bytes]:
    """Start a child that gets `death_signal` when this process dies, however it dies.

    The child leads a session of its own, so Ctrl-C in the terminal reaches only the launcher, which stops children
    in order. Call it from the main thread: the kernel watches the thread that made the child.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=functools.partial(follow_parent, os.getpid(), int(death_signal)),
        **options,
    )


def follow_parent(parent: int, death_signal: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(1)


def raise_open_files() -> None:
    """Let this process open as many files as it may at all, within reason: each stream of the gateway takes two, and
    the 1,024 that most systems begin with would end at five hundred."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def is_alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not: in a container without an init it may stay for ever."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def processes_in(directory: Path, programs: Iterable[str]) -> list[int]:
    """Living processes of these programs that work in `directory`: both servers change into their data."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            program = Path(os.readlink(entry / "exe").removesuffix(" (deleted)")).name
            if program in programs and Path(os.readlink(entry / "cwd")) == directory and is_alive(int(entry.name)):
                found.append(int(entry.name))
        except OSError:  # gone meanwhile, or somebody else's
            continue
    return found


def stop_leftovers(directory: Path, programs: Iterable[str]) -> None:
    """End what a killed launcher left running on this data, cleanly if it listens. Raises Failure if it does not."""
    deadline = time.monotonic() + STOP_SECONDS
    asked: set[int] = set()
    while left := processes_in(directory, programs):
        for pid in set(left) - asked:
            _kill(pid, signal.SIGINT)  # PostgreSQL: fast shutdown; Valkey: write the log out and leave
            asked.add(pid)
        if time.monotonic() > deadline + 5:
            raise Failure(f"Processes {left} still use {directory} and cannot be ended.")
        if time.monotonic() > deadline:
            for pid in left:
                _kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@functools.cache
def has_user_namespaces() -> bool:
    """Whether root may become somebody else for one process only; many container runtimes forbid it."""
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*_unshare(), "true"], capture_output=True).returncode == 0


def _unshare() -> list[str]:
    nobody = pwd.getpwnam("nobody")
    return ["unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"]


def server_user() -> tuple[int, int]:
    """uid and gid that the files of PostgreSQL belong to."""
    if os.geteuid() == 0 and not has_user_namespaces():
        nobody = pwd.getpwnam("nobody")
        return nobody.pw_uid, nobody.pw_gid
    return os.geteuid(), os.getegid()


def run_as_server_user() -> list[str]:
    """What to put before a PostgreSQL program, which refuses to be root; each replaces itself, so the pid stays."""
    if os.geteuid() != 0:
        return []
    if has_user_namespaces():
        return _unshare()
    uid, gid = server_user()
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--pdeathsig", "INT"]


def give(directory: Path, owner: tuple[int, int]) -> None:
    """Make `directory` and all below belong to `owner`, if it does not yet."""
    if directory.stat().st_uid == owner[0]:
        return
    for found in (directory, *directory.rglob("*")):
        os.chown(found, *owner, follow_symlinks=False)
