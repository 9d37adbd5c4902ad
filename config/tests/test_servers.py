"""The servers that `make up` and the tests start: nothing that is left behind keeps them from starting."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import redis

from config.processes import Failure, is_alive, processes_in, spawn
from config.servers import APP_ROLE, OWNER_ROLE, PostgreSQL, Valkey, quote_path, remove_short_socket_directory

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = """
import sys, time
from pathlib import Path
from config.servers import PostgreSQL
directory = Path(sys.argv[1])
server = PostgreSQL(data=directory / "pg", run=directory / "run", log=directory / "log" / "pg.log", durable=False)
server.start()
server.create_database()
print(server.process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def directory(tmp_path):
    """Somewhere with a space, a capital and an umlaut in its path."""
    path = tmp_path / "Über all"
    path.mkdir()
    return path


def postgresql(directory: Path) -> PostgreSQL:
    return PostgreSQL(data=directory / "pg", run=directory / "run", log=directory / "log" / "pg.log", durable=False)


def launch(directory: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A launcher in a process of its own, and the pid of its server."""
    process = spawn([sys.executable, "-c", LAUNCH, str(directory)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        return process, int(process.stdout.readline())


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_application_connects_as_a_role_that_does_not_own_the_database(directory):
    server = postgresql(directory)
    server.start()
    try:
        server.create_database()
        server.create_database()  # again, as every start does
        with psycopg.connect(server.url(APP_ROLE)) as connection:
            assert connection.execute("select current_user::text, similarity('agora', 'agorai') > 0").fetchone() == (
                APP_ROLE,
                True,
            )
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("create table anything ()")
        assert oct(server.sockets.stat().st_mode & 0o777) == "0o700"
    finally:
        server.stop()
    assert processes_in(directory / "pg", {"postgres"}) == []


def test_a_launcher_killed_by_force_leaves_no_server_and_loses_no_row(directory):
    launcher, pid = launch(directory)
    with psycopg.connect(postgresql(directory).url(OWNER_ROLE), autocommit=True) as connection:
        connection.execute("create table kept (number int)")
        connection.execute("insert into kept values (42)")
    launcher.kill()
    launcher.wait()
    wait_for(lambda: not is_alive(pid))

    server = postgresql(directory)
    server.start()
    try:
        with psycopg.connect(server.url(OWNER_ROLE)) as connection:
            assert connection.execute("select number from kept").fetchall() == [(42,)]
    finally:
        server.stop()


def test_a_server_killed_by_force_starts_again_over_its_lock_files(directory):
    launcher, pid = launch(directory)
    try:
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(pid))
        assert launcher.poll() is None  # it has not reaped the server, whose number is thus taken by a zombie
        server = postgresql(directory)
        server.start()
        server.stop()
    finally:
        launcher.kill()
        launcher.wait()


def test_a_pid_file_that_names_a_stranger_is_not_believed(directory):
    server = postgresql(directory)
    server.start()
    server.stop()
    (directory / "pg" / "postmaster.pid").write_text(f"{os.getppid()}\n")
    server.start()
    server.stop()


def test_a_path_too_long_for_a_socket_works_and_is_tidied_up(tmp_path):
    directory = tmp_path / ("long" * 20) / ("longer" * 10)
    directory.mkdir(parents=True)
    server = postgresql(directory)
    server.start()
    short = server.sockets.parent
    server.create_database()
    server.stop()
    assert short.stat().st_uid == os.geteuid()
    remove_short_socket_directory(directory / "run")
    assert not short.exists()


def test_a_server_that_cannot_start_says_why_in_one_sentence(directory):
    server = postgresql(directory)
    server.start()
    server.stop()
    (directory / "pg" / "PG_VERSION").write_text("9\n")
    with pytest.raises(Failure, match=r"was made by PostgreSQL 9, but .* is \d\d\.$"):
        server.start()


def test_valkey_keeps_what_it_was_told_over_a_kill(directory):
    server = Valkey(data=directory / "valkey", run=directory / "run", log=directory / "log" / "valkey.log")
    server.start()
    with redis.Redis.from_url(server.url()) as client:
        client.set("kept", "yes")
    time.sleep(1.1)  # the log is synced every second
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    server.start()
    try:
        with redis.Redis.from_url(server.url()) as client:
            assert client.get("kept") == b"yes"
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    finally:
        server.stop()


def test_a_path_survives_parsers_that_lower_the_case_of_a_host():
    assert quote_path(Path("/Tmp/a b")) == "%2F%54mp%2Fa%20b"
