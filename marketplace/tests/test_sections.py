"""A listing's text in parts: whatever its publisher wrote is shown once, and what is missing is named."""

from __future__ import annotations

import pytest

from marketplace.services.sections import GUIDES, card_of, guide_of, outline
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db

TEXT = """Says how the weather will be.

It knows Europe.

## Limits

Not the sea.

### Storms

Never.

## How to prompt

Name a town.

## Intended use

```
## Data
```

Gardeners.
"""


def test_headings_that_are_known_become_sections_in_a_fixed_order():
    card = card_of(make_model(description=TEXT))
    assert card.intro == "Says how the weather will be.\n\nIt knows Europe."
    assert [one.guide.name for one in card.written] == ["good-for", "limits"]
    good_for, limits = card.written
    assert limits.text == "Not the sea.\n\n### Storms\n\nNever."
    assert good_for.text == "```\n## Data\n```\n\nGardeners.", "code is no heading"
    assert card.rest == "## How to prompt\n\nName a town."
    assert [one.guide.name for one in card.missing] == ["data", "evaluation", "changes"]


@pytest.mark.parametrize(
    "text",
    [
        "No headings at all.",
        "# Weather\n\nAll of it\n\n## Setup\n\nNone.",
        "> ## Limits\n\nA quote is no section.",
        "- ## Limits\n\nNor is a list.",
    ],
)
def test_a_text_without_known_headings_stays_whole(text):
    card = card_of(make_model(description=text))
    assert (card.intro, card.written, card.rest) == (text, [], "")


def test_a_heading_twice_is_one_section_and_titles_above_begin_another_part():
    text = "# Limits\n\nOne.\n\n# Weather\n\n## Data\n\nOurs.\n\n# Limits\n\nTwo."
    card = card_of(make_model(description=text))
    assert [one.text for one in card.written] == ["One.\n\nTwo."]
    assert card.rest == "# Weather\n\n## Data\n\nOurs.", "what is below another heading belongs to it"


def test_without_words_on_changes_the_current_versions_notes_stand_there():
    ai_model = make_model(description="Rain.")
    ai_model.current_version.changelog = "- Knows hail."
    assert [one.text for one in card_of(ai_model).written] == ["- Knows hail."]
    ai_model.description = "Rain.\n\n## Changes\n\nNone so far."
    assert [one.text for one in card_of(ai_model).written] == ["None so far."]


def test_no_word_of_a_text_is_lost():
    card = card_of(make_model(description=TEXT))
    shown = " ".join([card.intro, card.rest, *(section.text for section in card.sections)])
    for word in TEXT.replace("## Limits", "").replace("## Intended use", "").split():
        assert word in shown


def test_with_the_outline_all_five_are_there():
    ai_model = make_model(description="Rain.\n\n## Limits\n\nNone.")
    missing = outline(card_of(ai_model))
    assert "## Limits" not in missing
    ai_model.description += f"\n\n{missing}"
    card = card_of(ai_model)
    assert len(card.written) == len(GUIDES)
    assert not card.rest


@pytest.mark.parametrize(
    ("heading", "name"),
    [("Good for:", "good-for"), ("**Limitations**", "limits"), ("EVALUATION", "evaluation"), ("Prices", None)],
)
def test_what_people_call_a_section(heading, name):
    guide = guide_of(heading)
    assert (guide.name if guide else None) == name
