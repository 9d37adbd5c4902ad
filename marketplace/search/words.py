"""What words mean in a catalogue of models, and what somebody meant who typed them wrongly. Both engines use it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from marketplace.documents import SYNONYMS

_MEANINGS: dict[tuple[str, ...], tuple[tuple[str, ...], ...]] = {
    tuple(phrase.split()): tuple(tuple(other.split()) for other in line if other != phrase)
    for line in SYNONYMS
    for phrase in line
}
_LONGEST = max(map(len, _MEANINGS))
#: Words that are right though no listing has them.
KNOWN = frozenset(word for phrase in _MEANINGS for word in phrase)


@dataclass(frozen=True, slots=True)
class Term:
    """A word or phrase as typed, and phrases that mean the same."""

    words: tuple[str, ...]
    others: tuple[tuple[str, ...], ...] = ()


def terms_of(words: Sequence[str]) -> list[Term]:
    """The words in their order, those that are a phrase of `SYNONYMS` taken together, the longest first."""
    terms = []
    place = 0
    while place < len(words):
        for length in range(min(_LONGEST, len(words) - place), 0, -1):
            phrase = tuple(words[place : place + length])
            if phrase in _MEANINGS or length == 1:
                terms.append(Term(phrase, _MEANINGS.get(phrase, ())))
                place += length
                break
    return terms


def slips_of(word: str) -> list[str]:
    """The word with two neighbouring letters swapped, or one taken away: what trigrams of short words do not see."""
    swapped = (word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1))
    shorter = (word[:at] + word[at + 1 :] for at in range(len(word)))
    return sorted({one for one in (*swapped, *shorter) if one != word})


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word with the fewest slips of the finger to it; None if all are too far to be meant."""
    most = 1 if len(word) < 5 else 2 if len(word) < 9 else 3
    found = min(((slips(word, one), one[0] != word[0], one) for one in known), default=None)
    return found[2] if found is not None and found[0] <= most else None


def slips(typed: str, meant: str) -> int:
    """How many letters were left out, added, mistaken, or swapped with their neighbour."""
    before: list[int] = []
    row = list(range(len(meant) + 1))
    for i, a in enumerate(typed, 1):
        last, before_last, row = row, before, [i]
        for j, b in enumerate(meant, 1):
            best = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == meant[j - 2] and b == typed[i - 2]:
                best = min(best, before_last[j - 2] + 1)
            row.append(best)
        before = last
    return row[-1]
