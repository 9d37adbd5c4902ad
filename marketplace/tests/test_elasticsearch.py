"""The engine on Elasticsearch, against a real server."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from common.money import NANO
from common.problems import InvalidParameter
from marketplace import services
from marketplace.models import AIModel
from marketplace.search import Query, engine
from marketplace.search.postgres import PostgresSearch
from marketplace.services import Terms
from marketplace.tests.conftest import searching_at
from marketplace.tests.factories import make_model, make_organization

pytestmark = pytest.mark.django_db


@pytest.fixture
def catalogue(elastic):
    acme, zenith = make_organization(slug="acme"), make_organization(slug="zenith")
    made = [
        make_model(name="Sentiment", publisher=acme, status="published"),
        make_model(
            name="Aurora 70B",
            description="Chats about anything, with sentiment and style.",
            publisher=acme,
            status="published",
            category="chat",
            capabilities=["streaming", "tools"],
            pricing=Terms(type="paid", input_nano_per_million=4 * NANO // 10, output_nano_per_million=12 * NANO // 10),
        ),
        make_model(
            name="Eliza",
            description="Listens to sentiment and analyses. Made in Île-de-France.",
            publisher=zenith,
            status="deprecated",
            category="chat",
            capabilities=["streaming"],
            pricing=Terms(type="paid", amount_nano=20 * NANO, period="monthly"),
        ),
        make_model(name="Secret sentiment", publisher=zenith),
    ]
    AIModel.objects.filter(slug="eliza").update(rating_sum=9, rating_count=2, latency_order=90, demand=4_000)
    AIModel.objects.filter(slug="aurora-70b").update(rating_sum=3, rating_count=1, latency_order=450, demand=2_000)
    assert elastic.rebuild() == 3
    return {model.slug: model for model in made}


@pytest.fixture
def away(settings):
    """A site whose Elasticsearch is not there."""
    with searching_at("http://127.0.0.1:9", settings):
        yield


def slugs(text, **filters):
    found = engine().find(Query(text=text, **filters), limit=100)
    return [row.slug for row in AIModel.objects.in_order(found.ids)]


def without_queries(text, **filters):
    """What the engine itself finds: PostgreSQL is asked for nothing but what is still public."""
    from marketplace.search.elasticsearch import ElasticSearch

    found = ElasticSearch().find(Query(text=text, **filters), limit=100)
    return [row.slug for row in AIModel.objects.in_order(found.ids)]


def test_the_server_is_a_real_one(elastic):
    (node,) = elastic.client.nodes.info(node_id="_local", metric="http")["nodes"].values()
    assert node["version"].startswith("8.19.")
    assert run_checks(tags=["search"]) == []


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("sentiment", "sentiment"),
        ("SENTIMENTS", "sentiment"),
        ("sentim", "sentiment"),
        ("aurora 7", "aurora-70b"),
        ("acme chat", "aurora-70b"),
        ("Île", "eliza"),
        ("ile-de-france", "eliza"),
        ("analysing", "eliza"),
        ("opinion mining", "sentiment"),
        ("llm tools", "aurora-70b"),
    ],
)
def test_words_find_what_they_name(catalogue, text, first):
    assert without_queries(text)[0] == first


@pytest.mark.parametrize(
    ("text", "corrected", "first"),
    [("sentimnet", "sentiment", "sentiment"), ("aurroa", "aurora", "aurora-70b"), ("elisa", "eliza", "eliza")],
)
def test_typing_errors_are_corrected_and_said(catalogue, text, corrected, first):
    found = engine().find(Query(text=text), limit=10)
    assert found.corrected == corrected
    assert AIModel.objects.get(pk=found.ids[0]).slug == first


@pytest.mark.parametrize("text", ["xyzzyx", "sentiment xyzzyx qqqq", "🙂 sentiment", "'; DROP TABLE x --", "a:* & !b"])
def test_what_is_not_there_is_not_found_and_breaks_nothing(catalogue, text):
    found = engine().find(Query(text=text), limit=10, facets=True, total=True)
    assert isinstance(found.ids, list)
    assert found.total == len(found.ids)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"category": ["chat"]},
        {"capability": ["streaming", "tools"]},
        {"pricing": "free"},
        {"publisher": ["zenith"]},
        {"price_max_nano": 12 * NANO // 10},
        {"min_rating_tenths": 45},
        {"latency_max_ms": 200, "min_rating_tenths": 30},
        {"category": ["chat"], "pricing": "paid", "publisher": ["acme"]},
    ],
)
def test_both_engines_filter_and_count_alike(catalogue, filters):
    query = Query(text="sentiment", **filters)
    ours = engine().find(query, limit=10, facets=True, total=True)
    theirs = PostgresSearch().find(query, limit=10, facets=True, total=True)
    assert set(ours.ids) == set(theirs.ids)
    assert ours.total == theirs.total
    assert ours.facets == theirs.facets


@pytest.mark.parametrize("sort", ["rating", "popular", "newest", "price", "latency"])
def test_both_engines_order_alike(catalogue, sort):
    query = Query(text="sentiment", sort=sort)
    assert engine().find(query, limit=10).ids == PostgresSearch().find(query, limit=10).ids


def test_pages_hold_every_model_once(catalogue):
    find = engine().find
    query = Query(text="sentiment")
    everything = find(query, limit=10).ids
    first = find(query, limit=2, total=True)
    assert (first.total, first.before, first.previous_cursor) == (3, 0, None)
    second = find(query, limit=2, total=True, cursor=first.next_cursor)
    assert [*first.ids, *second.ids] == everything
    assert (second.before, second.previous_cursor, second.next_cursor) == (2, "", None)
    with pytest.raises(InvalidParameter):
        find(Query(text="sentiment", sort="price"), limit=2, cursor=first.next_cursor)
    with pytest.raises(InvalidParameter):
        find(query, limit=2, cursor="no.such:cursor")


def test_where_none_has_all_words_some_of_them_do(catalogue):
    found = engine().find(Query(text="kind chats anything"), limit=10)
    assert found.partly
    assert next(iter(AIModel.objects.in_order(found.ids))).slug == "aurora-70b"
    near = [row.slug for row in AIModel.objects.in_order(engine().nearest("arora kumquatsch", limit=3))]
    assert near == ["aurora-70b"]


def test_a_sweep_tells_what_was_changed(catalogue, elastic):
    elastic.sweep()
    make_model(name="Zephyr sentiment", status="published")
    AIModel.objects.filter(slug="eliza").update(status="suspended")
    assert "zephyr-sentiment" not in without_queries("sentiment")
    assert "eliza" not in without_queries("sentiment"), "what was withdrawn is never shown, swept or not"
    assert elastic.sweep() == 2
    assert "zephyr-sentiment" in without_queries("sentiment")
    assert elastic.client.count(index=elastic.alias)["count"] == 3
    assert elastic.sweep() == 0
    services.set_price(ai_model=catalogue["sentiment"], terms=Terms(type="paid", per_call_nano=NANO))
    assert elastic.sweep() == 1
    assert "sentiment" in without_queries("sentiment", pricing="paid")


def test_a_rebuild_switches_the_alias_and_keeps_the_old_one_if_it_fails(catalogue, elastic, monkeypatch):
    before = elastic.indexes()
    make_model(name="Zephyr sentiment", status="published")
    seen = []
    count = services.rebuild_index(progress=lambda done, all: seen.append((done, all, without_queries("sentiment"))))
    assert count == 4
    assert [(done, all) for done, all, _found in seen] == [(0, 4), (4, 4)]
    assert all(len(found) == 3 for _done, _all, found in seen), "the old index is searched until the new one is whole"
    assert len(without_queries("sentiment")) == 4
    after = elastic.indexes()
    assert len(after) == 1
    assert after != before

    def fail(done, all):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        services.rebuild_index(progress=fail)
    assert elastic.indexes() == after
    assert len(without_queries("sentiment")) == 4


def test_the_command_shows_how_far_it_is(catalogue):
    said, shown = StringIO(), StringIO()
    call_command("search_index", "--rebuild", stdout=said, stderr=shown)
    assert "3 models are in the new index" in said.getvalue()
    assert "3/3" in shown.getvalue()
    call_command("search_index", stdout=said)
    assert "told to the index" in said.getvalue()


def test_the_page_and_the_api_search_by_it(catalogue):
    AIModel.objects.filter(slug="sentiment").update(search_vector=None)  # PostgreSQL would not find it
    shown = Client().get("/api/models?q=sentimnet&facets=true").json()
    assert shown["data"][0]["slug"] == "acme/sentiment"
    assert {one["value"]: one["count"] for one in shown["facets"]["category"]}["chat"] == 2
    assert "Sentiment" in Client().get("/models?q=sentiment").content.decode()


# --- Without a server -------------------------------------------------------------------------------------------------


def test_while_it_is_away_postgresql_searches(away):
    make_model(name="Sentiment", status="published")
    assert slugs("sentimnet") == ["sentiment"]
    assert services.sweep_index() == 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM marketplace_listingchange")
        assert cursor.fetchone()[0] > 0, "what was changed waits"
    (said,) = run_checks(tags=["search"])
    assert said.id == "agorai.W010"
    with pytest.raises(CommandError, match="the old one stays"):
        call_command("search_index", "--rebuild", stderr=StringIO())


def test_an_index_that_was_never_built_is_not_searched(elastic):
    make_model(name="Sentiment", status="published")
    assert services.sweep_index() == 0
    assert slugs("sentiment") == ["sentiment"]


def test_without_an_address_changes_are_not_kept():
    make_model(status="published")
    assert services.sweep_index() == 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM marketplace_listingchange")
        assert cursor.fetchone()[0] == 0
    with pytest.raises(CommandError, match="ELASTICSEARCH_URL is empty"):
        call_command("search_index")
    assert run_checks(tags=["search"]) == []


@pytest.mark.parametrize(
    ("version", "product", "said"),
    [("7.17.9", "Elasticsearch", "Elasticsearch 7.17.9; 8 and 9"), ("2.11.0", "", "is not Elasticsearch")],
)
def test_a_wrong_server_is_named_at_the_start(settings, version, product, said):
    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.elasticsearch+json;compatible-with=8")
            if product:
                self.send_header("X-Elastic-Product", product)
            self.end_headers()
            self.wfile.write(json.dumps({"nodes": {"one": {"version": version}}}).encode())

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with searching_at(f"http://127.0.0.1:{server.server_port}", settings):
            (found,) = run_checks(tags=["search"])
    finally:
        server.shutdown()
        server.server_close()
    assert found.id == "agorai.E010"
    assert said in found.msg
