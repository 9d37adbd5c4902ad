"""Two texts side by side, line by line, for whoever decides on what changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

AROUND = 3  # unchanged lines that are shown beside a change
MAX_LINES = 2_000  # of a text that is compared; comparing takes time by their square
MAX_LINE = 500  # characters of a line whose words are compared

Piece = tuple[str, bool]  # text, and whether it is what differs from the other side


@dataclass(frozen=True, slots=True)
class Row:
    """One line of each side. kind: same, changed, gone, new, or skipped for unchanged lines that are left out.

    A number is of the line in its text, from 1; 0 where that side has none. `count`: of the lines left out.
    """

    kind: str
    was: tuple[Piece, ...] = ()
    now: tuple[Piece, ...] = ()
    was_number: int = 0
    now_number: int = 0
    count: int = 0


def side_by_side(was: str, now: str) -> list[Row]:
    """What both texts have in common stands in one row. Of long texts everything is said to have changed."""
    before, after = was.splitlines(), now.splitlines()
    if max(len(before), len(after)) > MAX_LINES:
        return [*_run("gone", before, [], 0, 0), *_run("new", [], after, 0, 0)]
    rows: list[Row] = []
    for kind, i, i_end, j, j_end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            rows += _same(before[i:i_end], i, j, is_first=i == j == 0, is_last=i_end == len(before))
        else:
            rows += _run("changed", before[i:i_end], after[j:j_end], i, j)
    return rows


def _same(lines: list[str], i: int, j: int, *, is_first: bool, is_last: bool) -> Iterator[Row]:
    head, tail = 0 if is_first else AROUND, 0 if is_last else AROUND
    hidden = len(lines) - head - tail
    for number, line in enumerate(lines):
        if hidden <= 1 or number < head or number >= len(lines) - tail:
            piece = ((line, False),)
            yield Row("same", piece, piece, i + number + 1, j + number + 1)
        elif number == head:
            yield Row("skipped", count=hidden)


def _run(kind: str, before: list[str], after: list[str], i: int, j: int) -> Iterator[Row]:
    """Lines in place of others, in pairs as long as there are any."""
    for number in range(max(len(before), len(after))):
        old = before[number] if number < len(before) else None
        new = after[number] if number < len(after) else None
        if old is not None and new is not None:
            was, now = _words(old, new)
            yield Row(kind, was, now, i + number + 1, j + number + 1)
        elif old is not None:
            yield Row("gone", ((old, False),), (), i + number + 1)
        elif new is not None:
            yield Row("new", (), ((new, False),), 0, j + number + 1)


def _words(old: str, new: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    if max(len(old), len(new)) > MAX_LINE:
        return ((old, True),), ((new, True),)
    before, after = (re.findall(r"\w+|\s+|.", line) for line in (old, new))
    was: list[Piece] = []
    now: list[Piece] = []
    for kind, i, i_end, j, j_end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        for pieces, words in ((was, before[i:i_end]), (now, after[j:j_end])):
            if words:
                pieces.append(("".join(words), kind != "equal"))
    return tuple(was), tuple(now)
