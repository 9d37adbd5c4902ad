"""A deterministic tokenizer: words in pieces of at most six characters, marks, white space.


Joined, the pieces are the text. It is not OpenAI's tokenizer, so counts differ from theirs, but they are the same on
every machine.
"""

import re
from collections.abc import Iterable

_PIECE = re.compile(r" ?\w{1,6}| ?[^\w\s]|\s+")
_PER_MESSAGE, _PER_REPLY = 4, 3  # role and separators, as OpenAI counts them


def split(text: str) -> list[str]:
    return _PIECE.findall(text)


def count(text: str) -> int:
    return sum(1 for _ in _PIECE.finditer(text))


def count_prompt(contents: Iterable[str]) -> int:
    """Tokens of a conversation, what surrounds each message included."""
    return _PER_REPLY + sum(_PER_MESSAGE + count(content) for content in contents)
