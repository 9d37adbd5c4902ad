"""The benchmarks' own tools: a figure that is counted wrongly would be worse than none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.memory import trend
from bench.report import OURS, put_into, ratios
from bench.stage import upstream
from config.cluster import ROOT
from config.processes import Failure

BODY = json.dumps({"model": "m", "messages": [], "stream": True})


def load(port, *arguments):
    command = [sys.executable, "-m", "bench.load", f"http://127.0.0.1:{port}/v1/chat/completions", "--body", BODY]
    done = subprocess.run([*command, "--warm", "0", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    begin, end, found = done.stdout.splitlines()
    assert (begin, end) == ("begin", "end")
    return json.loads(found)


def test_every_token_of_every_stream_is_counted_once():
    with upstream(tokens=7, pace_ms=1) as port:
        found = load(port, "--once", "--connections", "20", "--most-seconds", "30")
    assert (found["complete"], found["answers"], found["broken"], found["bad"]) == (20, 20, 0, 0)
    assert found["chunks"] == 20 * (7 + 3)  # the end of the text, the usage and [DONE] come in events too


def test_as_many_streams_are_left_as_was_asked():
    with upstream(tokens=1000, pace_ms=1) as port:
        found = load(port, "--abort", "12", "--connections", "4", "--seconds", "0", "--most-seconds", "30")
    assert 12 <= found["aborted"] <= 12 + 4
    assert found["complete"] == 0


def test_it_goes_on_until_there_are_answers_enough(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("one\ntwo\n")
    with upstream(tokens=1, pace_ms=0) as port:
        found = load(port, "--keys", str(keys), "--connections", "2", "--seconds", "0", "--answers", "50")
    assert found["answers"] >= 50
    assert found["bad"] == 0


@pytest.mark.parametrize(
    ("points", "slope"), [([(0, 5.0), (1, 5.0), (2, 5.0)], 0), ([(0, 1.0), (10, 2.0), (20, 3.0)], 0.1), ([(1, 9.0)], 0)]
)
def test_the_trend_is_that_of_the_line_that_fits(points, slope):
    assert trend(points) == pytest.approx(slope)


def test_ratios_say_who_has_more():
    said = ratios("CPU a call", {OURS: 100.0, "LiteLLM": 12_000.0, "nginx": 20.0, "absent": 0.0})
    assert said == "CPU a call: 1/120 of LiteLLM's, 5 times nginx's."


def test_a_table_takes_its_own_place_on_the_page(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- end of x -->\nb\n")
    for _ in range(2):
        put_into(page, "x", "new")
    assert page.read_text() == "a\n<!-- x -->\n\nnew\n\n<!-- end of x -->\nb\n"
    with pytest.raises(Failure, match="no place for y"):
        put_into(page, "y", "new")
