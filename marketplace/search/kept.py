"""What was found lately for queries without words, which most visitors ask and which are the same for all of them."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from uuid import UUID

import msgspec

from common.cache import Made, Shelf
from marketplace.search import Found, Query, Search

#: Lists under the tag `LISTS`, and what the API shows of a model under the model's own. At most a minute old, whatever
#: happens; what was changed is read by the next who asks.
SHELF = Shelf("catalogue", fresh_seconds=30, kept_seconds=60)
LISTS = "lists"


class Kept:
    """An engine, and before it what it found lately.

    Words are asked of the engine each time: they hardly repeat. So is whatever shows an organization its own drafts.
    """

    def __init__(self, engine: Search) -> None:
        self.engine = engine

    def find(
        self, query: Query, *, limit: int, cursor: str | None = None, facets: bool = False, total: bool = False
    ) -> Found:
        if query.words or (query.own_slug and query.own_slug in query.publisher):
            return self.engine.find(query, limit=limit, cursor=cursor, facets=facets, total=total)
        found: list[Found] = []
        key = _key(query, limit, cursor, facets, total)

        def make(keys: object) -> dict[str, Made]:
            found.append(self.engine.find(query, limit=limit, cursor=cursor, facets=facets, total=total))
            return {key: Made(msgspec.msgpack.encode(found[0]))}

        body = SHELF.read({key: LISTS}, make)[key]
        return found[0] if found else msgspec.msgpack.decode(body, type=Found)

    def nearest(self, text: str, *, limit: int) -> list[UUID]:
        return self.engine.nearest(text, limit=limit)


def _key(query: Query, *asked: object) -> str:
    """One for all who ask the same, whoever they are and in whichever order."""
    values = {one.name: getattr(query, one.name) for one in fields(query) if one.name not in ("text", "own_slug")}
    said = [(name, sorted(value) if isinstance(value, list | tuple) else value) for name, value in values.items()]
    return f"found:{hashlib.blake2b(repr((said, asked)).encode(), digest_size=16).hexdigest()}"
