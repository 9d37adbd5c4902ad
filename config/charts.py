"""Charts drawn by the server as SVG: no script, no style attribute, colours by class (`s1` to `s6`).

A series is one value per bucket; None is what was not measured, and stays a gap. The small marks are in `marks.py`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TypeAlias

from django.utils import formats
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from common import money

MAX_SERIES = 6
WIDTH, HEIGHT = 860, 220  # the drawing space, in its own units
TOP, BOTTOM = 8, 28  # room above the grid and for the labels of the buckets
FLOOR = HEIGHT - BOTTOM
MARGIN, LETTER = 12, 8  # room for the figures at the left: wide enough for the larger type of narrow screens
WIDEST = 64  # a bar
TOPS = (1, 1.2, 1.6, 2, 2.4, 4, 6, 8, 10)  # times a power of ten: their quarters are plain
LABELS = 10  # so many buckets all carry their label, of more every fifth does
NOT_MEASURED = "–"

Value: TypeAlias = float | None  # whole numbers are counts
Series: TypeAlias = tuple[str, Sequence[Value]]


@dataclass(frozen=True)
class Plot:
    """Where things stand: `count` buckets side by side under an axis that ends at `top`."""

    count: int
    top: float
    unit: str

    @cached_property
    def ticks(self) -> list[str]:
        """The words of the five lines, the floor first."""
        return [tick(self.top * k / 4, self.top / 4, self.unit) for k in range(5)]

    @cached_property
    def left(self) -> int:
        return MARGIN + LETTER * max(map(len, self.ticks))

    @cached_property
    def step(self) -> float:
        return (WIDTH - self.left) / max(self.count, 1)

    def x(self, bucket: float) -> float:
        return self.left + bucket * self.step

    def y(self, value: float) -> float:
        return FLOOR - (FLOOR - TOP) * value / self.top


def bars(series: Sequence[Series], labels: Sequence[str], *, label: str, unit: str = "") -> SafeString:
    """One stacked bar a bucket. `label` is the sentence for readers.

    unit: set before a figure if it is a currency's sign, else after it (" ms").
    Raises ValueError for more than six series, for values that are negative or not finite, and for uneven lengths.
    """
    check(series, len(labels))
    plot = Plot(len(labels), stacked_top(series), unit)
    columns = stack(series, plot, min(plot.step * 0.72, WIDEST))
    return draw(plot, columns, dates(labels, plot), hits(series, labels, plot, sums=True), label)


def hist(series: Sequence[Series], edges: Sequence[str], *, label: str, unit: str = "") -> SafeString:
    """How often: buckets between `edges`, which are one more than the values; an empty last edge leaves it open.

    Otherwise as `bars`.
    """
    check(series, max(len(edges) - 1, 0))
    plot = Plot(max(len(edges) - 1, 0), stacked_top(series), unit)
    every = spacing(len(edges))
    marks = format_html_join(
        "",
        '<text class="axis{}" x="{}" y="{}" text-anchor="{}">{}</text>',
        (
            (minor(i, every), short(plot.x(i)), HEIGHT - 4, "end" if i == plot.count else "middle", edge)
            for i, edge in enumerate(edges)
            if i % every == 0 and edge
        ),
    )
    return draw(
        plot, stack(series, plot, max(plot.step - 1, plot.step / 2)), marks, hits(series, between(edges), plot), label
    )


def lines(series: Sequence[Series], labels: Sequence[str], *, label: str, unit: str = "") -> SafeString:
    """One line a series: the first solid, the second dashed, the third dotted. Otherwise as `bars`."""
    check(series, len(labels))
    plot = Plot(len(labels), nice_top(*measured(value for _name, values in series for value in values)), unit)
    drawing = []
    for number, (_name, values) in enumerate(series, 1):
        for run in runs(values):
            points = [f"{short(plot.x(i + 0.5))} {short(plot.y(value))}" for i, value in run]
            # A point alone is a line of no length with round ends.
            path = "L".join(points if len(points) > 1 else points * 2)
            kind = "line" if len(points) > 1 else "dot"
            drawing.append(format_html('<path class="{} s{}" d="M{}"/>', kind, number, path))
    return draw(plot, SafeString("".join(drawing)), dates(labels, plot), hits(series, labels, plot), label)


PICTURES: dict[str, Callable[..., SafeString]] = {"bars": bars, "lines": lines, "hist": hist}


def draw(plot: Plot, drawing: SafeString, buckets: SafeString, over: SafeString, label: str) -> SafeString:
    """The frame around a drawing: hairlines, figures at the left, the labels of the buckets, what the pointer hits."""
    grid = format_html_join(
        "",
        '<path class="gridline" d="M{0} {1}H{2}"/><text class="axis{3}" x="{4}" y="{5}" text-anchor="end">{6}</text>',
        (
            (plot.left, short(y), WIDTH, minor(k, 1), plot.left - 8, short(y + 4), text)
            for k, text in enumerate(plot.ticks)
            for y in [FLOOR - (FLOOR - TOP) * k / 4]
        ),
    )
    return format_html(
        '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}{}{}'
        '<path class="base" d="M{} {}H{}"/>{}</svg>',
        *(WIDTH, HEIGHT, label, grid, drawing, buckets, plot.left, FLOOR, WIDTH, over),
    )


def stack(series: Sequence[Series], plot: Plot, width: float) -> SafeString:
    """Bars on each other in the middle of their buckets, with a hair of space between them."""
    boxes = []
    for i in range(plot.count):
        y: float = FLOOR
        x = short(plot.x(i + 0.5) - width / 2)
        for number, (_name, values) in enumerate(series, 1):
            height = FLOOR - plot.y(values[i] or 0)
            y -= height
            if height > 0:
                boxes.append((number, x, short(y), short(width), short(max(height - 0.8, min(height, 0.8)))))
    return format_html_join("", '<rect class="bar s{}" x="{}" y="{}" width="{}" height="{}"/>', boxes)


def dates(labels: Sequence[str], plot: Plot) -> SafeString:
    every = spacing(plot.count)
    return format_html_join(
        "",
        '<text class="axis{}" x="{}" y="{}" text-anchor="middle">{}</text>',
        (
            (minor(i, every), short(plot.x(i + 0.5)), HEIGHT - 4, label)
            for i, label in enumerate(labels)
            if i % every == 0
        ),
    )


def hits(series: Sequence[Series], labels: Sequence[str], plot: Plot, *, sums: bool = False) -> SafeString:
    """Invisible rectangles, one a bucket; charts.js shows the lines of their `data-tip`, the sum last."""
    tips = []
    for i, label in enumerate(labels):
        values = [(name, values[i]) for name, values in series]
        if sums and len(values) > 1:
            values.append((_("Total"), sum(value or 0 for _name, value in values)))
        told = [f"{name} {figure(value, plot.unit)}" for name, value in values]
        tips.append(format_html_join(SafeString("&#10;"), "{}", ((line,) for line in (label, *told))))
    return format_html_join(
        "",
        '<rect class="hit" x="{}" y="0" width="{}" height="{}" data-tip="{}"/>',
        ((short(plot.x(i)), short(plot.step), FLOOR, tip) for i, tip in enumerate(tips)),
    )


def spacing(count: int) -> int:
    """Label every so many buckets."""
    return 1 if count <= LABELS else 5 * math.ceil(count / 50)


def minor(i: int, every: int) -> str:
    """Every second label goes where there is little room."""
    return " minor" if i // every % 2 else ""


def between(edges: Sequence[str]) -> list[str]:
    """The buckets of a histogram in words: "0 to 100", the last one perhaps "500 and more"."""
    return [
        _("%(low)s to %(high)s") % {"low": low, "high": high} if high else _("%(low)s and more") % {"low": low}
        for low, high in pairwise(edges)
    ]


def runs(values: Sequence[Value]) -> list[list[tuple[int, float]]]:
    """The stretches without a gap, as (bucket, value)."""
    found: list[list[tuple[int, float]]] = [[]]
    for i, value in enumerate(values):
        if value is not None:
            found[-1].append((i, value))
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def check(series: Sequence[Series], count: int) -> None:
    if len(series) > MAX_SERIES:
        raise ValueError("at most six series; add up the rest as one")
    for name, values in series:
        if len(values) != count:
            raise ValueError(f"{name}: {len(values)} values for {count} buckets")
        if not all(0 <= value < math.inf for value in values if value is not None):
            raise ValueError(f"{name}: a value is negative or not finite")


def measured(values: Iterable[Value]) -> tuple[float, bool]:
    """The largest value, and whether all are whole numbers."""
    known = [value for value in values if value is not None]
    return max(known, default=0), all(isinstance(value, int) for value in known)


def stacked_top(series: Sequence[Series]) -> float:
    return nice_top(
        *measured(sum(value or 0 for value in column) for column in zip(*(v for _, v in series), strict=True))
    )


def nice_top(value: float, whole: bool = False) -> float:
    """The end of an axis whose quarters are plain numbers; of counts, whole ones."""
    if value <= 0:
        return 4 if whole else 1
    power = 10.0 ** math.floor(math.log10(value))
    tops = (power * scale * m for scale in (1, 10) for m in TOPS)
    return next(top for top in tops if top >= value * 0.999999 and not (whole and round(top, 6) % 4))


def tick(value: float, step: float, unit: str) -> str:
    """A figure on an axis, short: "$0.02", "1.2k", "400 ms", "1.5 s". All of an axis have the decimals of its step."""
    if value == 0:
        return with_unit("0", unit)
    for size, suffix in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k")):
        if value >= size * 0.999999:
            if unit.strip() == "ms":
                return with_unit(trimmed(value / 1000), "\N{NO-BREAK SPACE}s")
            return with_unit(trimmed(value / size) + suffix, unit)
    decimals = next((d for d in range(15) if math.isclose(round(step, d), step, rel_tol=1e-6)), 15)
    if decimals == 1 and unit in money.SYMBOLS.values():
        decimals = 2
    return with_unit(formats.number_format(round(value, decimals), decimals), unit)


def figure(value: Value, unit: str) -> str:
    """A figure as people write it, for tables and tips: "$1,234.50", "$0.00068", "1,420", "1.42 s", "99.93%"."""
    if value is None:
        return NOT_MEASURED
    for currency, sign in money.SYMBOLS.items():
        if unit == sign:
            return money.display(round(value * money.NANO), currency)
    if unit.strip() == "ms" and value >= 1000:
        return with_unit(formats.number_format(round(value / 1000, 2), 2), "\N{NO-BREAK SPACE}s")
    if isinstance(value, int):
        return with_unit(formats.number_format(value, force_grouping=True), unit)
    # Two decimals, and of what is smaller three figures that count.
    decimals = 2 if value == 0 or value >= 1 else 2 - math.floor(math.log10(value))
    return with_unit(trimmed(round(value, decimals), decimals), unit)


def trimmed(value: float, decimals: int = 2) -> str:
    """With at most so many decimals, and no zeros at the end."""
    shown = next(
        d for d in range(decimals + 1) if d == decimals or math.isclose(round(value, d), round(value, decimals))
    )
    return str(formats.number_format(round(value, shown), shown, force_grouping=True))


def with_unit(number: str, unit: str) -> str:
    return unit + number if unit in money.SYMBOLS.values() else number + unit.replace(" ", "\N{NO-BREAK SPACE}")


def short(value: float) -> str:
    """A coordinate, to a tenth."""
    return f"{value:.1f}"
