"""One metered, durable call: key, two rate limits, schema, reserve in two budgets, upstream, settle, receipt."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from bench.install import find_all
from bench.measure import Measured, median, settle_down
from bench.measure import run as measure
from bench.peers import Field, Target, peers
from bench.report import OURS, books, heading, ratios, table
from bench.stage import BODY, stage

CONNECTIONS = (1, 16, 64)

Found = dict[tuple[str, int], list[Measured]]


def run(options: Namespace) -> str:
    installed = find_all()
    with stage() as ours, peers(installed, ours.upstream_port, BODY) as field:
        targets = [ours.target(), *field.targets]
        found: Found = {}
        for _ in range(options.rounds):
            for connections in CONNECTIONS:
                for target in targets:
                    measured = measure(target, body=BODY, connections=connections, seconds=options.seconds)
                    found.setdefault((target.name, connections), []).append(measured)
                    settle_down()
        faults = ours.check_books()
    return _report(targets, field, found, faults)


def _report(targets: Sequence[Target], field: Field, found: Found, faults: Sequence[str]) -> str:
    most = CONNECTIONS[-1]
    rows, cpu, rate = [], {}, {}
    for target in targets:
        cells = [f"{target.name} {target.version}".strip()]
        for connections in CONNECTIONS:
            runs = found[target.name, connections]
            rate[target.name] = median([one.load["rate"] for one in runs])
            p50, p99 = (median([one.load[name] for one in runs]) for name in ("p50_ms", "p99_ms"))
            cells.append(f"{rate[target.name]:,.0f}/s {p50:.2f}/{p99:.1f}")
        runs = found[target.name, most]
        parts = " + ".join(f"{median([one.cpu_us[part] for one in runs]):,.0f}" for part in target.parts)
        total = cpu[target.name] = median([one.total_us for one in runs])
        least, highest = min(one.total_us for one in runs), max(one.total_us for one in runs)
        named = f"{parts} = {total:,.0f}" if len(target.parts) > 1 else f"{total:,.0f}"
        answers = sum(one.load["answers"] for one in runs)
        bad = sum(one.load["bad"] + one.load["broken"] for c in CONNECTIONS for one in found[target.name, c])
        rows.append(
            [*cells, f"{named} ({least:,.0f}-{highest:,.0f})", f"{total / cpu[OURS]:.3g}", str(answers), str(bad)]
        )
    head = ["", *(f"{n} connections: calls/s, p50/p99 ms" for n in CONNECTIONS)]
    head += [f"CPU µs a call at {most} (least-most)", "x", f"answers at {most}", "bad"]
    return "\n".join(
        [
            heading("gateway", field.versions),
            table(head, rows),
            "",
            f"CPU of {OURS} is {' + '.join(targets[0].parts)}.",
            ratios("Its CPU a call", cpu),
            ratios(f"Its calls a second at {most} connections", rate),
            *field.absent,
            books(faults),
        ]
    )
