"""Sentiment of English text: VADER (Hutto and Gilbert, 2014), a lexicon and rules."""

from collections.abc import Iterator
from functools import cache
from typing import Any

POSITIVE, NEGATIVE = 0.05, -0.05  # thresholds of VADER's authors

# VADER's time grows with the square of the words, and each emoji becomes several: longer text is scored in parts.
PART_COST, EMOJI_COST = 2_000, 60


@cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def analyze(text: str) -> dict[str, object]:
    """`score` from -1 (negative) to 1 (positive); `scores`: shares of the text, of sum 1 (0 without words)."""
    totals, weight = {"compound": 0.0, "pos": 0.0, "neu": 0.0, "neg": 0.0}, 0
    for part in _parts(text):
        for name, value in _analyzer().polarity_scores(part).items():
            totals[name] += value * len(part)
        weight += len(part)
    score, positive, neutral, negative = (round(total / max(weight, 1), 4) for total in totals.values())
    label = "positive" if score >= POSITIVE else "negative" if score <= NEGATIVE else "neutral"
    return {
        "label": label,
        "score": score,
        "scores": {"positive": positive, "neutral": neutral, "negative": negative},
    }


def _parts(text: str) -> Iterator[str]:
    """The text as it is, or cut at spaces so that no part takes long."""
    emojis = _analyzer().emojis
    start, last_space, cost = 0, 0, 0
    for position, character in enumerate(text):
        cost += EMOJI_COST if character in emojis else 1
        if character.isspace():
            last_space = position
        if cost > PART_COST:
            end = last_space if last_space > start else position
            yield text[start:end]
            start, cost = end, position - end
    if start < len(text):
        yield text[start:]
