"""Text embeddings by feature hashing: deterministic, normalised, without training.

Texts that share words, or parts of words, lie close together; it knows nothing of meaning.
"""

from __future__ import annotations

import base64
import math
import re
import sys
from array import array
from collections import Counter
from hashlib import blake2b
from itertools import pairwise

DEFAULT_DIMENSIONS, MAX_DIMENSIONS = 256, 2048

_WORD = re.compile(r"\w+")


def embed(text: str, dimensions: int = DEFAULT_DIMENSIONS) -> array[float]:
    """A vector of length 1, in 32-bit floats."""
    sums = [0.0] * dimensions
    for feature, weight in _features(text).items():
        number = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest())
        sums[(number >> 1) % dimensions] += weight if number & 1 else -weight
    length = math.hypot(*sums)
    if not length:  # every feature met its opposite: name the text by itself
        number = int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
        sums[number % dimensions] = length = 1.0
    return array("f", (value / length for value in sums))


def to_base64(vector: array[float]) -> str:
    """32-bit little-endian floats, as OpenAI's `encoding_format: base64`."""
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()


def _features(text: str) -> dict[str, float]:
    """Words, pairs of neighbours, groups of three letters (for inflections and typos), repetition counting less."""
    words = _WORD.findall(text.casefold())
    counts: Counter[tuple[str, float]] = Counter((f"w {word}", 1.0) for word in words)
    counts.update((f"p {first} {second}", 0.5) for first, second in pairwise(words))
    for word in words:
        edged = f"<{word}>"
        counts.update((f"c {edged[at : at + 3]}", 0.3) for at in range(len(edged) - 2))
    if not counts:  # only marks or symbols
        counts.update((f"s {character}", 1.0) for character in text)
    return {feature: weight * (1 + math.log(count)) for (feature, weight), count in counts.items()}
