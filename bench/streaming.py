"""Streams of one token each ten milliseconds, which begin one after the other and not all at once: what a chunk costs,
and how much later than from the model the first one is.

With `--streams N`: so many at once, each of 100 tokens a tenth of a second apart, and whether all are complete.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from bench.install import find_all
from bench.measure import Measured, median, peak_of, resident_mb, settle_down
from bench.measure import run as measure
from bench.peers import Field, Target, peers
from bench.report import OURS, books, heading, ratios, table
from bench.stage import BODY, Stage, stage

CONNECTIONS = 64
STREAMED = {**BODY, "stream": True}
TOKENS = 100
MANY_PACE_MS = 100  # between two tokens of one of many streams
MANY_SECONDS = 120


def run(options: Namespace) -> str:
    if options.streams:
        return _run_many(options.streams, options.rounds)
    installed = find_all()
    with stage() as ours, peers(installed, ours.upstream_port, STREAMED) as field:
        targets = [ours.direct(), ours.target(), *field.targets]
        found: dict[str, list[Measured]] = {}
        for _ in range(options.rounds):
            for target in targets:
                seconds = max(options.seconds, 2.5)  # two streams one after the other on each connection
                measured = measure(
                    target,
                    body=STREAMED,
                    connections=CONNECTIONS,
                    seconds=seconds,
                    answers=CONNECTIONS,
                    warm=0.2,
                    more=["--spread", "1"],
                )
                found.setdefault(target.name, []).append(measured)
                settle_down()
        faults = ours.check_books()
    return _report(targets, field, found, faults)


def _report(targets: Sequence[Target], field: Field, found: dict[str, list[Measured]], faults: Sequence[str]) -> str:
    direct = median([one.load["first_p50_ms"] for one in found["direct"]])
    own = median([one.total_us for one in found[OURS]])
    rows, cpu = [], {}
    for target in targets:
        runs = found[target.name]
        total = median([one.total_us for one in runs])
        first = median([one.load["first_p50_ms"] for one in runs])
        row = [
            f"{target.name} {target.version}".strip(),
            f"{median([one.load['chunks'] / one.load['seconds'] for one in runs]):,.0f}",
            f"{first:.2f}/{median([one.load['first_p99_ms'] for one in runs]):.1f}",
        ]
        bad = sum(one.load["bad"] + one.load["broken"] for one in runs)
        if target.parts:
            cpu[target.name] = total
            row += [f"{first - direct:.2f}", f"{total:,.1f}", f"{total / own:.3g}", str(bad)]
        else:
            row += ["-", "-", "-", str(bad)]
        rows.append(row)
    head = [f"{CONNECTIONS} streams, a token each 10 ms", "chunks/s", "first token p50/p99 ms", "added ms"]
    head += ["CPU µs a chunk", "x", "bad"]
    patched = "Portkey's streams needed a change of one line (bench/install.py says which)."
    return "\n".join(
        [
            heading("streaming", field.versions),
            table(head, rows),
            "",
            ratios("CPU a chunk", cpu),
            *([patched] if "Portkey" in cpu else []),
            *field.absent,
            books(faults),
        ]
    )


def _run_many(streams: int, rounds: int) -> str:
    """All of them at once, through ours alone."""
    with stage(tokens=TOKENS, pace_ms=MANY_PACE_MS) as ours:
        rows = []
        for number in range(rounds):
            rows.append([str(number + 1), *_many(ours, ours.direct(), streams), *_many(ours, ours.target(), streams)])
        faults = ours.check_books()
    head = ["round"]
    for who in ("direct", OURS):
        head += [f"{who}: complete", "chunks/s", "first token p50/p99 ms"]
        if who == OURS:
            head += ["CPU µs a chunk", "gateway's memory before, at most, after, MB"]
    return "\n".join(
        [
            heading(f"{streams:,} streams at once, {TOKENS} tokens each, one each {MANY_PACE_MS} ms"),
            table(head, rows),
            "",
            books(faults),
        ]
    )


def _many(ours: Stage, target: Target, streams: int) -> list[str]:
    gateway = ours.web.process.pid
    before = resident_mb(gateway)
    with peak_of(gateway) as peak:
        found = measure(
            target,
            body=STREAMED,
            connections=streams,
            seconds=0,
            answers=0,
            most_seconds=MANY_SECONDS,
            more=["--once"],
        )
    load = found.load
    cells = [
        f"{load['complete']:,} of {streams:,}",
        f"{load['chunks'] / load['seconds']:,.0f}",
        f"{load['first_p50_ms'] or 0:.1f}/{load['first_p99_ms'] or 0:.1f}",
    ]
    if target.parts:
        settle_down(2)
        cells += [f"{found.total_us:,.1f}", f"{before:.0f}, {peak.mb:.0f}, {resident_mb(gateway):.0f}"]
    return cells
