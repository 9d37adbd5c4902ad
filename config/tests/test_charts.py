"""Charts drawn by the server: well-formed, without style, and right in their figures."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from django.template.loader import get_template

from config import charts
from config.templatetags import site

FULL = charts.FLOOR - charts.TOP
DAYS = [f"{day} Oct" for day in range(1, 31)]


def parse(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert not [node for node in root.iter() if "style" in node.attrib]
    assert root.attrib["viewBox"] == "0 0 860 220"
    return root


def marked(root: ElementTree.Element, word: str) -> list[dict[str, str]]:
    """The attributes of the drawn things of a class, in order."""
    return [node.attrib for node in root.iter() if word in node.attrib.get("class", "").split()]


def axis(svg: str) -> list[str]:
    return re.findall(r'text-anchor="end">([^<]*)<', svg)[:5]


def render(*args, **kwargs) -> str:
    html = get_template("components/chart.html").render(site.chart(*args, **kwargs))
    assert " style=" not in html
    return html


class Cells(HTMLParser):
    """The text of the table of a chart, row by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag in ("th", "td")
        if tag == "tr":
            self.rows.append([])
        elif self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def test_bars_stand_on_each_other_and_fill_the_axis_in_proportion():
    svg = charts.bars([("a", [10, 0]), ("b", [30, 20])], ["1 Oct", "2 Oct"], label="Spend", unit="$")
    bars = marked(parse(svg), "bar")
    assert [bar["class"] for bar in bars] == ["bar s1", "bar s2", "bar s2"], "nothing is drawn for nothing"
    assert [float(bar["height"]) for bar in bars] == pytest.approx([FULL / 4 - 0.8, FULL * 3 / 4 - 0.8, FULL / 2 - 0.8])
    assert float(bars[1]["y"]) == charts.TOP, "the highest stack reaches the top of the axis"
    assert axis(svg) == ["$0", "$10", "$20", "$30", "$40"]
    assert "1 Oct&#10;a $10.00&#10;b $30.00&#10;Total $40.00" in svg


def test_lines_leave_a_gap_for_what_was_not_measured_and_a_dot_for_what_stands_alone():
    svg = charts.lines(
        [("p50", [100, 200, None, 0]), ("p95", [400, 400, 400, 400])], DAYS[:4], label="Speed", unit=" ms"
    )
    root = parse(svg)
    first, second = marked(root, "line")
    assert (first["class"], second["class"]) == ("line s1", "line s2")
    assert first["d"].count("L") == 1, "the first line ends at the gap"
    assert second["d"].count("L") == 3
    (dot,) = marked(root, "dot")
    assert dot["d"].endswith(f" {charts.FLOOR}.0"), "zero is a value"
    assert "p50 –&#10;p95 400\xa0ms" in svg
    assert axis(svg) == ["0\xa0ms", "100\xa0ms", "200\xa0ms", "300\xa0ms", "400\xa0ms"]


def test_a_histogram_has_one_edge_more_than_buckets_and_may_be_open():
    svg = charts.hist([("Requests", [3, 8])], ["0", "100", ""], label="How long", unit="")
    first, second = marked(parse(svg), "hit")
    assert float(first["x"]) + float(first["width"]) == pytest.approx(float(second["x"]), abs=0.11)
    assert "0 to 100&#10;Requests 3" in svg
    assert "100 and more&#10;Requests 8" in svg


@pytest.mark.parametrize("draw", [charts.bars, charts.lines])
@pytest.mark.parametrize(
    ("series", "labels"),
    [([], []), ([("a", [])], []), ([("a", [3])], ["1 Oct"]), ([("a", [0, 0])], DAYS[:2]), ([("a", [None])], DAYS[:1])],
)
def test_little_or_nothing_is_drawn_too(draw, series, labels):
    root = parse(draw(series, labels, label="Little"))
    assert len(marked(root, "hit")) == len(labels)
    assert all(0 <= float(box["x"]) <= charts.WIDTH and float(box["width"]) > 0 for box in marked(root, "bar"))


@pytest.mark.parametrize("value", [1e-12, 0.00002, 3e15, 10**30])
def test_tiny_and_huge_values_stay_inside_the_frame(value):
    (bar,) = marked(parse(charts.bars([("a", [value])], ["1 Oct"], label="Size")), "bar")
    assert charts.TOP - 0.1 <= float(bar["y"]) <= charts.FLOOR
    assert FULL / 2 - 1 <= float(bar["height"]) <= FULL


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_what_has_no_place_on_the_axis_is_refused(value):
    with pytest.raises(ValueError, match="negative or not finite"):
        charts.bars([("a", [1, value])], DAYS[:2], label="Spend")


def test_more_than_six_series_and_uneven_ones_are_refused():
    with pytest.raises(ValueError, match="six"):
        charts.bars([("a", [1])] * 7, ["1 Oct"], label="Spend")
    with pytest.raises(ValueError, match="2 values for 1 buckets"):
        charts.lines([("a", [1, 2])], ["1 Oct"], label="Spend")


@pytest.mark.parametrize(
    ("value", "whole", "top"),
    [
        *((0, False, 1), (0.03, False, 0.04), (1, False, 1), (7.2, False, 8), (31, False, 40), (100, False, 100)),
        *((0, True, 4), (1, True, 4), (9, True, 12), (99, True, 100), (101, True, 120)),
    ],
)
def test_an_axis_ends_at_a_plain_number(value, whole, top):
    assert charts.nice_top(value, whole) == pytest.approx(top)


@pytest.mark.parametrize(
    ("top", "unit", "words"),
    [
        (0.08, "$", "$0 $0.02 $0.04 $0.06 $0.08"),
        (6, "€", "€0 €1.50 €3.00 €4.50 €6.00"),
        (2400, "", "0 600 1.2k 1.8k 2.4k"),
        (2000, " ms", "0\xa0ms 500\xa0ms 1\xa0s 1.5\xa0s 2\xa0s"),
        (4e7, "$", "$0 $10M $20M $30M $40M"),
        (1, "%", "0% 0.25% 0.50% 0.75% 1.00%"),
    ],
)
def test_an_axis_is_written_in_short_figures(top, unit, words):
    assert charts.Plot(1, top, unit).ticks == words.split(" ")


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (None, "$", "–"),
        (0.00068, "$", "$0.00068"),
        (1234.5, "$", "$1,234.50"),
        (178415, "", "178,415"),
        (1420, " ms", "1.42\xa0s"),
        (99.931, "%", "99.93%"),
        (0.04567, " tok/s", "0.0457\xa0tok/s"),
        (0.0, "", "0"),
    ],
)
def test_a_table_is_written_in_whole_figures(value, unit, words):
    assert charts.figure(value, unit) == words


@pytest.mark.parametrize(("count", "shown"), [(7, 7), (24, 5), (30, 6), (90, 9)])
def test_of_many_dates_every_fifth_is_written_and_half_of_those_where_it_is_narrow(count, shown):
    root = parse(charts.bars([("a", [1] * count)], [str(i) for i in range(count)], label="Spend"))
    dates = [one for one in marked(root, "axis") if one["text-anchor"] == "middle"]
    assert len(dates) == shown
    assert sum("minor" in one["class"] for one in dates) == shown // 2


def test_names_and_labels_are_text():
    html = render('<b> & "Spend"', ["<i>"], [('<script>"', [1])], '"><script>', csv="/x?a=1&b=2")
    assert "<script" not in html
    assert "<i>" not in html
    assert 'data-tip="&lt;i&gt;&#10;&lt;script&gt;&quot; 1"' in html
    assert 'href="/x?a=1&amp;b=2"' in html


def test_the_table_holds_what_the_picture_shows():
    html = render("Spend by day", DAYS[:2], [("acme/aurora", [1.5, None]), ("Other", [0.02, 3])], "Sentence", "$")
    assert Cells(html).rows == [
        ["Time", "acme/aurora", "Other"],
        ["1 Oct", "$1.50", "$0.02"],
        ["2 Oct", "–", "$3.00"],
    ]
    html = render("Duration", ["0", "1 s", ""], [("Requests", [1200, 3])], "Sentence", kind="hist")
    assert Cells(html).rows == [["Range", "Requests"], ["0 to 1 s", "1,200"], ["1 s and more", "3"]]


def test_a_chart_offers_its_choices_and_its_data():
    choices = [{"label": "Spend", "href": "?m=spend", "current": True}, {"label": "Tokens", "href": "?m=tokens"}]
    html = render("Spend", ["1 Oct"], [("a", [1])], "Sentence", choices=choices, csv="/usage.csv")
    assert '<a class="btn sm" href="?m=spend" aria-current="true">Spend</a>' in html
    assert 'href="/usage.csv"' in html
    assert 'role="img" aria-label="Sentence"' in html


@pytest.mark.parametrize(
    ("kind", "series", "words"),
    [
        ("bars", [], "No data in this period."),
        ("bars", [("a", [None, None])], "No data in this period."),
        ("lines", [], "No data in this period."),
        ("lines", [("p50", [None, None])], "Not enough requests in this period to measure."),
    ],
)
def test_a_chart_without_values_says_why_inside_its_frame(kind, series, words):
    html = render("Speed", DAYS[:2], series, "Sentence", kind=kind)
    assert words in html
    assert "<h2>Speed</h2>" in html
    assert "<svg" not in html
