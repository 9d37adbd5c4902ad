"""PostgreSQL and Valkey for a run that ends, of tests or of the trust gate, and processes that serve its databases.

Databases are cloned from a template that was migrated once, so that each takes a fraction of a second. Nothing of
Django is loaded here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg import sql

from config.processes import Failure, spawn
from config.servers import APP_ROLE, OWNER_ROLE, SUPERUSER, PostgreSQL, Valkey
from config.up import answers, free_port, web_command

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 180
TEMPLATES_KEPT = 3  # a run on changed migrations does not cost the next one its template
DIRECTORIES = 32
LINES_SHOWN = 20


class Cluster:
    """The servers of one run; every process of it sees the same ones."""

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        """durable: what is committed survives a power cut, as in an installation; else as fast as possible."""
        self.directory = directory
        run, log = directory / "run", directory / "log"
        self.postgresql = PostgreSQL(
            data=directory / "pg", run=run, log=log / "postgresql.log", durable=durable, connections=300
        )
        self.valkey = Valkey(data=directory / "valkey", run=run, log=log / "valkey.log", durable=durable)
        self._running: list[PostgreSQL | Valkey] = []

    def start(self) -> None:
        for server in (self.postgresql, self.valkey):
            server.log.unlink(missing_ok=True)
            server.start()
            self._running.append(server)
        self.postgresql.create_database("postgres")

    def stop(self) -> None:
        while self._running:
            self._running.pop(0).stop()

    def execute(self, *statements: str, **names: str) -> list[tuple[Any, ...]]:
        """Run statements as the superuser, `{name}` being the name of a database or role. Returns the last's rows."""
        identifiers = {key: sql.Identifier(name) for key, name in names.items()}
        with psycopg.connect(self.postgresql.url(SUPERUSER, "postgres"), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(sql.SQL(statement).format(**identifiers))
            return cursor.fetchall() if cursor.description else []

    def clone(self, name: str) -> None:
        """A fresh database with the schema, replacing one of the same name whoever is connected to it."""
        self.execute(
            "drop database if exists {name} with (force)",
            "create database {name} template {template} owner {owner}",
            name=name,
            template=self.template(),
            owner=OWNER_ROLE,
        )

    def drop(self, name: str) -> None:
        self.execute("drop database if exists {name} with (force)", name=name)

    def databases(self, prefix: str) -> list[str]:
        """Names that begin so, the newest database first."""
        found = self.execute("select datname from pg_database order by oid desc")
        return [name for (name,) in found if name.startswith(prefix)]

    def template(self) -> str:
        """The migrated database to clone from, made again only when a migration or a requirement changed."""
        name = f"template_{_migrations_digest()[:16]}"
        with (self.directory / "template-lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            databases = self.databases("template_")
            if name not in databases:
                finished = [database for database in databases if database != "template_unfinished"]
                for old in ("template_unfinished", *finished[TEMPLATES_KEPT - 1 :]):
                    self.drop(old)
                self._migrate("template_unfinished")
                self.execute("alter database {name} rename to {new}", name="template_unfinished", new=name)
        return name

    def _migrate(self, name: str) -> None:
        """Raises Failure."""
        self.execute("create database {name} owner {owner}", name=name, owner=OWNER_ROLE)
        environment = dict(os.environ, DATABASE_URL=self.postgresql.url(APP_ROLE, name))
        environment["DATABASE_OWNER_URL"] = self.postgresql.url(OWNER_ROLE, name)
        command = [sys.executable, "manage.py", "migrate", "-v0"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"The database could not be migrated:\n{done.stdout}{done.stderr}")


def _migrations_digest() -> str:
    digest = hashlib.sha256((ROOT / "requirements.txt").read_bytes())
    digest.update(datetime.now(UTC).date().isoformat().encode())  # the template holds the partitions of these days
    for path in sorted([*ROOT.glob("*/migrations/*.py"), *ROOT.glob("config/djstripe_migrations/*.py")]):
        digest.update(path.read_bytes())
    for name in ("roles.py", "staff.py"):  # what the application's role may do is in the clone, and the groups of staff
        digest.update((ROOT / "config" / name).read_bytes())
    return digest.hexdigest()


def own_directory(parent: Path) -> tuple[Path, IO[str]]:
    """A directory that no other run in `parent` uses now, with what an earlier one left there, and the lock on it."""
    for number in range(DIRECTORIES):
        directory = parent / str(number)
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return directory, lock
    raise Failure(f"More than {DIRECTORIES} runs are going on in {parent}.")


def random_port() -> int:
    """A free port that no outgoing connection takes meanwhile. No other run is given it until this process ends, or it
    could meet the processes of the other, which answer sooner, and take them for its own."""
    folder = Path(tempfile.gettempdir()) / f"agorai-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        port = free_port(random.randrange(20000, 32000))
        lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return port  # the lock ends with this process


def launch_web(port: int, *, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """One process for pages, API and gateway, not yet ready. To be called from the main thread."""
    with log.open("wb") as output:
        return spawn(
            [sys.executable, *web_command(port)], cwd=ROOT, env=dict(environment), stdout=output, stderr=output
        )


def wait_for_web(process: subprocess.Popen[bytes], port: int, *, log: Path) -> str:
    """The address, once it answers there. Raises Failure with what it said."""
    deadline = time.monotonic() + READY_SECONDS
    while not answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            said = log.read_text(errors="replace").splitlines()[-LINES_SHOWN:]
            raise Failure("\n".join([f"A web process did not start; its log is {log}:", *said]))
        time.sleep(0.05)
    return f"http://127.0.0.1:{port}"
