"""The index of Elasticsearch: built anew beside the old one, and kept by a sweep over what was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import connection, transaction
from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch, UnsupportedProductError
from elasticsearch.dsl.connections import connections
from elasticsearch.helpers import bulk

from common import clock
from marketplace.documents import ListingDocument
from marketplace.models import AIModel

BATCH = 500
MAX_SWEPT = 5_000  # changes that one sweep takes; the next one is seconds away
TIMEOUT_SECONDS = 30
CHECK_TIMEOUT_SECONDS = 3
SERVED_VERSIONS = (8, 9)
LOCK = "hashtext('marketplace.index')"

logger = structlog.get_logger(__name__)
Item = TypeVar("Item")


class IndexNotBuilt(RuntimeError):
    """What was written is not what is listed."""


def client(timeout: float = TIMEOUT_SECONDS) -> Elasticsearch:
    found: Elasticsearch = connections.get_connection()
    return found.options(request_timeout=timeout)


def rebuild_index(*, progress: Callable[[int, int], Any] = lambda done, all: None) -> int:
    """Build a new index of all public listings, let the alias point at it, and drop the old ones. Returns how many.

    Searching goes on in the old one until then; what changes meanwhile is swept afterwards. progress(done, all) is told
    how far it is. Raises TransportError, ApiError or IndexNotBuilt, and then nothing has changed.
    """
    alias = settings.ELASTICSEARCH_INDEX
    server = client()
    with _alone():
        old = _indexes_behind(server, alias)
        name = f"{alias}-{clock.now():%Y%m%d%H%M%S%f}"
        server.indices.create(index=name, **ListingDocument._index.to_dict())
        try:
            count = _fill(server, name, progress)
            server.indices.refresh(index=name)
            if (written := server.count(index=name)["count"]) != count:
                raise IndexNotBuilt(f"{written} of {count} listings were written")
            actions: list[dict[str, Any]] = [{"remove": {"index": one, "alias": alias}} for one in old]
            server.indices.update_aliases(actions=[*actions, {"add": {"index": name, "alias": alias}}])
        except BaseException:
            server.indices.delete(index=name, ignore_unavailable=True)
            raise
        for one in old:
            server.indices.delete(index=one, ignore_unavailable=True)
    return count


def sweep_index() -> int:
    """Tell the index what was changed in the catalogue. Returns how many listings were told.

    While the server is away, or the index is being rebuilt, changes wait. Without a server they are forgotten.
    """
    if not settings.ELASTICSEARCH_URL:
        _forget()
        return 0
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_try_advisory_xact_lock({LOCK})")
            if not cursor.fetchone()[0]:
                return 0
            server = client()
            if not _indexes_behind(server, settings.ELASTICSEARCH_INDEX):
                _forget()  # there is nothing to keep; whoever builds it reads everything
                return 0
            cursor.execute(
                "DELETE FROM marketplace_listingchange WHERE id IN"
                " (SELECT id FROM marketplace_listingchange ORDER BY id LIMIT %s) RETURNING ai_model_id",
                [MAX_SWEPT],
            )
            changed = {id for (id,) in cursor.fetchall()}
            for ids in _batches(sorted(changed)):
                _written, failed = bulk(server, _actions(ids), ignore_status=[404], raise_on_error=False)
                if failed:  # a document that is refused is refused the next time too; a rebuild would say so
                    logger.error("listings_not_indexed", failed=str(failed)[:500])
    except (TransportError, ApiError) as error:
        logger.warning("elasticsearch_not_told", error=f"{type(error).__name__}: {error}"[:300])
        return 0
    return len(changed)


def check_server(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """A start-up check: whether the search server is one that the client can talk to."""
    if not settings.ELASTICSEARCH_URL:
        return []
    behind = "Until then PostgreSQL searches."
    try:
        nodes = client(CHECK_TIMEOUT_SECONDS).options(max_retries=0).nodes.info(node_id="_local", metric="http")
    except UnsupportedProductError:
        text = "What answers at ELASTICSEARCH_URL is not Elasticsearch, or older than 7.14."
        return [Error(text, hint="Use Elasticsearch 8 or 9.", id="agorai.E010")]
    except (TransportError, ApiError) as error:
        text = f"The server of ELASTICSEARCH_URL does not answer: {type(error).__name__}."
        return [Warning(text, hint=behind, id="agorai.W010")]
    versions = sorted({str(node["version"]) for node in nodes["nodes"].values()})
    wrong = [version for version in versions if int(version.split(".")[0]) not in SERVED_VERSIONS]
    if wrong:
        text = f"The server of ELASTICSEARCH_URL is Elasticsearch {', '.join(wrong)}; 8 and 9 are served."
        return [Error(text, hint="Upgrade it, or empty ELASTICSEARCH_URL: then PostgreSQL searches.", id="agorai.E010")]
    return []


def _fill(server: Elasticsearch, name: str, progress: Callable[[int, int], Any]) -> int:
    document = ListingDocument()
    rows = document.get_queryset()
    expected, done = rows.count(), 0
    progress(0, expected)
    for some in _batches(rows.defer("search_vector").iterator(chunk_size=BATCH)):
        bulk(server, _documents(document, some, index=name))
        done += len(some)
        progress(done, max(expected, done))
    return done


def _actions(ids: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """What is public is written, all else taken away."""
    document = ListingDocument()
    rows = document.get_queryset().defer("search_vector").in_bulk(list(ids))
    yield from _documents(document, rows.values(), index=settings.ELASTICSEARCH_INDEX)
    for id in ids:
        if id not in rows:
            yield {"_op_type": "delete", "_index": settings.ELASTICSEARCH_INDEX, "_id": str(id)}


def _documents(document: ListingDocument, rows: Iterable[AIModel], *, index: str) -> Iterator[dict[str, Any]]:
    for row in rows:
        source = {name: value for name, value in document.prepare(row).items() if value is not None}
        yield {"_op_type": "index", "_index": index, "_id": str(row.pk), "_source": source}


def _indexes_behind(server: Elasticsearch, alias: str) -> list[str]:
    """The indexes of the alias."""
    if not server.indices.exists_alias(name=alias):
        return []
    return sorted(server.indices.get_alias(name=alias).body)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _forget() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM marketplace_listingchange")


@contextmanager
def _alone() -> Iterator[None]:
    """No sweep and no other rebuild meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_lock({LOCK})")
        try:
            yield
        finally:
            cursor.execute(f"SELECT pg_advisory_unlock({LOCK})")
