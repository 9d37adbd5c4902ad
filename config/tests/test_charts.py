"""Pictures drawn by the server: well-formed, without style, and right in their figures."""

from xml.etree import ElementTree

import pytest

from config import charts

BOX = "{*}rect"


def parse(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert not [node for node in root.iter() if "style" in node.attrib]
    return root


def test_a_tile_belongs_to_its_slug():
    assert charts.tile("acme/aurora") == charts.tile("acme/aurora") != charts.tile("acme/aurora-8b")
    assert "lg" in parse(charts.tile("acme/aurora", large=True)).attrib["class"].split()


@pytest.mark.parametrize(
    ("used", "limit", "width"),
    [(0, 100, "0%"), (35, 200, "17.5%"), (100, 100, "100%"), (300, 100, "100%"), (5, 0, "100%")],
)
def test_a_meter_is_as_long_as_what_is_used_and_never_longer_than_the_limit(used, limit, width):
    fill = parse(charts.meter(used, limit)).find(f"{BOX}[@class='fill']")
    assert fill.attrib["width"] == width


def test_a_strip_has_one_bar_a_day_and_says_in_words_what_it_shows():
    root = parse(charts.strip(["ok", "bad", "none"], 'Down <once> & "briefly"'))
    assert [bar.attrib["class"] for bar in root.findall(BOX)] == ["", "b", "none"]
    assert root.attrib["aria-label"] == 'Down <once> & "briefly"'


def test_bars_stand_on_each_other_and_fill_the_axis_in_proportion():
    root = parse(charts.bars([[10, 0], [30, 20]], ["1 Oct", "2 Oct"], label="Spend", unit="$"))
    heights = {(bar.attrib["class"], float(bar.attrib["x"])): float(bar.attrib["height"]) for bar in root.findall(BOX)}
    first, second, lonely = heights.values()
    assert len(heights) == 3  # nothing is drawn for nothing
    full = charts.HEIGHT - charts.BOTTOM - charts.TOP
    assert (first, second, lonely) == pytest.approx((full / 4 - 0.8, full * 3 / 4 - 0.8, full / 2 - 0.8), abs=0.06)
    assert [text.text for text in root.findall("{*}text[@text-anchor='end']")] == ["$0", "$10", "$20", "$30", "$40"]


def test_bars_without_values_are_an_empty_axis():
    assert parse(charts.bars([], [], label="Nothing yet")).findall(BOX) == []


def test_more_than_six_series_are_refused():
    with pytest.raises(ValueError, match="six"):
        charts.bars([[1]] * 7, ["1 Oct"], label="Spend")


@pytest.mark.parametrize(("value", "top"), [(0, 1), (0.03, 0.04), (1, 1), (7.2, 8), (31, 40), (99, 100), (100, 100)])
def test_an_axis_ends_at_a_plain_number(value, top):
    assert charts.nice_top(value) == pytest.approx(top)


def test_a_line_of_one_value_is_nothing_to_draw():
    assert charts.spark([3]) == ""
    assert parse(charts.spark([0, 0])).tag.endswith("svg")
