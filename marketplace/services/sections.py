"""A listing's text as what callers look for: what it is good for, its limits, its data, its evaluation, its changes.

The text stays the publisher's Markdown. A heading that names one of the five begins that section, wherever it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy
from markdown_it import MarkdownIt

from marketplace.models import AIModel

_BLOCKS = MarkdownIt("commonmark", {"html": False})


@dataclass(frozen=True, slots=True)
class Guide:
    """One of the five. `headings`: what people call it, in lower case; `asks`: what it should say."""

    name: str
    title: str | Promise
    headings: tuple[str, ...]
    asks: str | Promise


GUIDES = (
    Guide(
        "good-for",
        gettext_lazy("Good for"),
        ("good for", "intended use", "intended uses", "uses", "use cases"),
        gettext_lazy("Tasks it does well, and for whom."),
    ),
    Guide(
        "limits",
        gettext_lazy("Limits"),
        ("limits", "limitations", "known limits", "known limitations", "bias, risks, and limitations"),
        gettext_lazy("What it does badly, and what it must not be used for."),
    ),
    Guide(
        "data",
        gettext_lazy("Data"),
        ("data", "training data", "training", "training details"),
        gettext_lazy("What it was trained on, up to when, and under which terms."),
    ),
    Guide(
        "evaluation",
        gettext_lazy("Evaluation"),
        ("evaluation", "results", "evaluation results", "benchmarks"),
        gettext_lazy("How well it does, on which test, measured by whom."),
    ),
    Guide(
        "changes",
        gettext_lazy("Changes"),
        ("changes", "changelog", "release notes"),
        gettext_lazy("What is new; the notes of the current version stand here, if there are any."),
    ),
)


@dataclass(frozen=True, slots=True)
class Section:
    """`text`: Markdown without its heading; empty if the publisher did not write it."""

    guide: Guide
    text: str

    @property
    def is_there(self) -> bool:
        return bool(self.text.strip())


@dataclass(frozen=True, slots=True)
class Card:
    """A listing's text in parts, all Markdown: what comes first, the five sections, and what has other headings."""

    intro: str
    sections: tuple[Section, ...]
    rest: str

    @property
    def written(self) -> list[Section]:
        return [section for section in self.sections if section.is_there]

    @property
    def missing(self) -> list[Section]:
        return [section for section in self.sections if not section.is_there]


def card_of(ai_model: AIModel) -> Card:
    """The parts of its description. Where it says nothing of changes, the current version's notes do."""
    intro, parts = _split(ai_model.description)
    known: dict[str, list[str]] = {}
    rest = []
    for heading, whole, text in parts:
        guide = guide_of(heading)
        if guide is None:
            rest.append(whole)
        else:
            known.setdefault(guide.name, []).append(text)
    if "changes" not in known and ai_model.current_version is not None:
        known["changes"] = [ai_model.current_version.changelog]
    sections = tuple(
        Section(guide, "\n\n".join(text.strip() for text in known.get(guide.name, [])).strip()) for guide in GUIDES
    )
    return Card(intro, sections, "\n".join(rest).strip())


def outline(card: Card) -> str:
    """The headings that are missing, with what belongs under each, as Markdown to begin with."""
    return "\n\n".join(f"## {section.guide.title}\n\n{section.guide.asks}" for section in card.missing)


def guide_of(heading: str) -> Guide | None:
    """The one that a heading names; in English, so that a page is in the same parts for everybody."""
    words = re.sub(r"[\s:.*_]+", " ", heading).strip().lower()
    return next((one for one in GUIDES if words in one.headings), None)


def _split(source: str) -> tuple[str, list[tuple[str, str, str]]]:
    """What stands before the first part, and each part: its heading, all of it, and all but the heading.

    A part begins with a heading of the highest level that names a section, or with one that is as high; what is below
    belongs to it. Headings inside of lists, quotes and code are text.
    """
    lines = source.splitlines()
    tokens = _BLOCKS.parse(source)
    headings = [
        (int(token.tag[1]), token.map[0], token.map[1], tokens[number + 1].content)
        for number, token in enumerate(tokens)
        if token.type == "heading_open" and token.level == 0 and token.map
    ]
    level = min((height for height, _first, _last, words in headings if guide_of(words)), default=0)
    begins = [one for one in headings if one[0] <= level]
    if not begins:
        return source, []
    ends = [first for _level, first, _last, _words in begins[1:]] + [len(lines)]
    parts = [
        (words, "\n".join(lines[first:end]), "\n".join(lines[last:end]))
        for (_level, first, last, words), end in zip(begins, ends, strict=True)
    ]
    return "\n".join(lines[: begins[0][1]]).strip(), parts
