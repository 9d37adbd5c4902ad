"""Ninety-five listings and sixty things that people type: what an engine is measured by.

`listings.tsv` is the catalogue, `queries.tsv` what must be among the first three. Both are judged by people, not made
from what an engine finds: a query that no engine answers stays. At least `WANTED` of them must be answered.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from marketplace.models import AIModel
from marketplace.tests.factories import make_model, make_organization

FIRST = 3  # where an answer must stand
WANTED = 54


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was typed, and the listings (`publisher/slug`) of which any answers it."""

    text: str
    answers: frozenset[str]


def queries() -> list[Wanted]:
    return [Wanted(text, frozenset(answers.split(","))) for text, answers in _rows("queries.tsv")]


def make_catalogue() -> dict[str, AIModel]:
    """The listings, published, by `publisher/slug`."""
    publishers = {}
    made = {}
    for publisher, name, category, capabilities, demand, description in _rows("listings.tsv"):
        if publisher not in publishers:
            publishers[publisher] = make_organization(slug=publisher)
        ai_model = make_model(
            publisher=publishers[publisher],
            name=name,
            category=category,
            capabilities=[one for one in capabilities.split(",") if one],
            description=description,
            status="published",
        )
        AIModel.objects.filter(pk=ai_model.pk).update(demand=int(demand))
        made[f"{publisher}/{ai_model.slug}"] = ai_model
    return made


def _rows(name: str) -> Iterator[list[str]]:
    with (Path(__file__).parent / name).open(newline="", encoding="utf-8") as file:
        yield from csv.reader((line for line in file if not line.startswith("#")), delimiter="\t", strict=True)
