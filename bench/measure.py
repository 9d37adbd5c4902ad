"""CPU time of process trees, and one run of the load generator between two readings of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.peers import Target

TICK = os.sysconf("SC_CLK_TCK")
ANSWERS = 400  # of each measurement at least, so that a slow peer's p99 is not one answer
MOST_SECONDS = 8.0  # but no longer for them


@dataclass(frozen=True, slots=True)
class Measured:
    """One run. `cpu_us`: microseconds of CPU for each answer, or of a stream for each piece, by part."""

    load: Mapping[str, Any]
    cpu_us: Mapping[str, float]

    @property
    def total_us(self) -> float:
        return sum(self.cpu_us.values())


def tree(root: int) -> set[int]:
    """The process and everything below it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_fields(entry)[1])
            except OSError:
                continue
    found, grown = {root}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def cpu_seconds(root: int) -> float:
    """User and system time of a process tree, of children that it waited for too."""
    ticks = 0
    for pid in tree(root):
        try:
            ticks += sum(int(field) for field in _fields(Path(f"/proc/{pid}"))[11:15])
        except OSError:
            continue
    return ticks / TICK


def _fields(entry: Path) -> list[str]:
    """Of /proc/PID/stat, from the state on: what is in front may hold spaces."""
    return (entry / "stat").read_text().rpartition(")")[2].split()


def resident_mb(root: int, part: str = "Pss") -> float:
    """Proportional set size of a process tree, in MB. part: "Pss_Anon" for what the processes themselves have written,
    which does not change with how many others have the same libraries open."""
    kilobytes = 0
    for pid in tree(root):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        kilobytes += int(rollup.split(f"\n{part}:", 1)[1].split()[0])
    return kilobytes / 1024


@dataclass(slots=True)
class Peak:
    """The most memory that a process tree had, in MB."""

    mb: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def peak_of(root: int, *, every_seconds: float = 0.5) -> Iterator[Peak]:
    """Looked at again and again while the block runs."""
    peak = Peak()

    def look() -> None:
        while not peak._over.wait(every_seconds):
            peak.mb = max(peak.mb, resident_mb(root))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        peak._over.set()
        thread.join()


def run(
    target: Target,
    *,
    body: Mapping[str, Any],
    connections: int,
    seconds: float,
    answers: int = ANSWERS,
    most_seconds: float = MOST_SECONDS,
    warm: float = 0.7,
    more: Iterable[str] = (),
) -> Measured:
    """One run against `target`, as `python -m bench.load` says; more: further arguments of it."""
    command = [sys.executable, "-m", "bench.load", target.url + "/v1/chat/completions"]
    command += ["--body", json.dumps({**body, "model": target.model}), "--connections", str(connections)]
    command += ["--seconds", str(seconds), "--answers", str(answers), "--warm", str(warm), *more]
    command += ["--most-seconds", str(max(seconds, most_seconds))]
    for name, value in target.headers.items():
        command += ["--header", f"{name}: {value}"]
    parts = target.parts
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        _expect(process.stdout.readline(), "begin")
        before = {name: cpu_seconds(pid) for name, pid in parts.items()}
        _expect(process.stdout.readline(), "end")
        after = {name: cpu_seconds(pid) for name, pid in parts.items()}
        load = json.loads(process.stdout.readline())
    count = (load["chunks"] if body.get("stream") else load["answers"]) or 1
    return Measured(load, {name: (after[name] - before[name]) / count * 1e6 for name in parts})


def _expect(line: str, word: str) -> None:
    if line.strip() != word:
        raise RuntimeError(f"the load generator said {line!r} instead of {word!r}")


def median(values: Sequence[float | None]) -> float:
    """Of those that are there; 0 when none is."""
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return 0.0
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def settle_down(seconds: float = 0.5) -> None:
    """What one target leaves to be done is not to be in the next one's account."""
    time.sleep(seconds)
