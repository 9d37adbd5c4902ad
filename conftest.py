"""One PostgreSQL and one Valkey for the whole run of tests: real ones, from the launcher that `make up` uses.

Every worker of pytest-xdist has a database of its own, cloned from a template that was migrated once, and connects to
it as the application's role. `stack` is a whole running instance for tests that come through the front door.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import django
import pytest

from config.cluster import READY_SECONDS, Cluster, launch_web, own_directory, random_port, wait_for_web
from config.processes import Failure, spawn
from config.servers import APP_ROLE, OWNER_ROLE
from config.var import Var
from tests import one_door

ROOT = Path(__file__).resolve().parent


_lock: Any = None
_cluster: Cluster | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers once, in the controlling process, and point the settings at them before Django reads them."""
    global _lock, _cluster
    if config.getoption("help", False) or config.getoption("version", 0):
        return
    worker = getattr(config, "workerinput", {}).get("workerid", "")
    try:
        if worker:
            _cluster = Cluster(Path(os.environ["AGORAI_TEST_DIRECTORY"]))
        else:
            directory, _lock = own_directory(ROOT / "build" / "test")
            _cluster = Cluster(directory)
            _cluster.start()
            os.environ["AGORAI_TEST_DIRECTORY"] = str(directory)
    except Failure as failure:
        pytest.exit(str(failure), returncode=3)
    number = int(worker.removeprefix("gw")) + 1 if worker else 0
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "config.settings_test",
        "AGORAI_ENV_FILE": os.devnull,
        "DATABASE_URL": _cluster.postgresql.url(APP_ROLE, f"test_{number}"),
        "DATABASE_OWNER_URL": _cluster.postgresql.url(OWNER_ROLE, f"test_{number}"),
        "REDIS_URL": _cluster.valkey.url(number % 32),
        "MEDIA_DIR": str(_cluster.directory / "media"),
        "STATIC_DIR": str(_cluster.directory / "static"),
    }
    Path(os.environ["STATIC_DIR"]).mkdir(exist_ok=True)  # or WhiteNoise warns
    django.setup()
    one_door.watch()
    if getattr(config.option, "numprocesses", None):
        # Workers inherit the environment; with this in it, they would load the settings before theirs are written.
        del os.environ["DJANGO_SETTINGS_MODULE"]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Whatever a test made the product do, it talked to strangers through the one door."""
    if found := one_door.take_found():
        pytest.fail("\n".join(found), pytrace=False)


def pytest_unconfigure() -> None:
    if _cluster is not None:
        _cluster.stop()  # what this process started
    if _lock is not None:
        _lock.close()


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    assert _cluster is not None
    return _cluster


@pytest.fixture(scope="session")
def django_db_setup(cluster: Cluster, django_test_environment: None) -> Iterator[None]:
    """In place of pytest-django's: the database is a clone, and transactional tests get a new one instead of TRUNCATE,
    which the application's role may not do."""
    import redis
    from django.conf import settings
    from django.db import connections
    from django.test import TransactionTestCase

    name = settings.DATABASES["default"]["NAME"]
    cluster.clone(name)
    redis.Redis.from_url(settings.REDIS_URL).flushdb()

    def clone_again(self: TransactionTestCase) -> None:
        connections.close_all()
        cluster.clone(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", clone_again)
        yield
    connections.close_all()
    cluster.drop(name)


@dataclass
class Stack:
    """A whole instance: site, gateway, worker and demo models, as `make up` runs them, on databases of its own."""

    var: Var
    url: str
    database_url: str
    owner_url: str
    redis_url: str
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def mail_dir(self) -> Path:
        return self.var.mail

    @property
    def demo(self) -> dict[str, Any]:
        """`url`, `users` by role and `api_key`, as in `var/demo.json`."""
        demo = self.var.load_demo()
        assert demo is not None, "the demo was not filled"
        return demo

    def mails(self, to: str = "") -> list[EmailMessage]:
        """Mail sent so far, oldest first; to one address, if given."""
        files = sorted(
            (path for path in self.mail_dir.iterdir() if path.is_file()), key=lambda path: path.stat().st_mtime
        )
        found = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in files]
        return [mail for mail in found if isinstance(mail, EmailMessage) and to in ("", parseaddr(str(mail["To"]))[1])]

    def wait_for_mail(self, to: str, *, after: int = 0, seconds: float = 20) -> EmailMessage:
        """The newest mail to `to`, once there are more than `after` of them."""
        deadline = time.monotonic() + seconds
        while len(found := self.mails(to)) <= after:
            assert time.monotonic() < deadline, f"no mail to {to} within {seconds:g} s"
            time.sleep(0.05)
        return found[-1]

    def start_gateway(self, **environment: str) -> str:
        """One more process that serves the same databases, with other settings where given. Returns its address."""
        port = random_port()
        log = self.var.log / f"gateway-{port}.log"
        process = launch_web(port, environment=self.environment | environment, log=log)
        self.processes.append(process)
        return wait_for_web(process, port, log=log)


def start_stack(cluster: Cluster, *, number: int, log: Path, **environment: str) -> Stack:
    """An instance on database `stack_<number>`, ready to be used. Whoever starts it calls `stop_stack`."""
    name = f"stack_{number}"
    cluster.clone(name)
    var = Var(cluster.directory / name)
    shutil.rmtree(var.path, ignore_errors=True)
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE")
    given = {key: os.environ[key] for key in kept if key in os.environ}
    given |= {
        "AGORAI_ENV_FILE": os.devnull,
        "AGORAI_VAR": str(var.path),
        "PORT": str(random_port()),
        "STATIC_DIR": str(cluster.directory / "static"),
        "DATABASE_URL": cluster.postgresql.url(APP_ROLE, name),
        "DATABASE_OWNER_URL": cluster.postgresql.url(OWNER_ROLE, name),
        "REDIS_URL": cluster.valkey.url(32 + number % 32),
        **environment,
    }
    with log.open("wb") as output:
        process = spawn(
            [sys.executable, "manage.py", "up"], death_signal=15, cwd=ROOT, env=given, stdout=output, stderr=output
        )
    deadline = time.monotonic() + READY_SECONDS
    while var.told().get("state") != "running":
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"The instance did not start:\n{log.read_text()}", pytrace=False)
        time.sleep(0.05)
    chosen = dict(re.findall(r"^(\w+)=(.*)$", (var.run / "environment").read_text(), re.M))
    return Stack(
        var=var,
        url=var.told()["url"],
        database_url=given["DATABASE_URL"],
        owner_url=given["DATABASE_OWNER_URL"],
        redis_url=given["REDIS_URL"],
        environment=chosen | given,
        processes=[process],
    )


def stop_stack(stack: Stack) -> None:
    for process in reversed(stack.processes):
        process.terminate()
    for process in stack.processes:
        process.wait(60)


@pytest.fixture(scope="session")
def stack(cluster: Cluster) -> Iterator[Stack]:
    """One running instance for all tests that only use it. What a test makes there, it names so that none collides."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw-1").removeprefix("gw")) + 1
    log = cluster.directory / "log" / f"stack_{number}.log"
    # Hundreds of requests come from one address here; the limits have tests of their own.
    found = start_stack(cluster, number=number, log=log, AUTH_RATE_PER_MINUTE="100000", API_RATE_PER_MINUTE="1000000")
    yield found
    stop_stack(found)
