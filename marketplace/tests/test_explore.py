"""Explore and the publishers' pages: filters in the address, whole pages and parts of them, without JavaScript too."""

import re
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import services as accounts
from accounts.models import User
from common.money import NANO
from marketplace.models import AIModel
from marketplace.services import Terms
from marketplace.tests.factories import make_model, make_organization

pytestmark = pytest.mark.django_db

HTMX = {"hx-request": "true"}


def get(path, status=200, **headers):
    answer = Client().get(path, headers=headers)
    html = answer.content.decode()
    assert answer.status_code == status, html[-2000:]
    assert " style=" not in html
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    return html


def names(html):
    return re.findall(r'<h3 class="clip"><a href="[^"]+">([^<]+)</a>', html)


def chips(html):
    return [unescape(href) for href in re.findall(r'class="chip" href="([^"]+)"', html)]


def words(html):
    return " ".join(unescape(re.sub("<[^>]+>", " ", html)).split())


def current(html, group):
    return re.findall(rf'id="{group}-([a-z]+)" href="[^"]+" aria-current="true"', html)


def queries(path):
    get(path)  # caches of the process
    with CaptureQueriesContext(connection) as found:
        get(path)
    return len(found)


@pytest.fixture
def acme():
    """Three listings of one publisher, and a draft."""
    publisher = make_organization(slug="acme", name="Acme Research")
    make_model(name="Sentiment", publisher=publisher, status="published")
    make_model(
        name="Aurora",
        category="chat",
        capabilities=["streaming"],
        publisher=publisher,
        status="published",
        pricing=Terms(type="paid", input_nano_per_million=4 * NANO // 10),
    )
    make_model(name="Old", publisher=publisher, status="deprecated")
    make_model(name="Draft", publisher=publisher)
    return publisher


def fill(publisher, count):
    for number in range(count):
        make_model(name=f"More {number}", publisher=publisher, status="published")


# --- Explore ----------------------------------------------------------------------------------------------------------


def test_explore_shows_what_is_public_with_facets(acme):
    html = get("/models")
    assert names(html) == ["Old", "Aurora", "Sentiment"]
    assert re.search(r'id="count" role="status"><b>3</b> models</p>', html)
    assert re.search(r'value="chat"><span>Chat</span><span class="n">1</span>', html)
    assert re.search(r'value="text-classification"><span>Text classification</span><span class="n">2</span>', html)
    assert re.findall(r'<details class="facet"( open)?>\s*<summary>(\w+)', html) == [
        (" open", "Task"),
        (" open", "Price"),
        (" open", "Supports"),
        ("", "Rating"),
        ("", "Latency"),
        ("", "Publisher"),
    ]
    assert "1 to 3 of 3" not in html


def test_filters_are_in_the_address_and_can_be_taken_away(acme):
    html = get(
        "/models?q=&category=chat&category=chat,code&price_max=0.40&min_rating=&pricing=paid&sort=price&view=grid"
    )
    assert names(html) == ["Aurora"]
    assert re.search(r'id="category-chat" name="category" value="chat" checked><span>Chat</span>', html)
    assert re.search(r'id="pricing-paid" name="pricing" value="paid" checked>', html)
    assert chips(html) == [
        "/models?category=code&price_max=0.40&pricing=paid&sort=price",
        "/models?category=chat&price_max=0.40&pricing=paid&sort=price",
        "/models?category=chat&category=code&price_max=0.40&sort=price",
        "/models?category=chat&category=code&pricing=paid&sort=price",
    ]
    assert "Filters (4)" in html
    assert "Up to $0.40" in html
    assert '<a class="btn sm ghost" href="/models?sort=price"' in html
    assert current(html, "sort") == ["price"]
    assert '<input type="hidden" name="sort" value="price">' in html


def test_what_somebody_chose_stays_though_nothing_has_it(acme):
    html = get("/models?publisher=no+such&capability=telepathy&min_rating=3.7")
    assert names(html) == []
    assert re.search(r'name="publisher" value="no such" checked><span>no such</span><span class="n">0</span>', html)
    assert re.search(r'id="rating-37" name="min_rating" value="3.7" checked><span>3.7 or better</span>', html)
    assert len(chips(html)) == 3


def test_long_facets_show_the_first_values_and_the_rest_on_demand(acme):
    for number in range(12):
        make_model(name=f"Skill {number}", capabilities=[f"skill-{number:02}"], publisher=acme, status="published")
    html = get("/models")
    first = html[html.index('id="facet-capability"') : html.index('id="facet-capability-rest"')]
    assert first.count('name="capability"') == 8
    assert html.count('name="capability"') == 13
    assert '<details class="more"><summary class="small">Show all' in html
    assert '<details class="more" open>' in get("/models?capability=skill-11")


def test_the_same_models_as_a_table(acme):
    AIModel.objects.filter(slug="aurora").update(rating_sum=9, rating_count=2)
    html = get("/models?view=table&category=chat&category=text-classification")
    assert 'class="mcard"' not in html
    heads = ["Model", "Task", "Input per M", "Output per M", "Context", "First token", "Throughput", "Uptime", "Rating"]
    assert re.findall(r'<th scope="col"[^>]*>([^<]+)</th>', html) == heads
    rows = [words(row) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)[1:]]
    assert rows[1].startswith("Aurora acme/aurora Not callable Chat $0.40")
    assert rows[1].endswith("4.5 (2)")
    assert "Free" in rows[0]
    assert current(html, "view") == ["table"]
    assert all("view=table" in chip for chip in chips(html))
    assert 'id="view-grid" href="/models?category=chat&amp;category=text-classification"' in html
    assert '<input type="hidden" name="view" value="table">' in html


def test_a_typing_error_is_corrected_in_words(acme):
    html = get("/models?q=sentimnet")
    assert names(html) == ["Sentiment"]
    assert "Nothing has “sentimnet”. These are for “sentiment”." in html


def test_nothing_found_leads_on(acme):
    html = get("/models?q=xyzzyx")
    assert "No model fits" in html
    assert "<b>0</b> models" in html
    assert "Show all models" in html
    assert "Nearest names" not in html
    html = get("/models?q=aurorra+xyzzyx")
    assert "Nearest names" in html
    assert '<a class="tag" href="/models/acme/aurora">Aurora</a>' in html


@pytest.mark.parametrize(
    "bad", ["price_max=cheap", "view=list", "sort=best", "colour=blue", "cursor=x", "sort=price&sort=price"]
)
def test_a_bad_filter_is_a_page_that_says_so(acme, bad):
    html = get(f"/models?{bad}", 400)
    assert bad.partition("=")[0] in html
    assert html.count("<h1") == 1


def test_pages_follow_each_other_and_lead_back(acme):
    fill(acme, 27)
    first = get("/models?view=grid&category=text-classification")
    assert len(names(first)) == 24
    assert "1 to 24 of 29" in first
    assert 'rel="prev"' not in first
    following = unescape(re.search(r'href="([^"]+)" rel="next"', first)[1])
    assert following.startswith("/models?category=text-classification&cursor=")
    second = get(following)
    assert len(names(second)) == 5
    assert "25 to 29 of 29" in second
    assert 'rel="next"' not in second
    assert re.search(r'href="([^"]+)" rel="prev"', second)[1] == "/models?category=text-classification"
    assert all("cursor" not in chip for chip in chips(second))


def test_htmx_gets_what_changed_and_a_history_restore_the_whole_page(acme):
    part = Client().get("/models?q=&category=chat&price_max=&sort=relevance", headers=HTMX)
    html = part.content.decode()
    assert html.strip().startswith('<section class="stack" id="results"')
    assert "<html" not in html
    assert "HX-Request" in part["Vary"]
    assert part["HX-Push-Url"] == "/models?category=chat"
    beside = ["controls", "filters-words", "chips", "show", "count"]
    beside += [f"facet-{name}{rest}" for name in ("category", "publisher") for rest in ("", "-rest")]
    for id in beside:
        assert re.search(rf' id="{id}"[^>]* hx-swap-oob="', html), id
    assert '<p id="count" hx-swap-oob="innerHTML"><b>1</b> model</p>' in html  # the live region itself stays
    whole = Client().get("/models", headers={**HTMX, "hx-history-restore-request": "true"})
    assert "<html" in whole.content.decode()
    assert "hx-swap-oob" not in whole.content.decode()
    assert "HX-Request" in whole["Vary"]


def test_what_is_chosen_keeps_its_id(acme):
    """So that htmx can give the focus back to it."""
    ids = re.findall(r'id="(category-[a-z-]+)"', get("/models"))
    assert sorted(ids) == ["category-chat", "category-text-classification"]
    assert set(ids) <= set(re.findall(r'id="([^"]+)"', get("/models?pricing=paid&category=text-classification")))


def test_explore_takes_the_same_queries_for_3_and_30_models(acme):
    for path in ("/models", "/models?view=table", "/models?q=more+sentiment", "/publishers/acme"):
        AIModel.objects.filter(name__startswith="More").update(status="suspended")
        few = queries(path)
        fill(acme, 27)
        assert queries(path) == few


# --- Publishers -------------------------------------------------------------------------------------------------------


def test_a_publisher_and_what_it_lists(acme):
    AIModel.objects.filter(slug="aurora").update(rating_sum=9, rating_count=2)
    html = get("/publishers/acme")
    assert "<h1>Acme Research</h1>" in html
    assert sorted(names(html)) == ["Aurora", "Old", "Sentiment"]
    plate = words(re.search(r'<dl class="plate">(.*?)</dl>', html, re.DOTALL)[1])
    assert plate.startswith("Models 3 Mean rating 4.5 of 5 Reviews 2 Member since")
    assert '<a class="tag" href="/models?publisher=acme&amp;category=chat">' in html
    assert '<a href="/publishers/acme">acme</a>/aurora' in html


def test_a_publisher_without_ratings_has_no_mean(acme):
    assert "Mean rating" not in get("/publishers/acme")


def test_long_lists_of_a_publisher_have_pages(acme):
    fill(acme, 24)
    html = get("/publishers/acme")
    assert "1 to 24 of 27" in html
    html = get(unescape(re.search(r'href="([^"]+)" rel="next"', html)[1]))
    assert len(names(html)) == 3
    assert re.search(r'href="([^"]+)" rel="prev"', html)[1] == "/publishers/acme"


def test_who_lists_nothing_is_seen_by_its_own_people_alone():
    quiet = make_organization(slug="quiet", name="Quiet")
    make_model(publisher=quiet)
    get("/publishers/quiet", 404)
    get("/publishers/nobody", 404)
    browser = Client()
    for email, status in (("own@example.org", 200), ("other@example.org", 404)):
        user = User.objects.create_user(email, "a long password", name="Ada")
        accounts.ensure_personal_organization(user=user)
        if status == 200:
            quiet.memberships.create(user=user, role="member")
        browser.force_login(user)
        answer = browser.get("/publishers/quiet")
        assert answer.status_code == status
    browser.force_login(User.objects.get(email="own@example.org"))
    assert "Nothing is listed yet" in browser.get("/publishers/quiet").content.decode()


def test_bands_narrow_and_say_how_many_are_left(acme):
    AIModel.objects.filter(slug="aurora").update(latency_order=320, rating_sum=9, rating_count=2)
    html = get("/models")
    assert 'href="/models?price_max=0">Free <span class="n">2</span></a>' in html
    assert 'href="/models?price_max=1">$1.00 <span class="n">3</span></a>' in html
    assert re.search(
        r'id="latency-500" name="latency_max" value="500"><span>Up to 500 ms</span><span class="n">1<', html
    )
    assert re.search(r'id="rating-45" name="min_rating" value="4.5"><span>4.5 or better</span><span class="n">1<', html)
    html = get("/models?latency_max=500")
    assert names(html) == ["Aurora"]
    assert "/models" in chips(html)
    assert names(get("/models?latency_max=200")) == []
    get("/models?latency_max=soon", 400)


def test_what_fits_in_part_is_said(acme):
    make_model(name="Zephyr", description="Whispers.", publisher=acme, status="published")
    html = get("/models?q=zephyr+kind")
    assert "Nothing has all of “zephyr kind”. These have some of it." in html
    assert names(html)[0] == "Zephyr"
