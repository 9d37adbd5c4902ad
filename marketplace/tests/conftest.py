"""A real Elasticsearch for the tests of its engine: one node, started when the first of them asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
