"""Streams of one token each ten milliseconds: what a chunk costs, and how late the first one is."""

from __future__ import annotations

from bench.measure import Measured, median
from bench.measure import run as measure
from bench.peers import peers
from bench.report import heading, table
from bench.stage import BODY, stage

CONNECTIONS = 64


def run(*, rounds: int, seconds: float) -> str:
    with stage() as ours, peers(ours.upstream_port) as others:
        targets = [ours.direct(), ours.target(), *others]
        found: dict[str, list[Measured]] = {}
        for _ in range(rounds):
            for target in targets:
                measured = measure(
                    target.url + "/v1/chat/completions",
                    body={**BODY, "model": target.model, "stream": True},
                    headers=target.headers,
                    parts=target.parts,
                    connections=CONNECTIONS,
                    seconds=max(seconds, 2.5),  # two streams one after the other on each connection
                )
                found.setdefault(target.name, []).append(measured)
        books = ours.check_books()
    own = median([one.total_us for one in found["agorai"]])
    rows = []
    for target in targets:
        runs = found[target.name]
        total = median([one.total_us for one in runs])
        rows.append(
            [
                target.name,
                f"{median([one.load['chunks'] / one.load['seconds'] for one in runs]):,.0f}",
                f"{median([one.load['first_p50_ms'] for one in runs]):.2f}"
                f"/{median([one.load['first_p99_ms'] for one in runs]):.2f}",
                f"{total:.1f}" if target.parts else "-",
                f"{total / own:.2f}" if target.parts else "-",
            ]
        )
    head = [f"{CONNECTIONS} streams", "chunks/s", "first token p50/p99 ms", "CPU µs a chunk", "x"]
    return "\n".join([heading("streaming"), table(head, rows), "", f"books: {books or 'every cent is accounted for'}"])
