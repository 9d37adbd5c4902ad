"""What is found, in which order, and what is not."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common import clock
from common.money import NANO
from common.problems import InvalidParameter
from marketplace import services
from marketplace.models import AIModel, Price
from marketplace.search import MAX_WORDS, Query, engine, postgres
from marketplace.search.facets import COLUMNS
from marketplace.search.filters import BROWSE, ORDERS, conditions, matching
from marketplace.search.postgres import Text, ask, by_text
from marketplace.services import Terms
from marketplace.tests.factories import make_model, make_organization

pytestmark = pytest.mark.django_db


@pytest.fixture
def catalogue():
    """Six listings of two publishers, by slug."""
    acme, zenith = make_organization(slug="acme"), make_organization(slug="zenith")
    chat = {"category": "chat", "capabilities": ["streaming", "tools"]}
    rates = Terms(type="paid", input_nano_per_million=4 * NANO // 10, output_nano_per_million=12 * NANO // 10)
    made = [
        make_model(name="Sentiment", publisher=acme, status="published"),
        make_model(
            name="Aurora 70B",
            description="Chats about anything, with sentiment and style.",
            publisher=acme,
            status="published",
            pricing=rates,
            **chat,
        ),
        make_model(
            name="Language ID",
            description="Names the language of a text. Made in Île-de-France.",
            category="language-identification",
            publisher=zenith,
            status="published",
            pricing=Terms(type="paid", per_call_nano=NANO // 1000),
        ),
        make_model(
            name="Eliza",
            description="Listens and analyses.",
            publisher=zenith,
            status="deprecated",
            category="chat",
            capabilities=["streaming"],
            pricing=Terms(type="paid", amount_nano=20 * NANO, period="monthly"),
        ),
        make_model(name="Secret sentiment", description="Codename kumquat.", publisher=zenith),
        make_model(name="Gone sentiment", publisher=zenith, status="suspended"),
    ]
    return {model.slug: model for model in made}


def slugs(text="", **filters):
    found = engine().find(Query(text=text, **filters), limit=100)
    return [row.slug for row in AIModel.objects.in_order(found.ids)]


def test_without_words_everything_public_is_shown_callable_and_used_first(catalogue):
    assert slugs() == ["eliza", "language-id", "aurora-70b", "sentiment"]
    services.record_callable(ai_model_id=catalogue["sentiment"].id, callable=True)
    AIModel.objects.filter(slug="aurora-70b").update(demand=5_000)
    assert slugs() == ["sentiment", "aurora-70b", "eliza", "language-id"]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("sentiment", "sentiment"),
        ("SENTIMENTS", "sentiment"),
        ("sentim", "sentiment"),
        ("the sentiment of", "sentiment"),
        ("aurora", "aurora-70b"),
        ("aurora 7", "aurora-70b"),
        ("acme chat", "aurora-70b"),
        ("tools", "aurora-70b"),
        ("language identification", "language-id"),
        ("ile-de-france", "language-id"),
        ("Île", "language-id"),
        ("analysing", "eliza"),
    ],
)
def test_words_find_what_they_name(catalogue, text, first):
    assert slugs(text)[0] == first


def test_a_name_that_is_the_query_comes_before_a_better_known_mention(catalogue):
    AIModel.objects.filter(slug="aurora-70b").update(demand=10**6, is_callable=True)
    assert slugs("sentiment") == ["sentiment", "aurora-70b"]


@pytest.mark.parametrize(
    ("text", "corrected", "first"),
    [
        ("sentimnet", "sentiment", "sentiment"),
        ("langauge", "language", "language-id"),
        ("elisa", "eliza", "eliza"),
        ("aurra 70b", "aurora 70b", "aurora-70b"),
    ],
)
def test_typing_errors_are_corrected_and_said(catalogue, text, corrected, first):
    found = engine().find(Query(text=text), limit=10)
    assert found.corrected == corrected
    assert AIModel.objects.get(pk=found.ids[0]).slug == first
    assert found.ids == engine().find(Query(text=corrected), limit=10).ids


def test_right_words_are_not_corrected(catalogue):
    assert engine().find(Query(text="sentiment"), limit=10).corrected == ""


@pytest.mark.parametrize("text", ["xyzzyx", "sentiment xyzzyx qqqq", "!!!", "🙂", "'; DROP TABLE x --", "a:* & !b"])
def test_what_is_not_there_is_not_found_and_breaks_nothing(catalogue, text):
    found = engine().find(Query(text=text), limit=10, facets=True, total=True)
    if not Query(text=text).words:
        assert len(found.ids) == 4
    else:
        assert isinstance(found.ids, list)


def test_unpublished_words_are_not_known(catalogue):
    assert slugs("kumquat") == slugs("kumqat") == []
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM marketplace_searchword WHERE word = 'kumquat'")
        assert cursor.fetchone() == (0,)


def test_own_drafts_are_found_where_ones_own_publisher_is_named(catalogue):
    assert "secret-sentiment" not in slugs(own_slug="zenith")
    assert "secret-sentiment" not in slugs(publisher=["zenith"])
    assert "secret-sentiment" not in slugs(publisher=["zenith"], own_slug="acme")
    own = slugs(publisher=["zenith"], own_slug="zenith")
    assert {"secret-sentiment", "gone-sentiment", "eliza", "language-id"} == set(own)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"category": ["chat"]}, {"aurora-70b", "eliza"}),
        ({"category": ["chat", "text-classification"]}, {"aurora-70b", "eliza", "sentiment"}),
        ({"capability": ["streaming"]}, {"aurora-70b", "eliza"}),
        ({"capability": ["streaming", "tools"]}, {"aurora-70b"}),
        ({"pricing": "free"}, {"sentiment"}),
        ({"pricing": "paid", "publisher": ["zenith"]}, {"language-id", "eliza"}),
        ({"price_max_nano": 0}, {"sentiment"}),
        ({"price_max_nano": NANO // 100}, {"sentiment", "language-id"}),
        ({"price_max_nano": 12 * NANO // 10}, {"sentiment", "language-id", "aurora-70b"}),
        ({"min_rating_tenths": 45}, {"language-id"}),
        ({"min_rating_tenths": 20}, {"language-id", "eliza"}),
    ],
)
def test_filters(catalogue, filters, found):
    AIModel.objects.filter(slug="language-id").update(rating_sum=9, rating_count=2)
    AIModel.objects.filter(slug="eliza").update(rating_sum=2, rating_count=1)
    assert set(slugs(**filters)) == found


def test_a_model_is_filtered_by_the_price_in_force(catalogue):
    services.set_price(ai_model=catalogue["sentiment"], terms=Terms(type="paid", per_call_nano=NANO))
    assert slugs(pricing="free") == []
    assert "sentiment" not in slugs(price_max_nano=NANO - 1)


def test_orders(catalogue):
    AIModel.objects.filter(slug="aurora-70b").update(rating_sum=5, rating_count=1, demand=1_000)
    AIModel.objects.filter(slug="eliza").update(rating_sum=480, rating_count=100, demand=2_000)
    AIModel.objects.filter(slug="language-id").update(rating_sum=2, rating_count=2)
    assert slugs(sort="rating")[:2] == ["eliza", "aurora-70b"], "one vote weighs less than a hundred"
    assert slugs(sort="rating")[-1] == "language-id"
    assert slugs(sort="popular")[:2] == ["eliza", "aurora-70b"]
    assert slugs(sort="newest") == ["eliza", "language-id", "aurora-70b", "sentiment"]
    assert slugs(sort="price") == ["sentiment", "language-id", "aurora-70b", "eliza"]


def test_the_fastest_come_first_and_the_unmeasured_last(catalogue):
    AIModel.objects.filter(slug="sentiment").update(latency_order=40)
    AIModel.objects.filter(slug="eliza").update(latency_order=900)
    assert slugs(sort="latency") == ["sentiment", "eliza", "language-id", "aurora-70b"]


@pytest.mark.parametrize(
    ("order", "index"),
    [
        (BROWSE, "ai_model_browsed"),
        (ORDERS["popular"], "ai_model_wanted"),
        (ORDERS["newest"], "ai_model_newest"),
        (ORDERS["rating"], "ai_model_rated"),
        (ORDERS["price"], "ai_model_cheapest"),
        (ORDERS["latency"], "ai_model_fastest"),
    ],
)
def test_every_order_is_read_from_its_index(catalogue, order, index):
    models = matching(Query()).values("id").order_by(*order)[:25]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    plan = models.explain()
    assert index in plan
    assert "Sort" not in plan


def test_words_names_and_filters_are_found_by_their_indexes(catalogue):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_indexscan = off")
        # Without the states: of six models the smallest index of public ones is the quickest way to anything.
        everything = AIModel.objects.all()
        assert "ai_model_search" in by_text(everything, ask(["aurora"])).explain()
        assert "ai_model_name_trigram" in by_text(everything, Text(similar="aurorra")).explain()
        with_tools = everything.filter(conditions(Query(capability=["tools"]))["capability"])
        assert "ai_model_capabilities" in with_tools.explain()


def test_what_filters_are_counted_from_is_in_one_index():
    (index,) = (index for index in AIModel._meta.indexes if index.name == "ai_model_facets")
    held = {AIModel._meta.get_field(name).attname for name in (*index.fields, *index.include)}
    assert held == set(COLUMNS)


@pytest.mark.parametrize("sort", ["relevance", "rating", "popular", "newest", "price", "latency"])
@pytest.mark.parametrize("text", ["", "sentiment chat", "sentimnet"])
def test_pages_hold_every_model_once_in_every_order(sort, text):
    publisher = make_organization()
    for number in range(7):
        name, description = f"Model {number % 3}", "Sentiment and chat."
        make_model(name=name, description=description, publisher=publisher, status="published")
    seen, cursor = [], None
    while True:
        found = engine().find(Query(text=text, sort=sort), limit=2, cursor=cursor)
        seen += found.ids
        cursor = found.next_cursor
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 7


def test_a_cursor_of_another_order_is_refused(catalogue):
    cursor = engine().find(Query(), limit=1).next_cursor
    with pytest.raises(InvalidParameter):
        engine().find(Query(sort="price"), limit=1, cursor=cursor)


def test_facets_are_counted_without_their_own_filter(catalogue):
    found = engine().find(Query(category=["chat"], pricing="paid"), limit=10, facets=True)
    counted = {name: {count.value: count.count for count in counts} for name, counts in found.facets.items()}
    assert counted["category"] == {"chat": 2, "language-identification": 1}
    assert counted["pricing"] == {"paid": 2}
    assert counted["capability"] == {"streaming": 2, "tools": 1}
    assert counted["publisher"] == {"acme": 1, "zenith": 1}


def test_bands_are_counted_without_their_own_bound(catalogue):
    AIModel.objects.filter(slug="sentiment").update(rating_sum=9, rating_count=2, latency_order=450)
    AIModel.objects.filter(slug="eliza").update(rating_sum=4, rating_count=1, latency_order=90)
    found = engine().find(Query(latency_max_ms=100, min_rating_tenths=30), limit=10, facets=True)
    assert [model.slug for model in AIModel.objects.in_order(found.ids)] == ["eliza"]
    counted = {name: {count.value: count.count for count in counts} for name, counts in found.facets.items()}
    assert counted["latency_max"] == {"200": 1, "500": 2, "1000": 2, "3000": 2}
    assert counted["min_rating"] == {"4.5": 0, "4": 1, "3": 1}
    assert counted["price_max"] == {"0": 0, "0.1": 0, "1": 0, "10": 0, "100": 1}
    found = engine().find(Query(), limit=10, facets=True)
    assert {count.value: count.count for count in found.facets["price_max"]} == {
        **{"0": 1, "0.1": 2, "1": 2, "10": 3, "100": 4}
    }


def test_where_none_has_all_words_those_with_more_of_them_come_first(catalogue):
    found = engine().find(Query(text="kind chats anything"), limit=10)
    assert found.partly
    assert [row.slug for row in AIModel.objects.in_order(found.ids)] == ["aurora-70b", "eliza", "sentiment"]
    assert not engine().find(Query(text="chats anything"), limit=10).partly
    assert slugs("kind chats xyzzyx") == [], "a word that nobody knows is not passed over"


def test_words_that_mean_the_same_find_each_other(catalogue):
    assert slugs("opinion mining")[0] == "sentiment"
    assert slugs("llm") == ["eliza", "aurora-70b"]
    assert slugs("detect language")[0] == "language-id"


def test_no_more_than_the_most_wanted_are_ranked(monkeypatch, catalogue):
    monkeypatch.setattr(postgres, "MAX_RANKED", 1)
    AIModel.objects.filter(slug="eliza").update(demand=5_000)
    assert slugs("chat") == ["eliza"]
    assert engine().find(Query(text="chat"), limit=10, total=True).total == 2
    AIModel.objects.filter(slug="sentiment").update(demand=9_000)
    assert slugs("sentiment") == ["sentiment"], "its name is what was typed"


def test_the_counts_of_many_are_kept_for_a_minute_each_question_for_itself(monkeypatch, catalogue):
    def chats(**filters):
        facets = engine().find(Query(**filters), limit=10, facets=True).facets
        return {count.value: count.count for count in facets["category"]}.get("chat", 0)

    monkeypatch.setattr(postgres, "LARGE", -2)
    monkeypatch.setattr(postgres, "MAX_RANKED", 0)
    assert (chats(), chats(text="sentiment"), chats(pricing="free")) == (2, 1, 0)
    AIModel.objects.filter(slug="aurora-70b").update(status="suspended")
    assert (chats(), chats(text="sentiment"), chats(pricing="free")) == (2, 1, 0)
    assert chats(sort="price") == 2, "no order changes what there is"
    cache.clear()
    assert (chats(), chats(text="sentiment")) == (1, 0)


def test_a_price_that_comes_into_force_by_itself_is_swept(catalogue):
    model = catalogue["sentiment"]
    at = clock.now() + timedelta(hours=1)
    Price.objects.create(ai_model=model, type="paid", per_call_nano=NANO, currency="USD", effective_from=at)
    assert services.apply_prices() == 0
    assert slugs(pricing="free") == ["sentiment"]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL agorai.clock_offset = '2 hours'")
    assert slugs(pricing="free") == ["sentiment"], "until it is swept"
    assert services.apply_prices() == 1
    assert services.apply_prices() == 0
    assert slugs(pricing="free") == []
    assert slugs(sort="price") == ["language-id", "sentiment", "aurora-70b", "eliza"]


def test_the_total_counts_all_pages(catalogue):
    assert engine().find(Query(), limit=1, total=True).total == 4
    assert engine().find(Query(), limit=1).total is None


def test_a_query_is_cut_to_a_bearable_length():
    words = Query(text="word " * 100 + "x" * 500).words
    assert len(words) == MAX_WORDS


def test_searching_takes_the_same_queries_however_much_is_found(catalogue):
    def count():
        with CaptureQueriesContext(connection) as queries:
            found = engine().find(Query(text="sentiment"), limit=100)
            AIModel.objects.in_order(found.ids)
        return len(queries)

    few = count()
    publisher = make_organization()
    for _ in range(10):
        make_model(publisher=publisher, status="published")
    assert count() == few == 4


def test_a_page_knows_where_it_stands(catalogue):
    find = engine().find
    first = find(Query(), limit=2, total=True)
    assert (first.total, first.before, first.previous_cursor) == (4, 0, None)
    second = find(Query(), limit=2, total=True, cursor=first.next_cursor)
    assert (second.before, second.previous_cursor) == (2, "")
    third = find(Query(), limit=1, total=True, cursor=first.next_cursor)
    assert third.before == 2
    assert find(Query(), limit=1, cursor=third.previous_cursor).ids == first.ids[1:]


def near(text):
    return [row.slug for row in AIModel.objects.in_order(engine().nearest(text, limit=3))]


def test_what_nothing_fits_has_neighbours(catalogue):
    assert slugs("arora kumquatsch") == []
    assert near("arora kumquatsch") == ["aurora-70b"]
    assert near("lamguage xyzzyx")[0] == "language-id"
    assert near("xyzzyx") == near("") == near("'\\ | &") == []
    assert "secret-sentiment" not in near("secret sentiment kumquat")
