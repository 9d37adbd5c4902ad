"""How long does a search take in a catalogue of many models, with every facet counted, on both engines?

The catalogue is generated: names of made-up words, descriptions of the words of its trade, more models for some
publishers, tasks and words than for others, as it is where people publish. It goes with the database of the run.
"""

from __future__ import annotations

import random
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.report import heading, table
from bench.stage import BUILD
from ops import elasticsearch
from trust.ground import Ground

if TYPE_CHECKING:
    from marketplace.search import Query, Search

SEED = 7
BULK = 1_000
EACH = 100  # queries of a kind
PAGE = 24
MODELS_OF_A_PUBLISHER = 40
HEAP_MB = 512
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
TRADE = [
    word
    for line in (
        "fast small large multilingual streaming medical legal code image photo speech voice text document",
        "table video music translation summary sentiment embedding chat assistant detection classification",
        "recognition generation forecast accurate cheap open trained evaluated benchmark languages tokens",
        "context vectors pixels audio customers contracts invoices reviews support search ranking safety",
        "moderation spam fraud weather protein finance retail research",
    )
    for word in line.split()
]
CAPABILITIES = ("streaming", "batch", "tools", "json", "vision", "image_input", "document", "audio", "math")


@dataclass(slots=True)
class Catalogue:
    """What was generated, to make queries of."""

    names: list[str] = field(default_factory=list)
    publishers: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


def run(options: Namespace) -> str:
    with Ground(BUILD, durable=True) as ground:
        count = options.models
        began = time.monotonic()
        made = fill(count)
        for statement in ("VACUUM ANALYZE marketplace_aimodel", "VACUUM ANALYZE marketplace_price"):
            ground.execute(statement)
        ground.execute("ANALYZE")
        _say(f"{count:,} models were made in {time.monotonic() - began:.0f} s")
        kinds = asked(made)
        rows = list(_engine("PostgreSQL", kinds, options))
        note = ""
        try:
            with _elasticsearch() as build_seconds:
                _say(f"the index was built in {build_seconds:.0f} s")
                rows += _engine("Elasticsearch", kinds, options)
                note = f"Elasticsearch has {HEAP_MB} MB of heap; its index was built in {build_seconds:.0f} s."
        except elasticsearch.Missing as missing:
            note = f"Elasticsearch is absent: {missing}"
    head = [
        "",
        "what is asked",
        "p50 ms",
        "p99 ms",
        "in the database: p50 ms",
        "p99 ms",
        "statements",
        "find something",
    ]
    title = f"{count:,} models, pages of {PAGE} with all facets and the total, {EACH} queries of each kind"
    return "\n".join([heading("catalogue"), f"{title}.\n", table(head, rows), "", note])


# --- What is asked ----------------------------------------------------------------------------------------------------


def asked(made: Catalogue) -> dict[str, list[Query]]:
    from marketplace.search import Query

    dice = random.Random(SEED)

    def kind(make: Callable[[], Query]) -> list[Query]:
        return [make() for _ in range(EACH)]

    def name() -> str:
        return dice.choice(made.names)

    return {
        "a name": kind(lambda: Query(text=name())),
        "a name with a slip": kind(lambda: Query(text=slip(name(), dice))),
        "the beginning of a name": kind(lambda: Query(text=name().split()[0][:4])),
        "publisher and word": kind(lambda: Query(text=f"{dice.choice(made.publishers)} {dice.choice(TRADE)}")),
        "a rare and a common word": kind(lambda: Query(text=f"{dice.choice(made.words)} {dice.choice(TRADE)}")),
        "two common words, filtered": kind(
            lambda: Query(text=" ".join(dice.sample(TRADE, 2)), category=["chat"], pricing="paid", min_rating_tenths=40)
        ),
        "one common word": kind(lambda: Query(text=dice.choice(TRADE))),
        "nothing there is": kind(lambda: Query(text="".join(dice.choices("qxzjw", k=9)))),
        "no words, filtered": kind(
            lambda: Query(publisher=[dice.choice(made.publishers)], sort=dice.choice(("price", "rating", "latency")))
        ),
        "no words": kind(lambda: Query(sort=dice.choice(("relevance", "popular", "newest", "price", "rating")))),
    }


def slip(text: str, dice: random.Random) -> str:
    """With one letter left out, doubled, or swapped with the next."""
    at = dice.randrange(1, len(text.split()[0]) - 1)
    match dice.randrange(3):
        case 0:
            return text[:at] + text[at + 1 :]
        case 1:
            return text[:at] + text[at] + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


# --- How long it takes ------------------------------------------------------------------------------------------------


def _engine(name: str, kinds: dict[str, list[Query]], options: Namespace) -> Iterator[list[str]]:
    from marketplace.search import engine

    search = engine()
    wholes: list[float] = []
    insides: list[float] = []
    for kind, queries in kinds.items():
        found = [_timed(search, query) for _round in range(options.rounds) for query in queries]
        whole, inside = [one[0] for one in found], [one[1] for one in found]
        wholes += whole
        insides += inside
        yield _row(name, kind, whole, inside, found[0][2], sum(one[3] for one in found) / len(found))
        _say(f"{name}, {kind}: measured")
    yield _row(name, "all of these", wholes, insides, None, None)


def _row(
    name: str, kind: str, whole: list[float], inside: list[float], statements: int | None, share: float | None
) -> list[str]:
    figures = [_at(whole, 50), _at(whole, 99), _at(inside, 50), _at(inside, 99)]
    return [
        name,
        kind,
        *(f"{figure:.1f}" for figure in figures),
        "" if statements is None else str(statements),
        "" if share is None else f"{share:.0%}",
    ]


def _timed(search: Search, query: Query) -> tuple[float, float, int, bool]:
    """Milliseconds of one search, those of them that PostgreSQL took, its statements, and whether it found anything."""
    from django.db import connection

    spent: list[float] = []

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            spent.append(time.perf_counter() - began)

    began = time.perf_counter()
    with connection.execute_wrapper(wrapper):
        found = search.find(query, limit=PAGE, facets=True, total=True)
    return (time.perf_counter() - began) * 1000, sum(spent) * 1000, len(spent), bool(found.ids)


def _at(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


@contextmanager
def _elasticsearch() -> Iterator[float]:
    """The site with an index of the whole catalogue; the seconds that building it took. Raises Missing."""
    from django.conf import settings
    from elasticsearch.dsl.connections import connections

    from marketplace.services import rebuild_index

    with TemporaryDirectory(dir=BUILD) as folder:
        server = elasticsearch.Server(Path(folder), heap_mb=HEAP_MB)
        try:
            settings.ELASTICSEARCH_URL = server.url
            connections.configure(default={"hosts": server.url})
            began = time.monotonic()
            rebuild_index()
            yield time.monotonic() - began
        finally:
            with suppress(KeyError):
                connections.get_connection().close()
            settings.ELASTICSEARCH_URL = ""
            server.stop()


# --- The catalogue ----------------------------------------------------------------------------------------------------


def fill(count: int) -> Catalogue:
    """So many public models with versions, prices, ratings and measured figures. Always the same ones."""
    from django.db import transaction

    from accounts.models import Organization
    from marketplace.models import AIModel, ModelVersion, Price

    dice = random.Random(SEED)
    made = Catalogue(words=[_word(dice, 3) for _ in range(max(500, count // 20))])
    publishers = [
        Organization(slug=f"{_word(dice, 3)}-{number}", name=_word(dice, 3).title())
        for number in range(max(1, count // MODELS_OF_A_PUBLISHER))
    ]
    Organization.objects.bulk_create(publishers, batch_size=BULK)
    made.publishers = [one.slug for one in publishers]
    for start in range(0, count, BULK):
        rows = [_listing(start + number, dice, made, publishers) for number in range(min(BULK, count - start))]
        with transaction.atomic():  # a listing and its version name each other: checked when it commits
            AIModel.objects.bulk_create([row[0] for row in rows])
            ModelVersion.objects.bulk_create([row[1] for row in rows])
            Price.objects.bulk_create([row[2] for row in rows])
        made.names += [row[0].name for row in rows if dice.random() < 0.1]
        if not (start + BULK) % 20_000:
            _say(f"{start + BULK:,} of {count:,} models")
    return made


def _listing(number: int, dice: random.Random, made: Catalogue, publishers: Sequence[Any]) -> tuple[Any, Any, Any]:
    from common import clock
    from common.money import NANO
    from marketplace.models import UNMEASURED, AIModel, Category, ModelVersion, Price

    at = clock.now() - timedelta(minutes=dice.randrange(500_000))
    name = f"{_word(dice, 3).title()} {dice.choice(TRADE).title()} {dice.randrange(1, 90)}B"
    ratings = int(dice.paretovariate(0.8)) - 1 if dice.random() < 0.3 else 0
    text = [*dice.choices(TRADE, k=30), *dice.choices(made.words, k=12)]
    dice.shuffle(text)
    listing = AIModel(
        publisher=publishers[min(len(publishers) - 1, int(dice.expovariate(4 / len(publishers))))],
        slug=f"{name.lower().replace(' ', '-')}-{number}",
        name=name,
        description=" ".join(text).capitalize() + ".",
        category=dice.choice([*Category.values, "chat", "chat", "text-generation"]),
        capabilities=dice.sample(CAPABILITIES, dice.randrange(4)),
        status="published" if dice.random() < 0.95 else "deprecated",
        published_at=at,
        is_callable=dice.random() < 0.9,
        rating_count=min(ratings, 100_000),
        rating_sum=min(ratings, 100_000) * dice.randrange(2, 6),
        demand=int(1000 * (dice.paretovariate(0.7) - 1)) if dice.random() < 0.4 else 0,
        latency_order=int(dice.lognormvariate(6, 1)) + 5 if dice.random() < 0.5 else UNMEASURED,
    )
    version = ModelVersion(ai_model=listing, version="1.0.0", published_at=at)
    listing.current_version = version
    is_free = dice.random() < 0.3
    price = Price(
        ai_model=listing,
        type="free" if is_free else "paid",
        currency="USD",
        per_call_nano=None if is_free else int(dice.lognormvariate(0, 2) * NANO / 100),
        effective_from=at,
    )
    return listing, version, price


def _word(dice: random.Random, syllables: int) -> str:
    return "".join(dice.choices(SYLLABLES, k=syllables))


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
