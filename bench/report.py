"""What a run says of itself, tables in Markdown, and the ratios between ours and the others."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from config.processes import Failure

OURS = "Agorai"
BUSY = 0.5  # a load before the run from which on others must have worked on the machine


def heading(what: str, *versions: str) -> str:
    """What was measured, when, on which machine and software; and whether others worked on it too."""
    from django.conf import settings

    software = ", ".join([f"{OURS} {settings.VERSION}", f"Python {platform.python_version()}", *filter(None, versions)])
    machine = f"{os.cpu_count()} cores, load {_load_before:.1f} before"
    shared = "; the machine was shared with other work" if _load_before > BUSY else ""
    return f"{what}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {software}; {machine}{shared}.\n"


_load_before = os.getloadavg()[0]  # when the program started


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def ratios(what: str, figures: Mapping[str, float]) -> str:
    """One sentence that compares ours with each of the others. figures: name -> figure, ours among them."""
    own = figures[OURS]
    told = [f"{_times(own / figure)} {name}'s" for name, figure in figures.items() if name != OURS and figure and own]
    return f"{what}: {', '.join(told) or 'nobody to compare with'}."


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times" if ratio >= 1 else f"1/{1 / ratio:.3g} of"


def books(faults: Sequence[str]) -> str:
    """Whether every cent of the calls that were measured is accounted for."""
    return f"Books: {'; '.join(faults[:5])}" if faults else "Books: every cent is accounted for."


def put_into(page: Path, name: str, report: str) -> None:
    """Replace what stands between the two marks of this name. Raises Failure when the page has none."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise Failure(f"{page} has no place for {name}: {begin.strip()} and {end.strip()}.")
    page.write_text(f"{before}{begin}\n{report}\n\n{end}{after}")
