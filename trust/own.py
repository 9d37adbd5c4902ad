"""Servers of an invariant's own, so that killing them spoils nobody else's. To be imported inside `run`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.cluster import Cluster
from config.processes import is_alive, processes_in
from config.servers import OWNER_ROLE, SUPERUSER, Valkey
from trust.ground import Ground

GONE_SECONDS = 10


@contextmanager
def own_valkey(ground: Ground) -> Iterator[Valkey]:
    """One that forgets everything when it is killed: the worst that may happen to a limit."""
    directory = ground.directory / "own"
    directory.mkdir(parents=True, exist_ok=True)
    valkey = Valkey(data=directory / "valkey", run=directory / "run", log=directory / "valkey.log", durable=False)
    valkey.start()
    try:
        yield valkey
    finally:
        valkey.stop()


@contextmanager
def own_cluster(ground: Ground) -> Iterator[Cluster]:
    """PostgreSQL as an installation runs it, with a copy of the present database under the same name, and Valkey."""
    cluster = Cluster(ground.cluster.directory / "durable", durable=True)
    cluster.directory.mkdir(parents=True, exist_ok=True)
    try:
        cluster.start()
        for left in cluster.databases("trust_"):
            cluster.drop(left)
        cluster.execute("create database {name} owner {owner}", name=ground.database, owner=OWNER_ROLE)
        _copy(ground, cluster)
        yield cluster
    finally:
        cluster.stop()


def _copy(ground: Ground, cluster: Cluster) -> None:
    there = cluster.postgresql
    command = [str(there.binaries / "psql"), "-XqAt", "-h", str(there.sockets), "-U", SUPERUSER, "-d", ground.database]
    done = subprocess.run(
        [*command, "--single-transaction", "--set=ON_ERROR_STOP=1", "-f", "-"],
        input=ground.dump(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"The database cannot be copied: {done.stderr[-500:]}")


def servers_of(cluster: Cluster) -> list[int]:
    """Every process of its PostgreSQL, the first of all in front."""
    postgresql = cluster.postgresql
    assert postgresql.process is not None
    first = postgresql.process.pid
    return [first, *(pid for pid in processes_in(postgresql.data, postgresql.programs) if pid != first)]


def kill_all(pids: list[int]) -> None:
    """At the same instant, as nearly as it can be done: none may write out what another left."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    deadline = time.monotonic() + GONE_SECONDS
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.005)


def socket_of(directory: Path) -> Path:
    """PostgreSQL's socket in a directory of sockets."""
    return directory / ".s.PGSQL.5432"
