"""Proof that a test can fail: each listed wrong change, made in a copy of the code, must turn its invariant red."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from config.cluster import ROOT, Cluster, own_directory
from config.processes import Failure
from trust.ground import BUILD, JOIN
from trust.registry import Invariant, Sabotage

LONGEST_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Outcome:
    id: str
    name: str
    is_red: bool
    why: str
    seconds: float

    def line(self) -> str:
        return json.dumps(
            {"id": self.id, "sabotage": self.name, "red": self.is_red, "why": self.why, "seconds": round(self.seconds)}
        )


def sabotage(chosen: Sequence[tuple[Invariant, Sabotage]], *, seed: int) -> Iterator[Outcome]:
    """Each of them, one after the other, on servers that all of them share."""
    directory, lock = own_directory(BUILD)
    cluster = Cluster(directory)
    try:
        cluster.start()
        with copy_of_the_code() as copy:
            held: dict[str, str] = {}  # by invariant, why it does not hold as it is
            for invariant, change in chosen:
                began = time.monotonic()
                try:
                    with applied(change, copy):
                        pass
                    if invariant.id not in held:
                        held[invariant.id] = _why_not(invariant, copy, directory, seed)
                    if held[invariant.id]:
                        raise Failure(f"It does not hold without the change: {held[invariant.id]}")
                    with applied(change, copy):
                        is_red, why = _run(invariant, change, copy, directory, seed)
                except Failure as failure:
                    is_red, why = False, str(failure)
                yield Outcome(invariant.id, change.name, is_red, why, time.monotonic() - began)
    finally:
        cluster.stop()
        lock.close()


@contextmanager
def copy_of_the_code() -> Iterator[Path]:
    """Every file that git would commit, as it is now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        raise Failure(f"The files of the code cannot be listed: {listed.stderr.strip()}")
    with tempfile.TemporaryDirectory(prefix="agorai-sabotage-") as directory:
        copy = Path(directory)
        for name in filter(None, listed.stdout.split("\0")):
            source, target = ROOT / name, copy / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        yield copy


@contextmanager
def applied(change: Sabotage, root: Path) -> Iterator[None]:
    """Raises Failure when the text is not there, or more than once: then the list is out of date."""
    path = root / change.file
    before = path.read_text() if path.is_file() else ""
    if (found := before.count(change.old)) != 1:
        raise Failure(f"The text to change stands {found} times in {change.file}, and should stand there once.")
    path.write_text(before.replace(change.old, change.new))
    try:
        yield
    finally:
        path.write_text(before)


def _why_not(invariant: Invariant, copy: Path, servers: Path, seed: int) -> str:
    """Empty when it holds in the unchanged copy: else a change would prove nothing."""
    done = _run_fast(invariant, copy, servers, seed)
    return "" if done.returncode == 0 else _last(done.stderr) or f"it ended with {done.returncode}"


def _run(invariant: Invariant, change: Sabotage, copy: Path, servers: Path, seed: int) -> tuple[bool, str]:
    """Whether the fast lane turns red there, and why."""
    done = _run_fast(invariant, copy, servers, seed)
    if change.red_by == "refusal":
        return done.returncode == 2, _last(done.stderr)
    if done.returncode != 1:
        return False, f"It ended with {done.returncode}. {_last(done.stderr)}".strip()
    result = json.loads(done.stdout.splitlines()[-1])
    own = [line for line in done.stderr.splitlines() if line.startswith(f"{invariant.id}: ")]
    return result["violations"] > 0, own[0].partition(": ")[2] if own else ""


def _run_fast(invariant: Invariant, copy: Path, servers: Path, seed: int) -> subprocess.CompletedProcess[str]:
    """Raises Failure when it does not end."""
    command = [sys.executable, "-m", "trust", invariant.id, "--seed", str(seed), "--until-red", "--no-timing"]
    environment = {**os.environ, JOIN: str(servers)}
    try:
        return subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LONGEST_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"It did not end within {LONGEST_SECONDS} s.") from None


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
