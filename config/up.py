"""`make up`: databases, site, gateway, worker and the demo's models, on this machine, under one Ctrl-C.

PORT chooses the port (8000, or the next free one), AGORAI_VAR the directory of the data (var/). DATABASE_URL and
REDIS_URL switch to servers of yours. Everything set in the environment or in .env wins over what is chosen here.
This process stays small for as long as it runs, so it loads nothing of Django.
"""

from __future__ import annotations

import errno
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.processes import Failure, spawn
from config.servers import APP_ROLE, OWNER_ROLE, PostgreSQL, Valkey, remove_short_socket_directory
from config.var import Var, code_digest, write_private

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)
FIRST_PORT = 8000
MODELS_ABOVE = 901  # the demo's models listen that far above the site, so that two sites do not race for one port
PORTS_TRIED = 100

_WEB_SECONDS = 15  # uvicorn itself drains for 10
_WORKER_SECONDS = 15
_READY_SECONDS = 180
_DEATHS, _DEATHS_WITHIN_SECONDS = 5, 60
_COLOURS = {"web": 36, "worker": 35, "models": 33, "prepare": 34}


class Interrupted(BaseException):
    """Somebody wants us to end: Ctrl-C, SIGTERM, a closed terminal."""


class Signals:
    """The first one ends what is going on; a later one takes the patience away from the ending."""

    def __init__(self) -> None:
        self.ending_since: float | None = None
        self.hurry = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means what it says
                signal.signal(number, self.receive)

    def receive(self, number: int, frame: object) -> None:
        if self.ending_since is None:
            self.end()
            raise Interrupted
        if time.monotonic() - self.ending_since > 1:  # make and the terminal may both have told us
            self.hurry = True

    def end(self) -> None:
        self.ending_since = self.ending_since or time.monotonic()


@dataclass
class Part:
    """Something that must go on running."""

    name: str
    start: Callable[[], object]
    poll: Callable[[], int | None]
    deaths: deque[float] = field(default_factory=deque)
    start_at: float | None = None  # monotonic


class Supervisor:
    def __init__(self, var: Var, signals: Signals) -> None:
        self.var = var
        self.signals = signals
        self.given = operator_environment(os.environ)
        self.began = time.monotonic()
        self.selector = selectors.DefaultSelector()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.unfinished: dict[str, bytes] = {}
        self.parts: list[Part] = []
        self.environment: dict[str, str] = {}
        self.postgresql: PostgreSQL | None = None
        self.valkey: Valkey | None = None
        self.url = ""
        self.colourful = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    # --- What a person sees -------------------------------------------------------------------------------------------
    def write(self, line: str) -> None:
        try:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        except OSError:  # nobody reads any more: end as if asked to
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            if self.signals.ending_since is None:
                raise Interrupted from None

    def say(self, text: str) -> None:
        self.write(f"{time.monotonic() - self.began:6.1f} s  {text}")

    def relay(self, name: str, line: bytes) -> None:
        label = f"{name:<8}|"
        if self.colourful:
            label = f"\033[{_COLOURS[name]}m{label}\033[0m"
        self.write(f"{label} {line.decode(errors='replace').rstrip()}")

    # --- Children -----------------------------------------------------------------------------------------------------
    def launch(self, name: str, *arguments: str) -> None:
        """Start a Python child whose lines are shown here."""
        process = spawn(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self.processes[name] = process
        self.unfinished[name] = b""
        self.selector.register(process.stdout, selectors.EVENT_READ, name)

    def keep(self, name: str, *arguments: str) -> None:
        """Launch it, and launch it again whenever it ends."""
        part = Part(name, lambda: self.launch(name, *arguments), lambda: self.processes[name].poll())
        part.start()
        self.parts.append(part)

    def pump(self, seconds: float) -> None:
        """Show what the children say, for at most `seconds`."""
        for key, _ in self.selector.select(seconds):
            data = os.read(key.fd, 65536)
            lines = (self.unfinished[key.data] + data).split(b"\n")
            self.unfinished[key.data] = lines.pop()
            if not data:
                self.selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
                lines += filter(None, [self.unfinished[key.data]])
            for line in lines:
                self.relay(key.data, line)

    def look_after(self) -> None:
        """Start again what ended by itself. Raises Failure when that does not help."""
        now = time.monotonic()
        for part in self.parts:
            if part.start_at is not None:
                if now >= part.start_at:
                    part.start_at = None
                    part.start()
            elif (code := part.poll()) is not None:
                part.deaths.append(now)
                while part.deaths[0] < now - _DEATHS_WITHIN_SECONDS:
                    part.deaths.popleft()
                why = f"signal {-code}" if code < 0 else f"exit code {code}"
                if len(part.deaths) >= _DEATHS:
                    raise Failure(
                        f"{part.name} ended {_DEATHS} times within a minute (the last time with {why}); "
                        f"its lines above and the logs in {self.var.log} tell more."
                    )
                delay = 0.25 * 2 ** len(part.deaths)
                self.say(f"{part.name} ended unexpectedly ({why}); it is started again in {delay:g} s")
                part.start_at = now + delay

    # --- From beginning to end ----------------------------------------------------------------------------------------
    def start(self, *, port: int, models_port: int) -> None:
        self.url = f"http://localhost:{port}"
        self.var.announce("starting", url=self.url, port=port)
        if "DATABASE_URL" not in self.given:
            self.postgresql = PostgreSQL(
                data=self.var.path / "pg", run=self.var.run, log=self.var.log / "postgresql.log"
            )
        if "REDIS_URL" not in self.given:
            self.valkey = Valkey(data=self.var.path / "valkey", run=self.var.run, log=self.var.log / "valkey.log")
        models_url = f"http://127.0.0.1:{models_port}"
        chosen = {name: value for name, value in self.choose(models_url).items() if name not in self.given}
        self.environment = {
            **os.environ,
            **chosen,
            "AGORAI_VAR": str(self.var.path),
            "DEMO_UPSTREAM_URL": models_url,
            "PYTHONUNBUFFERED": "1",
            **({"FORCE_COLOR": "1"} if self.colourful else {}),
            "MALLOC_ARENA_MAX": "2",  # threads that idle should not each keep a heap
        }
        # AGORAI_ENV_FILE=var/run/environment lets another command of the operator's join this run.
        write_private(self.var.run / "environment", "".join(f"{name}={value}\n" for name, value in chosen.items()))
        self.keep("models", "-m", "examples.model_server", "--port", str(models_port))
        self.start_servers()
        if self.must_prepare(models_port):
            self.prepare(models_port)
        self.var.move_demo(self.url)
        self.keep("web", *web_command(port))
        self.keep("worker", "-m", "config.worker")
        self.wait_until_ready(port)
        self.var.announce("running", url=self.url, port=port)
        self.welcome()

    def choose(self, models_url: str) -> dict[str, str]:
        """What a demo on one machine needs, unless the operator says otherwise."""
        chosen = {
            "SITE_URL": self.url,
            "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]",
            "MEDIA_DIR": str(self.var.path / "media"),
            "STATIC_DIR": str(self.var.path / "static"),
            "WELCOME_CREDIT": "5.00",
            "DEVELOPER_APPROVAL": "automatic",
            "PUBLISH_APPROVAL": "automatic",
            "STAFF_REQUIRES_MFA": "false",
            "AUTH_RATE_PER_MINUTE": "300",
            "OUTBOUND_ALLOWED_NETWORKS": models_url.removeprefix("http://").replace(":", "/32:"),
            "OUTBOUND_ALLOW_HTTP": "true",
            "LOG_FORMAT": "console",
            "AUDIT_ANCHOR_FILE": str(self.var.path / "audit-anchors.jsonl"),
            **self.var.load_secrets(),
        }
        if "EMAIL_URL" not in self.given:  # real mail is nobody's to read
            chosen |= {"EMAIL_URL": f"filemail://{self.var.mail}", "DEV_MAIL_DIR": str(self.var.mail)}
        if self.postgresql is not None:
            chosen["DATABASE_URL"] = self.postgresql.url(APP_ROLE)
            chosen["DATABASE_OWNER_URL"] = self.postgresql.url(OWNER_ROLE)
        if self.valkey is not None:
            chosen["REDIS_URL"] = self.valkey.url()
        return chosen

    def start_servers(self) -> None:
        if self.valkey is not None:
            valkey = self.valkey
            valkey.start()
            self.parts.append(Part(valkey.name, valkey.start, valkey.poll))
        if self.postgresql is not None:
            postgresql = self.postgresql
            if not postgresql.data.exists():
                self.say("Making the database")
            postgresql.start()
            postgresql.create_database()
            self.parts.append(Part(postgresql.name, postgresql.start, postgresql.poll))
        ours = [f"{server.name} started" for server in (self.postgresql, self.valkey) if server is not None]
        theirs = [name for name in ("DATABASE_URL", "REDIS_URL") if name in self.given]
        self.say(", ".join(ours + [f"using the server of {name}" for name in theirs]))

    def must_prepare(self, models_port: int) -> bool:
        """Whether anything changed since the database was last brought in step; ours is known, another's never."""
        if self.postgresql is None or not self.var.demo.exists():
            return True
        note = self.var.path / "prepared"
        return not note.exists() or note.read_text() != f"{code_digest(ROOT)} {models_port}"

    def prepare(self, models_port: int) -> None:
        digest = code_digest(ROOT)  # before, so that a change meanwhile is seen by the next start
        self.launch("prepare", "manage.py", "prepare")
        process = self.processes["prepare"]
        told_at = time.monotonic()
        while process.poll() is None:
            self.pump(0.1)
            self.look_after()
            if time.monotonic() - told_at > 5:
                told_at = time.monotonic()
                self.say("Still preparing")
        self.pump(0)
        if process.returncode:
            raise Failure(f"The database could not be prepared (exit code {process.returncode}); see the lines above.")
        if self.postgresql is not None:
            write_private(self.var.path / "prepared", f"{digest} {models_port}")
        self.say("The database is prepared")

    def wait_until_ready(self, port: int) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not answers(port):
            if time.monotonic() > deadline:
                raise Failure(f"The site did not answer within {_READY_SECONDS} s; see the lines above.")
            self.pump(0.1)
            self.look_after()

    def welcome(self) -> None:
        self.say(f"Agorai is ready:  {self.url}")
        demo = self.var.load_demo()
        if demo is not None:
            for role, person in demo["users"].items():
                self.write(f"{'':10}{role:<10} {person['email']}  {person['password']}")
            self.write(f"{'':10}{'API key':<10} {demo['api_key']}")
        if self.environment.get("DEV_MAIL_DIR"):
            self.write(f"{'':10}{'mail':<10} {self.url}/dev/mail")
        self.write(f"{'':10}Ctrl-C stops everything.")

    def run(self) -> None:
        while True:
            self.pump(0.5)
            self.look_after()

    def stop(self) -> None:
        """End every child, those who use others first. A second Ctrl-C takes the patience away."""
        self.signals.end()
        self.parts.clear()
        if self.processes:
            self.say("Stopping")
        self.var.announce("stopping", url=self.url)
        self.end({"prepare", "web", "worker"}, max(_WEB_SECONDS, _WORKER_SECONDS))
        self.end({"models"}, 3)
        for server in (self.valkey, self.postgresql):
            if server is not None:
                server.stop()
        remove_short_socket_directory(self.var.run)
        (self.var.run / "environment").unlink(missing_ok=True)
        self.var.release()

    def end(self, names: set[str], seconds: float) -> None:
        running = {name: self.processes[name] for name in names & self.processes.keys()}
        for process in running.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + seconds
        while any(process.poll() is None for process in running.values()):
            if self.signals.hurry or time.monotonic() > deadline:
                for process in running.values():
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)
                        process.wait()
            self.pump(0.05)
        self.pump(0)


def operator_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What the operator set, in the environment, in `.env` or by NAME_FILE. An empty value counts as none."""
    found: dict[str, str] = {}
    env_file = ROOT / environ.get("AGORAI_ENV_FILE", ".env")
    if env_file.is_file():
        found |= dict(re.findall(r"^\s*(?:export )?([A-Za-z_]\w*)=[ '\"]*([^'\"\n]*)", env_file.read_text(), re.M))
    found = {name: value for name, value in (found | dict(environ)).items() if value.strip()}
    return found | {name.removesuffix("_FILE"): value for name, value in found.items() if name.endswith("_FILE")}


def web_command(port: int) -> list[str]:
    """One process for pages, API and gateway."""
    return [
        *("-m", "uvicorn", "config.asgi:application", "--host", "127.0.0.1", "--port", str(port)),
        *("--loop", "uvloop", "--http", "common.serving:Protocol", "--lifespan", "on", "--log-level", "warning"),
        *("--no-access-log", "--no-server-header", "--no-proxy-headers", "--timeout-graceful-shutdown", "10"),
    ]


def free_port(first: int, *, wait_seconds: float = 0, avoid: int = 0) -> int:
    """The first port from `first` on where nobody listens on this machine. Raises Failure."""
    deadline = time.monotonic() + wait_seconds
    while not is_free(first) and time.monotonic() < deadline:
        time.sleep(0.05)
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        if port != avoid and is_free(port):
            return port
    raise Failure(f"No port from {first} to {min(first + PORTS_TRIED, 65536) - 1} is free: choose another with PORT=….")


def is_free(port: int) -> bool:
    """Whether we may listen there, and `localhost` would not lead to somebody else by IPv6."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise Failure(f"Port {port} is for root only: choose one from 1024 on with PORT=….") from error
            if family == socket.AF_INET or error.errno == errno.EADDRINUSE:
                return False
    return True


def answers(port: int) -> bool:
    """Whether the site is ready for people."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return client.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False


def wanted_port() -> int:
    text = os.environ.get("PORT", "").strip() or str(FIRST_PORT)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise Failure(f"PORT is {text!r}, but must be a number from 1 to 65535.")
    return int(text)


def first_models_port(port: int) -> int:
    return min(port + MODELS_ABOVE, 65536 - PORTS_TRIED)


def main() -> int:
    signals = Signals()
    try:
        if sys.platform != "linux" or sys.version_info < OLDEST_PYTHON:
            raise Failure("This needs Linux and Python 3.11 or newer.")
        wanted = wanted_port()
        var = Var(Path(os.environ.get("AGORAI_VAR") or ROOT / "var"))
        var.claim()
        supervisor = Supervisor(var, signals)
        before = var.acquire(supervisor.say)
        try:
            port = free_port(wanted, wait_seconds=3 if before.get("port") == wanted else 0)
            if port != wanted:
                supervisor.say(f"Port {wanted} is taken; using {port} instead")
            supervisor.start(port=port, models_port=free_port(first_models_port(port), avoid=port))
            supervisor.run()
        finally:
            supervisor.stop()
    except Interrupted:
        return 0
    except Failure as failure:
        sys.stderr.write(f"make up: {failure}\n")
        return 1
    except OSError as error:
        what = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        sys.stderr.write(f"make up: {what}.\n")
        return 1
    return 0
