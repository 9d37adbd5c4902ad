"""One metered, durable call: key, two rate limits, schema, reserve in two budgets, upstream, settle, receipt."""

from __future__ import annotations

from bench.measure import Measured, median
from bench.measure import run as measure
from bench.peers import peers
from bench.report import heading, table
from bench.stage import BODY, stage

CONNECTIONS = (1, 16, 64)


def run(*, rounds: int, seconds: float) -> str:
    with stage() as ours, peers(ours.upstream_port) as others:
        targets = [ours.target(), *others]
        found: dict[tuple[str, int], list[Measured]] = {}
        for _ in range(rounds):
            for connections in CONNECTIONS:
                for target in targets:
                    measured = measure(
                        target.url + "/v1/chat/completions",
                        body={**BODY, "model": target.model},
                        headers=target.headers,
                        parts=target.parts,
                        connections=connections,
                        seconds=seconds,
                    )
                    found.setdefault((target.name, connections), []).append(measured)
        books = ours.check_books()
    rows = []
    most = CONNECTIONS[-1]
    own = median([one.total_us for one in found["agorai", most]])
    for target in targets:
        cells = [target.name]
        for connections in CONNECTIONS:
            runs = found[target.name, connections]
            rate = median([one.load["rate"] for one in runs])
            cells.append(
                f"{rate:,.0f}/s {median([one.load['p50_ms'] for one in runs]):.2f}/"
                f"{median([one.load['p99_ms'] for one in runs]):.1f}"
            )
        runs = found[target.name, most]
        parts = " + ".join(f"{median([one.cpu_us[part] for one in runs]):.0f}" for part in target.parts)
        total = median([one.total_us for one in runs])
        bad = sum(one.load["bad"] + one.load["broken"] for c in CONNECTIONS for one in found[target.name, c])
        rows.append([*cells, f"{parts} = {total:.0f}", f"{total / own:.2f}", str(bad)])
    head = ["", *(f"{n} connections: calls/s, p50/p99 ms" for n in CONNECTIONS), f"CPU µs a call at {most}", "x", "bad"]
    return "\n".join([heading("gateway"), table(head, rows), "", f"books: {books or 'every cent is accounted for'}"])
