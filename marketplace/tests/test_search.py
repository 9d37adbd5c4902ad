"""What is found, in which order, and what is not."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common.money import NANO
from common.problems import InvalidParameter
from marketplace import services
from marketplace.models import AIModel
from marketplace.search import MAX_WORDS, Query, engine
from marketplace.search.postgres import Text, matching
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
    AIModel.objects.filter(slug="aurora-70b").update(popularity=5)
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
    AIModel.objects.filter(slug="aurora-70b").update(popularity=10**6, is_callable=True)
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
    AIModel.objects.filter(slug="aurora-70b").update(rating_sum=5, rating_count=1, popularity=1)
    AIModel.objects.filter(slug="eliza").update(rating_sum=480, rating_count=100, popularity=2)
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


def test_the_order_by_latency_is_read_from_its_index(catalogue):
    models = matching(Query(sort="latency"), Text()).values("id").order_by("latency_order", "-id")[:25]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
    plan = models.explain()
    assert "ai_model_fastest" in plan
    assert "Sort" not in plan


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
