"""ELIZA (Weizenbaum, 1966): ranked keywords, decomposition and reassembly rules, reflected pronouns and a memory.

An answer is a function of the conversation and a seed: the history is replayed, nothing is kept between requests.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from examples.model_server import script

MAX_TURNS, MAX_CHARACTERS, MAX_WORDS = 40, 2_000, 60  # what is read: the last turns, the start of each, of each clause

_CLAUSE_END = re.compile(r"[.,;:!?()\[\]\"“”\n]+|\bbut\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")

_FORMS_OF_BE = {"am": "are", "are": "am", "was": "were", "were": "was"}
_SUBJECT_OF = {"am": "i", "are": "you", "was": "i", "were": "you"}
_MIRRORED = {
    "i": "you", "me": "you", "my": "your", "mine": "yours", "myself": "yourself",
    "your": "my", "yours": "mine", "yourself": "myself",
}  # fmt: skip
_AUXILIARIES = script.words(
    "am are is was were do does did have has had can could will would shall should may might must don't didn't can't "
    "won't couldn't wouldn't shouldn't aren't weren't haven't hadn't never always really just"
)
_BEFORE_A_SUBJECT = script.words(
    "that because if when while and what why how who where think hope believe say said know wish feel guess mean "
    "suppose as than since until though although whether"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern over the words of a clause, and answers used in turn; `=word` goes on with another keyword's rules."""

    name: str
    pattern: Sequence[str]
    answers: Sequence[str]

    def match(self, clause: Sequence[str]) -> list[Sequence[str]] | None:
        return _match(self.pattern, clause)


@dataclass(frozen=True, slots=True)
class Keyword:
    rank: int
    rules: Sequence[Rule]


@dataclass(slots=True)
class Session:
    """One conversation. `seed` decides with which of its answers each rule begins."""

    seed: int = 0
    used: Counter[str] = field(default_factory=Counter)
    memory: list[str] = field(default_factory=list)

    def answer(self, text: str) -> str:
        clauses = _clauses(text)
        if not clauses:
            return self._next("empty", script.ON_SILENCE)
        for clause, word in _keywords(clauses):
            if word in script.REMEMBERED:
                self._remember(clause)
            if answer := self._apply(word, clause):
                return answer
        if self.memory:
            return self.memory.pop(0)
        return self._next("none", script.ON_NOTHING)

    def _apply(self, word: str, clause: Sequence[str]) -> str | None:
        for rule in RULES[word].rules:
            if (parts := rule.match(clause)) is not None:
                answer = self._next(rule.name, rule.answers)
                return self._apply(answer[1:], clause) if answer.startswith("=") else _fill(answer, parts)
        return None

    def _remember(self, clause: Sequence[str]) -> None:
        for rule in MEMORY:
            if (parts := rule.match(clause)) is not None:
                self.memory.append(_fill(self._next(rule.name, rule.answers), parts))

    def _next(self, name: str, answers: Sequence[str]) -> str:
        position = self.used[name] + self.seed
        self.used[name] += 1
        return answers[position % len(answers)]


def respond(turns: Sequence[str], *, seed: int = 0) -> str:
    """The answer to the last of a person's `turns`; a greeting if there are none."""
    if not turns:
        return script.GREETINGS[seed % len(script.GREETINGS)]
    session = Session(seed=seed)
    return [session.answer(text[:MAX_CHARACTERS]) for text in turns[-MAX_TURNS:]][-1]


def reflect(words: Sequence[str]) -> str:
    """The words as the other side would say them: "I love my cat" becomes "you love your cat"."""
    lower = [word.lower() for word in words]
    reflected = []
    for at, word in enumerate(lower):
        before, after = lower[at - 1] if at else "", lower[at + 1] if at + 1 < len(lower) else ""
        if word == "you":
            reflected.append("I" if _is_subject(before, after) else "me")
        elif word in _FORMS_OF_BE and _SUBJECT_OF[word] in (before, after):
            reflected.append(_FORMS_OF_BE[word])
        else:
            reflected.append(_MIRRORED.get(word, words[at]))
    return " ".join(reflected)


def _is_subject(before: str, after: str) -> bool:
    """Whether a "you" between these words is who acts ("what you said"), not who is acted on ("about you")."""
    if before in _AUXILIARIES or after in _AUXILIARIES:
        return True
    return bool(after) and (not before or before in _BEFORE_A_SUBJECT)


def _clauses(text: str) -> list[list[str]]:
    text = text.replace("’", "'")
    for pattern, plain in script.SUBSTITUTIONS:
        text = pattern.sub(plain, text)
    clauses = (_WORD.findall(clause)[:MAX_WORDS] for clause in _CLAUSE_END.split(text))
    return [clause for clause in clauses if clause]


def _keywords(clauses: list[list[str]]) -> Iterator[tuple[list[str], str]]:
    """Clauses with a keyword of theirs, the highest rank first, then in the order of the text."""
    found = [(clause, word.lower()) for clause in clauses for word in clause if word.lower() in RULES]
    return iter(sorted(found, key=lambda pair: -RULES[pair[1]].rank))


def _match(pattern: Sequence[str], words: Sequence[str]) -> list[Sequence[str]] | None:
    """The parts of `words` that fit the pattern: `*` any words, `+` at least one, `@name` one of a group (each a part,
    counted from 1); another word is itself. None if they do not fit.
    """
    if not pattern:
        return None if words else []
    head, rest = pattern[0], pattern[1:]
    if head in ("*", "+"):
        for length in range(head == "+", len(words) + 1):
            if (others := _match(rest, words[length:])) is not None:
                return [words[:length], *others]
        return None
    if not words:
        return None
    word, parts = words[0].lower(), []
    if head.startswith("@"):
        if word not in script.GROUPS[head[1:]]:
            return None
        parts = [words[:1]]
    elif word != head:
        return None
    others = _match(rest, words[1:])
    return None if others is None else [*parts, *others]


def _fill(answer: str, parts: Sequence[Sequence[str]]) -> str:
    filled = re.sub(r"\((\d)\)", lambda number: reflect(parts[int(number[1]) - 1]), answer)
    return filled[:1].upper() + filled[1:]


def _build() -> Iterator[tuple[str, Keyword]]:
    for words, rank, entries in script.KEYWORDS:
        rules = [Rule(f"{words}: {pattern}", pattern.split(), answers) for pattern, answers in entries]
        for word in words.split():
            yield word, Keyword(rank, rules)


RULES: dict[str, Keyword] = dict(_build())
MEMORY = [Rule(f"memory: {pattern}", pattern.split(), answers) for pattern, answers in script.MEMORIES]
