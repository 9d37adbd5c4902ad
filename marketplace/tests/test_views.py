"""The pages of the catalogue, without JavaScript."""

import re

import pytest
from django.db import connection
from django.template import Context, Template
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import services as accounts
from accounts.models import User
from common.money import NANO
from marketplace import services
from marketplace.models import AIModel
from marketplace.services import Terms
from marketplace.tests.factories import LABEL_OUT, make_model, make_organization

pytestmark = pytest.mark.django_db


def html_of(answer, status=200):
    html = answer.content.decode()
    assert answer.status_code == status, html[-2000:]
    assert " style=" not in html
    assert "<script>" not in html
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    return html


def names(html):
    return re.findall(r'class="clip"><a href="[^"]+">([^<]+)</a>', html)


@pytest.fixture
def acme():
    """Three listings of one publisher."""
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


def test_explore_shows_what_is_public_with_facets(acme):
    html = html_of(Client().get("/models"))
    assert names(html) == ["Old", "Aurora", "Sentiment"]
    assert ">3 models</h2>" in html
    assert re.search(r'value="chat">Chat<span class="n">1</span>', html)
    assert re.search(r'value="text-classification">Text classification<span class="n">2</span>', html)


def test_filters_are_in_the_address_and_can_be_taken_away(acme):
    html = html_of(Client().get("/models?q=&category=chat&price_max=&min_rating=&pricing=paid&sort=price"))
    assert names(html) == ["Aurora"]
    assert re.search(r'value="chat" checked>Chat<span class="n">1</span>', html)
    chips = re.findall(r'class="chip" href="([^"]+)"', html)
    assert [chip.replace("&amp;", "&") for chip in chips] == [
        "/models?pricing=paid&sort=price",
        "/models?category=chat&sort=price",
    ]
    assert re.search(r'aria-current="true">Price</a>', html)


def test_a_typing_error_is_corrected_in_words(acme):
    html = html_of(Client().get("/models?q=sentimnet"))
    assert names(html) == ["Sentiment"]
    assert "Nothing has “sentimnet”. These are for “sentiment”." in html


def test_nothing_found_leads_back(acme):
    html = html_of(Client().get("/models?q=xyzzyx"))
    assert "No model fits" in html
    assert ">0 models</h2>" in html


def test_a_bad_filter_is_a_page_that_says_so(acme):
    html = html_of(Client().get("/models?price_max=cheap"), 400)
    assert "price_max" in html


def test_pages_follow_each_other(acme):
    for number in range(24):
        make_model(name=f"More {number}", publisher=acme, status="published")
    html = html_of(Client().get("/models"))
    assert len(names(html)) == 24
    following = re.search(r'href="([^"]+)" rel="next"', html)[1].replace("&amp;", "&")
    html = html_of(Client().get(following))
    assert len(names(html)) == 3
    assert "First page" in html
    assert "Next page" not in html


def test_htmx_gets_the_results_alone_and_a_history_restore_the_whole_page(acme):
    part = Client().get("/models?q=aurora", headers={"hx-request": "true"})
    html = html_of(part)
    assert html.strip().startswith('<div class="cols-rail" id="results">')
    assert "<html" not in html
    assert "HX-Request" in part["Vary"]
    restored = Client().get("/models", headers={"hx-request": "true", "hx-history-restore-request": "true"})
    assert "<html" in html_of(restored)


def test_explore_takes_the_same_queries_for_3_and_20_models(acme):
    def count():
        with CaptureQueriesContext(connection) as queries:
            html_of(Client().get("/models"))
        return len(queries)

    few = count()
    for number in range(17):
        make_model(name=f"More {number}", publisher=acme, status="published")
    assert count() == few


def test_a_models_page_says_what_it_is_costs_and_takes(acme, settings):
    services.record_callable(ai_model_id=AIModel.objects.get(slug="sentiment").id, callable=True)
    html = html_of(Client().get("/models/acme/sentiment"))
    assert "<h1>Sentiment</h1>" in html
    assert "<p>Says whether a text is kind.</p>" in html
    assert ">Free<" in html
    assert "<code>text</code>" in html
    text = re.sub("<[^>]+>", "", html).replace("&quot;", '"')
    assert f"{settings.SITE_URL}/api/models/acme:sentiment/invoke" in text
    assert 'action="/models/acme/sentiment/playground#run"' in html
    assert 'name="input.text"' in html
    assert "Log in to run it" in html


def test_a_person_can_run_it(acme):
    services.record_callable(ai_model_id=AIModel.objects.get(slug="sentiment").id, callable=True)
    user = User.objects.create_user("ada@example.org", "a long password", name="Ada")
    accounts.ensure_personal_organization(user=user)
    browser = Client()
    browser.force_login(user)
    html = html_of(browser.get("/models/acme/sentiment"))
    assert "csrfmiddlewaretoken" in html
    assert re.search(r'class="btn primary"[^>]*>.*Run</button>', html)


def test_states_are_said(acme):
    html = html_of(Client().get("/models/acme/old"))
    assert "advises to look for another model" in html
    assert "cannot be called" in html
    assert "Try it" not in html


def test_drafts_are_for_their_publisher_and_staff(acme):
    assert Client().get("/models/acme/draft").status_code == 404
    assert Client().get("/models/acme/none").status_code == 404
    owner = User.objects.create_user("owner@example.org", "a long password", name="Owner")
    acme.memberships.create(user=owner, role="owner")
    browser = Client(headers={"agorai-organization": acme.public_id})
    browser.force_login(owner)
    assert ">Draft</span>" in html_of(browser.get("/models/acme/draft"))
    staff = User.objects.create_user("staff@example.org", "a long password", name="Staff", is_staff=True)
    accounts.ensure_personal_organization(user=staff)
    browser = Client()
    browser.force_login(staff)
    html_of(browser.get("/models/acme/draft"))


def test_a_description_brings_no_markup_of_its_own(acme):
    hostile = '<script>alert(1)</script> <img src=x onerror=alert(1)> [x](javascript:alert(1)) <b onclick="x">b</b>'
    make_model(name="<i>Hostile</i>", description=hostile, publisher=acme, status="published")
    for path in ("/models", "/models/acme/i-hostile-i"):
        html = html_of(Client().get(path))
        assert "<i>Hostile" not in html
        assert "onerror=alert" not in re.sub("&lt;.*?&gt;", "", html)
        assert 'href="javascript' not in html


RUN = "{% load marketplace %}{% model_form ai_model values errors %}"
EVERYTHING = {
    "type": "object",
    "required": ["text"],
    "properties": {
        "text": {"type": "string"},
        "short": {"type": "string", "maxLength": 9},
        "size": {"enum": ["a", "b"], "default": "b"},
        "loud": {"type": "boolean", "default": True},
        "count": {"type": "integer", "minimum": 1},
        "more": {"type": "object"},
    },
}


def test_the_form_keeps_what_was_sent_and_sets_errors_beside_the_fields(acme, rf):
    ai_model = make_model(publisher=acme, api_spec={"input": EVERYTHING, "output": LABEL_OUT})
    sent = {"input.text": "kept <b>", "input.count": "many"}
    errors = [{"pointer": "/count", "code": "invalid", "detail": "Give a number."}]
    errors.append({"pointer": "/elsewhere", "code": "x", "detail": "Not here."})
    user = type("User", (), {"is_authenticated": True})()
    context = {"ai_model": ai_model, "values": sent, "errors": errors, "user": user, "csrf_token": "token"}
    html = Template(RUN).render(Context(context))
    assert "kept &lt;b&gt;</textarea>" in html
    assert 'value="many" aria-describedby=" id_input_count_error" aria-invalid="true" min="1"' in html
    assert '<a href="#id_input_count">Count</a>: Give a number.' in html
    assert "<li>/elsewhere: Not here.</li>" in html
    fresh = Template(RUN).render(Context(context | {"values": None, "errors": None}))
    assert re.search(r'<option value="&quot;b&quot;" selected>b</option>', fresh)
    assert re.search(r'name="input.loud" value="true" checked', fresh)
    assert 'maxlength="9"' in fresh
