"""A gateway process's memory over many calls and after streams that were left in the middle: does it stay?"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence

from bench.measure import resident_mb, settle_down
from bench.measure import run as measure
from bench.report import books, heading, table
from bench.stage import BODY, stage
from bench.streaming import STREAMED

CONNECTIONS = 64
EACH = 20_000  # calls between two looks
FLAT_MB = 1.0  # for 100,000 calls: less than what one look differs from the next by
OWN = "Pss_Anon"
DRAINED_SECONDS = 40  # streams that were left are read on for their usage, for so long at most


def run(options: Namespace) -> str:
    with stage() as ours:
        target, gateway = ours.target(), ours.web.process.pid
        looks: list[tuple[int, float]] = []
        rows = []
        for calls in range(EACH, options.calls + 1, EACH):
            found = measure(
                target, body=BODY, connections=CONNECTIONS, seconds=0, answers=EACH, most_seconds=120, warm=0
            )
            settle_down()
            looks.append((calls, resident_mb(gateway, OWN)))
            load = found.load
            rows.append([f"{calls:,}", *_memory(gateway), f"{load['rate']:,.0f}", str(load["bad"] + load["broken"])])
            sys.stderr.write(f"bench: {calls:,} calls, {looks[-1][1]:.1f} MB\n")
        before = resident_mb(gateway, OWN)
        found = measure(
            target,
            body=STREAMED,
            connections=CONNECTIONS,
            seconds=0,
            answers=0,
            most_seconds=120,
            warm=0,
            more=["--abort", str(options.aborted)],
        )
        _wait_for_drains(ours.count_open)
        after = resident_mb(gateway, OWN)
        rows.append([f"{found.load['aborted']:,} streams left", *_memory(gateway), "", ""])
        measure(target, body=BODY, connections=CONNECTIONS, seconds=0, answers=EACH, most_seconds=120, warm=0)
        settle_down()
        rows.append([f"{EACH:,} calls more", *_memory(gateway), "", ""])
        faults = ours.check_books()
    slope = trend(looks[len(looks) // 2 :]) * 100_000
    verdict = "flat" if slope < FLAT_MB else "growing"
    return "\n".join(
        [
            heading("memory of a gateway process"),
            table(["calls", "PSS, MB", "of it written by the process, MB", "calls/s", "bad"], rows),
            "",
            f"Written by the process, in the second half: {slope:+.2f} MB for 100,000 calls: {verdict}.",
            f"After {options.aborted:,} streams that were left: {after - before:+.1f} MB.",
            books(faults),
        ]
    )


def _memory(gateway: int) -> list[str]:
    return [f"{resident_mb(gateway):.1f}", f"{resident_mb(gateway, OWN):.1f}"]


def _wait_for_drains(count_open: Callable[[], int]) -> None:
    deadline = time.monotonic() + DRAINED_SECONDS
    while count_open() and time.monotonic() < deadline:
        time.sleep(0.5)


def trend(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the line that fits them best (least squares); 0 for fewer than two."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
