"""CPU time of process trees, and one run of the load generator between two readings of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICK = os.sysconf("SC_CLK_TCK")


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


def resident_mb(root: int) -> float:
    """Proportional set size of a process tree, in MB."""
    kilobytes = 0
    for pid in tree(root):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        kilobytes += int(rollup.split("\nPss:", 1)[1].split()[0])
    return kilobytes / 1024


def run(
    url: str,
    *,
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    parts: Mapping[str, int],
    connections: int,
    seconds: float,
    warm: float = 0.7,
) -> Measured:
    """One run against `url`. parts: name -> the process at the head of a tree whose CPU counts."""
    command = [sys.executable, "-m", "bench.load", url, "--body", json.dumps(body), "--seconds", str(seconds)]
    command += ["--connections", str(connections), "--warm", str(warm)]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
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


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
