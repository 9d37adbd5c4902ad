"""The engine on Elasticsearch, against a real server."""

import json
from urllib.request import urlopen


def test_the_server_is_the_one_that_was_pinned(elasticsearch_server):
    with urlopen(f"{elasticsearch_server.url}/_nodes/_local/http", timeout=10) as answer:
        (node,) = json.load(answer)["nodes"].values()
        assert answer.headers["X-Elastic-Product"] == "Elasticsearch"
    assert node["version"].startswith("8.19.")
