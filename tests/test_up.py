"""`make up`: what a person meets who starts it, starts it twice, kills it, or starts it where it cannot run."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from config import up
from config.processes import Failure, is_alive
from config.var import Var
from conftest import random_port

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


class Launcher:
    """`manage.py up` on a directory of its own."""

    def __init__(self, var: Path, *command: str, cwd: Path = ROOT, **environment: str) -> None:
        self.var = Var(var)
        self.output = var.with_name(f"{var.name}.out")
        kept = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE")
        given = {name: os.environ[name] for name in kept if name in os.environ}
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command or [sys.executable, "manage.py", "up"],
                cwd=cwd,
                env=given | {"AGORAI_VAR": str(var), "AGORAI_ENV_FILE": os.devnull, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_until_running(self, seconds: float = 180) -> str:
        """Returns the address."""
        deadline = time.monotonic() + seconds
        while (told := self.var.told()).get("state") != "running" or told.get("pid") not in self.pids():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)
        return str(told["url"])

    def pids(self) -> set[int]:
        return {self.process.pid, *children_of(self.process.pid)}

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def var(tmp_path: Path) -> Path:
    return tmp_path / "Päth with spaces" / "var"


@pytest.fixture
def started(var: Path) -> Iterator[list[Launcher]]:
    """Launchers that end with the test, even a failed one."""
    var.parent.mkdir()
    launchers: list[Launcher] = []
    yield launchers
    for launcher in launchers:
        if launcher.process.poll() is None:
            launcher.end(signal.SIGTERM)


def children_of(pid: int) -> set[int]:
    """All living descendants."""
    found: set[int] = set()
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            parents[int(entry.parent.name)] = int(fields[1])
    todo = {pid}
    while todo:
        todo = {child for child, parent in parents.items() if parent in todo} - found
        found |= todo
    return found


def wait_until_gone(pids: set[int], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while left := {pid for pid in pids if is_alive(pid)}:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)


def status_of(url: str) -> int:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return int(answer.status)


def mode_of(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def run_up(var: Path, port: str = "") -> tuple[int, str]:
    """For starts that are expected to be refused."""
    launcher = Launcher(var, PORT=port)
    return launcher.process.wait(60), launcher.said()


def test_the_life_of_an_instance(var: Path, started: list[Launcher]) -> None:
    with socket.create_server(("127.0.0.1", random_port())) as taken:
        wanted = taken.getsockname()[1]
        first = Launcher(var, PORT=str(wanted))
        started.append(first)
        url = first.wait_until_running()
    port = int(url.rpartition(":")[2])
    assert port != wanted
    assert f"Port {wanted} is taken; using {port} instead" in first.said()
    assert status_of(url) == status_of(f"{url}/readyz") == status_of(f"{url}/dev/mail") == 200

    demo = json.loads((var / "demo.json").read_text())
    assert demo["url"] == url
    assert set(demo["users"]) == {"consumer", "developer", "staff"}
    assert demo["users"]["staff"]["password"] in first.said()
    assert mode_of(var / "demo.json") == mode_of(var / "secrets.env") == mode_of(var / "run" / "environment") == "0o600"
    assert mode_of(var / "pg") == mode_of(var / "run") == "0o700"

    code, said = run_up(var)
    assert code == 1
    assert f"Agorai runs already at {url} (process {first.process.pid})" in said

    found = re.search(r"^DATABASE_OWNER_URL=(.*)$", (var / "run" / "environment").read_text(), re.M)
    assert found
    owner_url = found[1]
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("create table kept (number int)")
        connection.execute("insert into kept values (42)")
    family = first.pids()
    assert len(family) > 5  # supervisor, site, worker, models, Valkey, PostgreSQL and what it consists of
    first.end(signal.SIGKILL)
    wait_until_gone(family)

    again = time.monotonic()
    second = Launcher(var, PORT=str(port))
    started.append(second)
    assert second.wait_until_running() == url
    assert time.monotonic() - again < 30
    with psycopg.connect(owner_url, autocommit=True) as connection:
        assert connection.execute("select number from kept").fetchall() == [(42,)]
    assert json.loads((var / "demo.json").read_text()) == demo

    family = second.pids()
    web = next(pid for pid in family if b"uvicorn" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(web, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not up.answers(port):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "web ended unexpectedly (signal 9); it is started again" in second.said()

    family = second.pids()
    assert second.end(signal.SIGINT) == 0
    assert not [pid for pid in family if is_alive(pid)]
    assert Var(var).told() == {}
    assert not (var / "run" / "environment").exists()


def test_servers_of_the_operator_are_used_and_none_is_started(cluster, stack) -> None:
    names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in children_of(stack.processes[0].pid)]
    assert names
    assert not {"postgres", "valkey-server"} & set(names)
    assert not (stack.var.path / "pg").exists()
    with psycopg.connect(stack.database_url) as connection:
        assert connection.execute("select count(*) > 0 from accounts_user").fetchone() == (True,)


def test_a_directory_of_somebody_else_is_not_touched(var: Path, started: list[Launcher]) -> None:
    var.mkdir()
    (var / "thesis.txt").write_text("three years of work")
    code, said = run_up(var)
    assert (code, said) == (
        1,
        f"make up: {var} holds files that are not Agorai's: move them away or set AGORAI_VAR to another place.\n",
    )
    assert [path.name for path in var.iterdir()] == ["thesis.txt"]


def test_a_file_in_place_of_the_directory_is_not_touched(var: Path, started: list[Launcher]) -> None:
    var.write_text("mine")
    code, said = run_up(var)
    assert (code, said) == (
        1,
        f"make up: {var} is not a directory: move it away, or set AGORAI_VAR to another place.\n",
    )
    assert var.read_text() == "mine"


@pytest.mark.parametrize("port", ["eight", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(var: Path, started: list[Launcher], port: str) -> None:
    code, said = run_up(var, port)
    assert (code, said) == (1, f"make up: PORT is {port!r}, but must be a number from 1 to 65535.\n")
    assert not var.exists()


def test_a_full_disk_is_said_in_one_sentence(var: Path, started: list[Launcher], monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12 - 10**6, 10**6))
    with pytest.raises(Failure, match=r"^The disk is too full: 1 MB are free at .*, and at least 200 MB are needed\.$"):
        Var(var).claim()


def test_a_part_that_keeps_dying_ends_everything(tmp_path: Path) -> None:
    supervisor = up.Supervisor(Var(tmp_path), up.Signals())
    starts: list[float] = []
    supervisor.parts.append(up.Part("web", lambda: starts.append(time.monotonic()), lambda: 1))

    def look_after_it() -> None:
        while True:
            supervisor.look_after()
            time.sleep(0.01)

    with pytest.raises(Failure, match=r"^web ended 5 times within a minute"):
        look_after_it()
    assert len(starts) == 4
    assert starts[3] - starts[2] > starts[1] - starts[0]  # it waits longer each time


def test_an_environment_that_cannot_be_filled_is_not_taken_for_whole(tmp_path: Path) -> None:
    for name in ("bootstrap.py", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".unfinished").touch()
    (tmp_path / ".venv" / "rubbish").touch()
    environment = {**os.environ, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull}
    environment.pop("PIP_FIND_LINKS", None)
    done = subprocess.run(
        [sys.executable, "bootstrap.py", "--", "-c", "print('ran')"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        "bootstrap: The packages could not be installed: the package index cannot be reached; "
        "check the network or the proxy, then run this again."
    )
    assert not (tmp_path / ".venv" / "rubbish").exists()
    assert (tmp_path / ".venv" / ".unfinished").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests here run as a plain user already")
def test_a_plain_user_starts_it_in_a_clone_without_anything(started: list[Launcher], var: Path) -> None:
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    python = next((path for path in (sys.executable, "/usr/bin/python3") if _runs([*as_nobody, path])), None)
    if python is None:
        pytest.skip("no Python 3.11 that the user nobody may run")
    clone = Path("/tmp") / f"agorai clone {os.getpid()}"  # a plain user may not enter the directories of pytest
    try:
        files = subprocess.run(
            ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
        )
        for name in filter(None, files.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (clone / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, clone / name)
        for path in (clone, *clone.rglob("*")):
            os.chown(path, 65534, 65534)
        launcher = Launcher(
            clone / "var",
            *as_nobody,
            "make",
            "up",
            f"PYTHON={python}",
            cwd=clone,
            PORT=str(random_port()),
            HOME="/nonexistent",
        )
        started.append(launcher)
        url = launcher.wait_until_running(300)
        assert status_of(url) == 200
        assert (clone / "var" / "pg").stat().st_uid == 65534
        family = launcher.pids()
        launcher.end(signal.SIGTERM)
        wait_until_gone(family)
    finally:
        for launcher in started:
            launcher.process.poll() is None and launcher.end(signal.SIGTERM)
        shutil.rmtree(clone, ignore_errors=True)


def _runs(command: list[str]) -> bool:
    check = "import sys; raise SystemExit(sys.version_info < (3, 11) or sys.prefix != sys.base_prefix)"
    try:
        return subprocess.run([*command, "-c", check], capture_output=True).returncode == 0
    except OSError:
        return False
