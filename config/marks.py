"""Small marks drawn by the server as SVG, beside the words that say the same: tile, meter, strip, spark."""

import hashlib
import math
from collections.abc import Sequence

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString


def tile(slug: str, *, large: bool = False) -> SafeString:
    """The mark of a listing: a dial whose ticks, arc, needle and hue come from the hash of its slug."""
    digest = hashlib.sha256(slug.encode()).digest()
    ticks = (0, 3, 5, 9, 13)[digest[1] % 5]
    arc = 60 + digest[2] % 200
    width = (2, 3.5, 6)[digest[4] % 3]
    radius = (10, 12, 13.5)[digest[5] % 3]
    marks = [
        (
            *_polar(150 + i * 240 / (ticks - 1), 15.5),
            *_polar(150 + i * 240 / (ticks - 1), 19),
        )
        for i in range(ticks)
    ]
    return format_html(
        '<svg class="tile s{}{}" viewBox="0 0 48 48" aria-hidden="true">'
        '<g fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round">{}'
        '<path d="M{} {}A{} {} 0 {} 1 {} {}" stroke-width="{}"/><path d="M24 24L{} {}"/></g>'
        '<circle cx="24" cy="24" r="2.6" fill="currentColor"/></svg>',
        digest[3] % 5 + 1,
        " lg" if large else "",
        format_html_join("", '<path d="M{} {}L{} {}"/>', marks),
        *_polar(150, radius),
        radius,
        radius,
        int(arc > 180),
        *_polar(150 + arc, radius),
        width,
        *_polar(150 + digest[0] / 255 * 240, 8),
    )


def meter(used: int, limit: int) -> SafeString:
    """A bar with ten ruler marks: `used` of `limit`, both in one unit. The words belong beside it, always."""
    percent = min(1000, used * 1000 // limit) / 10 if limit > 0 else 100
    ticks = format_html_join(
        "",
        '<rect class="tick" x="{}%" width="1" height="8"/>',
        ((i * 10,) for i in range(1, 10)),
    )
    return format_html(
        '<svg aria-hidden="true"><rect class="track" width="100%" height="8" rx="2"/>'
        '<rect class="fill" width="{}%" height="8" rx="2"/>{}</svg>',
        f"{max(percent, 0):g}",
        ticks,
    )


def strip(days: Sequence[str], label: str) -> SafeString:
    """Availability, one thin bar a day, oldest first. A day is "ok", "warn", "bad" or "none"; `label` is its words."""
    classes = {"ok": "", "warn": "w", "bad": "b", "none": "none"}
    bars = format_html_join(
        "",
        '<rect x="{}" width="3" height="28" class="{}"/>',
        ((i * 4, classes[day]) for i, day in enumerate(days)),
    )
    return format_html(
        '<svg class="strip" viewBox="0 0 {} 28" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        max(len(days) * 4, 4),
        label,
        bars,
    )


def spark(values: Sequence[float | None], label: str = "") -> SafeString:
    """A line without axes, 120 by 32; None is a gap. `label` says it in words; without, it is hidden from readers."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return SafeString("")
    top = max(known) or 1
    runs: list[list[str]] = [[]]
    for i, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{i * 120 / (len(values) - 1):.1f} {30 - value / top * 28:.1f}")
    return format_html(
        '<svg class="spark" viewBox="0 0 120 32" preserveAspectRatio="none" {}>{}</svg>',
        format_html('role="img" aria-label="{}"', label) if label else SafeString('aria-hidden="true"'),
        format_html_join(
            "",
            '<path class="area" d="M{0}L{1} 32L{2} 32Z"/><path d="M{0}"/>',
            (("L".join(run), run[-1].split()[0], run[0].split()[0]) for run in runs if run),
        ),
    )


def _polar(degrees: float, radius: float) -> tuple[str, str]:
    angle = math.radians(degrees)
    return (
        f"{24 + radius * math.cos(angle):.1f}",
        f"{24 + radius * math.sin(angle):.1f}",
    )
