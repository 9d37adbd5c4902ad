"""A real Elasticsearch for the tests of its engine: one node, started when the first of them asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from elasticsearch.dsl.connections import connections

from ops import elasticsearch


@pytest.fixture(scope="session")
def elasticsearch_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[elasticsearch.Server]:
    """Skipped where there is neither Java nor Maven; `.ci/run` has both, and lets nothing be skipped."""
    try:
        elasticsearch.tools()
    except elasticsearch.Missing as missing:
        pytest.skip(str(missing))
    server = elasticsearch.Server(tmp_path_factory.mktemp("elasticsearch"))
    yield server
    server.stop()


class Elastic:
    """The index of one test: what is written to it is found at once."""

    def __init__(self, server: elasticsearch.Server, alias: str) -> None:
        self.server, self.alias = server, alias
        self.client = Elasticsearch(server.url)

    def rebuild(self) -> int:
        from marketplace import services  # not before Django is set up

        return services.rebuild_index()

    def sweep(self) -> int:
        from marketplace import services

        count = services.sweep_index()
        self.client.indices.refresh(index=self.alias)
        return count

    def indexes(self) -> list[str]:
        return sorted(self.client.indices.get(index=f"{self.alias}*").body)


@contextmanager
def searching_at(url: str, settings: Any) -> Iterator[None]:
    """The site with the server at this address as its engine."""
    from marketplace import search

    settings.ELASTICSEARCH_URL = url
    connections.configure(default={"hosts": url})
    search._engine.cache_clear()
    yield
    connections.get_connection().close()
    connections.configure(**settings.ELASTICSEARCH_DSL)
    search._engine.cache_clear()


@pytest.fixture
def elastic(elasticsearch_server, settings) -> Iterator[Elastic]:
    """The site with a real Elasticsearch as its engine."""
    found = Elastic(elasticsearch_server, settings.ELASTICSEARCH_INDEX)
    with searching_at(elasticsearch_server.url, settings):
        yield found
    for name in found.indexes():
        found.client.indices.delete(index=name)
    found.client.close()
