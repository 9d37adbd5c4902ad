"""What an attack stands on: servers of our own on loopback, a database with the schema, web processes, an upstream.

Nothing here reads the environment of an installation; everything that is made is under `build/trust/`.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import redis

from config.cluster import ROOT, Cluster, launch_web, own_directory, random_port, wait_for_web
from config.servers import APP_ROLE, OWNER_ROLE, SUPERUSER

if TYPE_CHECKING:
    from gateway.tests.upstream import FakeUpstream

BUILD = ROOT / "build" / "trust"
#: The directory of servers that another run started, for one that joins it.
JOIN = "AGORAI_TRUST_DIRECTORY"
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE")
STOP_SECONDS = 20
JOINED_REDIS = 63  # of the databases of a Redis that is not ours, one that nobody else takes


def new_key(id: str) -> str:
    """One entry of KEY_PEPPERS, KEY_ENCRYPTION_KEYS or JWT_SIGNING_KEYS."""
    return f"{id}:{base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip('=')}"


@dataclass(slots=True)
class Web:
    """A process that serves pages, API and gateway."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self, *, kill: bool = False) -> None:
        """End it: open requests are answered first, unless it is killed."""
        if self.process.poll() is None:
            (self.process.kill if kill else self.process.terminate)()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Ground:
    """`with Ground() as ground`: afterwards Django is set up in this process, on a database of its own.

    build: where everything is made. durable: the servers write as those of an installation do.
    """

    def __init__(self, build: Path = BUILD, *, durable: bool = False) -> None:
        self._build, self._durable = build, durable
        self._ends = ExitStack()
        self._webs: list[Web] = []
        self._pools: dict[str, list[Web]] = {}  # by database
        self._upstream: FakeUpstream | None = None
        self._clones = 0

    def __enter__(self) -> Ground:
        try:
            self._begin()
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def _begin(self) -> None:
        joined = os.environ.get(JOIN)
        if joined:
            self.cluster = Cluster(Path(joined))
        else:
            directory, lock = own_directory(self._build)
            self._ends.callback(lock.close)
            self.cluster = Cluster(directory, durable=self._durable)
            self._ends.callback(self.cluster.stop)
            self.cluster.start()
            for left in self.cluster.databases("trust_"):
                self.cluster.drop(left)
        self.database = f"trust_{os.getpid()}"
        self.directory = self.cluster.directory / self.database
        self._ends.callback(shutil.rmtree, self.directory, ignore_errors=True)
        for name in ("log", "mail", "static", "media"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self._redis_number = JOINED_REDIS if joined else 0
        self.environment = self._choose()
        for name in set(os.environ) - set(KEPT) - {JOIN, "CI"}:
            if not name.startswith(("PYTHON", "LC_")):
                del os.environ[name]  # an operator's DATABASE_URL is nobody's business here
        os.environ |= self.environment | {"DATABASE_POOL_SIZE": "0", "LOG_LEVEL": "CRITICAL"}
        self.cluster.clone(self.database)
        self._ends.callback(self.cluster.drop, self.database)
        self._ends.callback(self._close_django)
        self._ends.callback(self.stop_webs)
        with self.redis() as client:
            client.flushdb()
        import django

        django.setup()

    def _close_django(self) -> None:
        from django.db import connections

        connections.close_all()

    def _choose(self) -> dict[str, str]:
        mail = self.directory / "mail"
        return {
            "DJANGO_SETTINGS_MODULE": "trust.settings",
            "AGORAI_ENV_FILE": os.devnull,
            "AGORAI_VAR": str(self.directory),
            "SITE_URL": "http://localhost:8000",
            "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]",
            "DATABASE_URL": self.database_url,
            "DATABASE_OWNER_URL": self.owner_url,
            "REDIS_URL": self.redis_url,
            "MEDIA_DIR": str(self.directory / "media"),
            "STATIC_DIR": str(self.directory / "static"),
            "EMAIL_URL": f"filemail://{mail}",
            "SECRET_KEY": new_key("s") + new_key("s"),
            "KEY_PEPPERS": new_key("p1"),
            "KEY_ENCRYPTION_KEYS": new_key("k1"),
            "JWT_SIGNING_KEYS": new_key("j1"),
            "DEVELOPER_APPROVAL": "automatic",
            "PUBLISH_APPROVAL": "automatic",
            "STAFF_REQUIRES_MFA": "false",
            "AUTH_RATE_PER_MINUTE": "1000000",
            "API_RATE_PER_MINUTE": "1000000",
            "ORGANIZATION_RATE_PER_MINUTE": "10000000",
            "GATEWAY_CIRCUIT_FAILURES": "0",  # one fake endpoint fails for everybody here
            "OUTBOUND_ALLOWED_NETWORKS": "127.0.0.1/32",
            "OUTBOUND_ALLOW_HTTP": "true",
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "INFO",
        }

    # --- Stores ---

    @property
    def database_url(self) -> str:
        """Of the application's role."""
        return self.cluster.postgresql.url(APP_ROLE, self.database)

    @property
    def owner_url(self) -> str:
        return self.cluster.postgresql.url(OWNER_ROLE, self.database)

    @property
    def redis_url(self) -> str:
        return self.cluster.valkey.url(self._redis_number)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url)

    def execute(self, statement: str, parameters: Any = None, *, superuser: bool = False) -> list[tuple[Any, ...]]:
        """Run a statement as the owner of the tables, past everything that the application checks."""
        url = self.cluster.postgresql.url(SUPERUSER, self.database) if superuser else self.owner_url
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def another_database(self, *, clock_offset: str = "") -> Iterator[None]:
        """A fresh database for the time being: here, and for every web process that is started meanwhile.

        clock_offset: how far its clock is ahead of the machine's, such as "40 minutes".
        """
        from django.db import connections

        before, self._clones = self.database, self._clones + 1
        self.database = f"trust_{os.getpid()}_{self._clones}"
        settings = connections.settings["default"]
        try:
            self.cluster.clone(self.database)
            if clock_offset:
                statement = "alter database {name} set agorai.clock_offset = '" + clock_offset + "'"
                self.cluster.execute(statement, name=self.database)
            connections.close_all()
            settings["NAME"] = self.database
            self.environment |= {"DATABASE_URL": self.database_url, "DATABASE_OWNER_URL": self.owner_url}
            yield
        finally:
            for web in self._pools.pop(self.database, []):
                self._webs.remove(web)
                web.stop(kill=True)
            connections.close_all()
            self.cluster.drop(self.database)
            self.database = before
            settings["NAME"] = before
            self.environment |= {"DATABASE_URL": self.database_url, "DATABASE_OWNER_URL": self.owner_url}

    def dump(self) -> str:
        """The whole database as `pg_dump` writes it; binary values are hexadecimal there."""
        postgresql = self.cluster.postgresql
        command = [str(postgresql.binaries / "pg_dump"), "-h", str(postgresql.sockets), "-U", SUPERUSER, self.database]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def redis_dump(self) -> bytes:
        """Every key and value of this run's Redis."""
        readers = {b"string": "get", b"hash": "hgetall", b"set": "smembers"}
        parts: list[bytes] = []
        with self.redis() as client:
            for key in client.scan_iter(count=1000):
                kind = client.type(key)
                if kind in readers:
                    value = getattr(client, readers[kind])(key)
                elif kind == b"list":
                    value = client.lrange(key, 0, -1)
                elif kind == b"zset":
                    value = client.zrange(key, 0, -1, withscores=True)
                else:
                    value = client.xrange(key)
                parts += [key, value if isinstance(value, bytes) else repr(value).encode()]
        return b"\n".join(parts)

    # --- Processes ---

    def start_webs(self, count: int, **environment: str) -> list[Web]:
        """Fresh processes on the present database, started together. From the main thread only."""
        begun = []
        for _ in range(count):
            port = random_port()
            log = self.directory / "log" / f"web-{port}.log"
            process = launch_web(port, environment=self.given() | environment, log=log)
            web = Web(f"http://127.0.0.1:{port}", process, log)
            self._webs.append(web)
            begun.append((web, port))
        for web, port in begun:
            wait_for_web(web.process, port, log=web.log)
        return [web for web, _ in begun]

    def start_web(self, **environment: str) -> Web:
        return self.start_webs(1, **environment)[0]

    def webs(self, count: int = 1) -> list[Web]:
        """Processes with the settings of this run, shared by everyone who asks; they are not to be stopped."""
        pool = self._pools.setdefault(self.database, [])
        if len(pool) < count:
            pool += self.start_webs(count - len(pool))
        return pool[:count]

    def stop_webs(self, *, keep_pools: bool = False) -> None:
        kept = [web for pool in self._pools.values() for web in pool] if keep_pools else []
        ending = [web for web in self._webs if web not in kept]
        self._webs = kept
        if not keep_pools:
            self._pools.clear()
        for web in ending:
            if web.process.poll() is None:
                web.process.terminate()
        for web in ending:
            web.stop()

    def tidy(self) -> None:
        """Between two invariants: nothing is left of the one before but its rows and the shared processes."""
        self.stop_webs(keep_pools=True)
        self._close_django()
        with self.redis() as client:
            client.flushdb()
        if self._upstream is not None:
            self._upstream.seen.clear()
            self._upstream.answer, self._upstream.behave = {"label": "ok"}, None

    def run_manage(self, *command: str, **environment: str) -> str:
        """What `manage.py` says. Raises CalledProcessError."""
        import sys

        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=self.given() | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def given(self) -> dict[str, str]:
        return {name: os.environ[name] for name in KEPT if name in os.environ} | self.environment

    def logs(self) -> str:
        """What every web process of this run has logged so far."""
        return "".join(path.read_text(errors="replace") for path in sorted((self.directory / "log").iterdir()))

    def mails(self, to: str = "") -> list[EmailMessage]:
        """Mail sent so far, oldest first; to one address, if given. What waits in the outbox is sent now."""
        from notifications.services import deliver

        while deliver(limit=1000):
            pass
        files = sorted((self.directory / "mail").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        found = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in files]
        return [mail for mail in found if isinstance(mail, EmailMessage) and to in ("", parseaddr(str(mail["To"]))[1])]

    @property
    def upstream(self) -> FakeUpstream:
        """A model endpoint that answers as it is told to."""
        if self._upstream is None:
            from gateway.tests.upstream import FakeUpstream

            self._upstream = self._ends.enter_context(FakeUpstream())
        return self._upstream
