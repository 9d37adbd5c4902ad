"""A model server of its own, in a process of its own, as operators run it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECRET = "the endpoint's secret"


@dataclass(frozen=True)
class RunningServer:
    url: str
    log: Path
    pid: int


@contextmanager
def run_server(log: Path, *options: str, secret: str = "") -> Iterator[RunningServer]:
    command = [sys.executable, "-m", "examples.model_server", "--port", "0", *options]
    environment = {**os.environ, "MODEL_SERVER_SECRET": secret}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=output) as process,
    ):
        try:
            assert process.stdout is not None
            first = process.stdout.readline().decode()
            assert "http://" in first, first or log.read_text()
            yield RunningServer(url=first.split()[-1], log=log, pid=process.pid)
        finally:
            process.terminate()
            log.write_bytes(process.communicate(timeout=15)[0] + log.read_bytes())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with run_server(tmp_path_factory.mktemp("server") / "log", "--pace-ms", "1") as running:
        yield running
