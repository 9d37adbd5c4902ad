"""Small marks drawn by the server: well-formed, without style, and right in their figures."""

from xml.etree import ElementTree

import pytest

from config import marks

BOX = "{*}rect"


def parse(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert not [node for node in root.iter() if "style" in node.attrib]
    return root


def test_a_tile_belongs_to_its_slug():
    assert marks.tile("acme/aurora") == marks.tile("acme/aurora") != marks.tile("acme/aurora-8b")
    assert "lg" in parse(marks.tile("acme/aurora", large=True)).attrib["class"].split()


@pytest.mark.parametrize(
    ("used", "limit", "width"),
    [(0, 100, "0%"), (35, 200, "17.5%"), (100, 100, "100%"), (300, 100, "100%"), (5, 0, "100%")],
)
def test_a_meter_is_as_long_as_what_is_used_and_never_longer_than_the_limit(used, limit, width):
    fill = parse(marks.meter(used, limit)).find(f"{BOX}[@class='fill']")
    assert fill.attrib["width"] == width


def test_a_strip_has_one_bar_a_day_and_says_in_words_what_it_shows():
    root = parse(marks.strip(["ok", "bad", "none"], 'Down <once> & "briefly"'))
    assert [bar.attrib["class"] for bar in root.findall(BOX)] == ["", "b", "none"]
    assert root.attrib["aria-label"] == 'Down <once> & "briefly"'


def test_a_line_of_one_value_is_nothing_to_draw():
    assert marks.spark([3]) == ""
    assert parse(marks.spark([0, 0])).tag.endswith("svg")
