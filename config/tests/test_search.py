"""What the search field suggests, and to whom."""

import re
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import services as accounts
from accounts.models import Organization, User
from apikeys import services as apikeys
from config.templatetags.site import marked
from marketplace.models import AIModel
from marketplace.tests.factories import make_model, make_organization

pytestmark = pytest.mark.django_db

HTMX = {"hx-request": "true"}


def suggest(text, browser=None):
    answer = (browser or Client()).get("/search", {"q": text}, headers=HTMX)
    assert answer.status_code == 200
    return answer.content.decode()


def options(html):
    """(address, first line) of every option."""
    found = re.findall(r'role="option"[^>]* href="([^"]+)">(.*?)</a>', html, re.DOTALL)
    return [(unescape(href), words(inside)[0]) for href, inside in found]


def words(html):
    parts = re.split(r"<(?!/?mark)[^>]+>", html)
    return [text for part in parts if (text := unescape(re.sub("<[^>]+>", "", part)).strip())]


def groups(html):
    return re.findall(r'<div class="label" id="[^"]+">([^<]+)</div>', html)


def log_in(email="ada@example.org", organization=None):
    user = User.objects.create_user(email, "a long password", name="Ada")
    accounts.ensure_personal_organization(user=user)
    browser = Client()
    if organization is not None:
        organization.memberships.create(user=user, role="developer")
        browser = Client(headers={"agorai-organization": organization.public_id})
    browser.force_login(user)
    return browser


def make_key(organization, name):
    user = User.objects.create_user(f"{name}@example.org", "a long password", name="Maker")
    organization.memberships.create(user=user, role="owner")
    return apikeys.issue_key(organization=organization, user=user, name=name)[0]


@pytest.fixture
def acme():
    publisher = make_organization(slug="acme", name="Acme Research")
    make_model(name="Aurora 70B", publisher=publisher, status="published", category="chat")
    make_model(name="Sentiment", publisher=publisher, status="published")
    make_model(name="Aurora draft", publisher=publisher)
    return publisher


def test_models_have_two_lines_and_the_match_marked(acme):
    html = suggest("auro")
    assert groups(html) == ["Models"]
    assert options(html) == [("/models/acme/aurora-70b", "Aurora 70B")]
    assert "<mark>Auro</mark>ra 70B" in html
    assert "acme/<mark>auro</mark>ra-70b · " in html
    assert '<p id="announce" hx-swap-oob="innerHTML">1 suggestion</p>' in html
    assert ' id="search' not in html  # the field numbers its options


def test_publishers_are_found_by_name_and_slug_if_they_list_something(acme):
    make_organization(slug="acme-quiet", name="Acme Quiet")
    for text in ("acme", "Resear", "acm", "reserch"):
        html = suggest(text)
        assert ("/publishers/acme", "Acme Research") in options(html), text
        assert "Acme Quiet" not in html
    AIModel.objects.all().update(status="suspended")
    assert "/publishers/" not in suggest("acme")


def test_keys_are_shown_to_their_organization_alone(acme):
    key = make_key(acme, "night batch")
    make_key(make_organization(slug="zenith"), "night shift")
    ended = make_key(acme, "night over")
    apikeys.revoke_key(key=ended)
    assert "night" not in suggest("night").replace("“night”", "")
    assert ("/keys/" + key.public_id) not in suggest("night", log_in("eve@example.org"))
    html = suggest("night", log_in(organization=acme))
    assert "Your API keys" in html
    assert options(html) == [(f"/keys/{key.public_id}", "night batch")]
    assert suggest(key.prefix, log_in("bob@example.org", acme)).count("/keys/") == 1


def test_documents_are_found_by_their_words(acme):
    assert ("/docs/errors", "Errors") in options(suggest("err"))
    assert ("/api/docs", "API reference") in options(suggest("openapi"))
    assert "Documentation" not in suggest("aurora")


def test_typing_errors_lead_to_what_was_meant(acme):
    html = suggest("sentimnet")
    assert groups(html) == ["Models with “sentiment”"]
    assert "<mark>Sentiment</mark>" in html
    html = suggest("aurorra xyzzyx")
    assert groups(html) == ["Nothing has “aurorra xyzzyx”. Nearest names"]
    assert options(html)[0] == ("/models/acme/aurora-70b", "Aurora 70B")
    html = suggest("xyzzyx")
    assert options(html) == [("/models", "Show all models")]


def test_more_than_a_few_lead_to_the_list(acme):
    for number in range(6):
        make_model(name=f"Aurora {number}", publisher=acme, status="published")
    html = suggest("aurora")
    assert len(options(html)) == 6
    assert options(html)[-1] == ("/models?q=aurora", "All models for “aurora”")


@pytest.mark.parametrize("text", ["", "  ", "%", "'; --", "\\", "_", "<b>", "\0", "x" * 900])
def test_any_text_may_be_typed(acme, text):
    html = suggest(text)
    assert "<b>" not in html.replace('<b class="clip">', "")


def test_names_bring_no_markup_of_their_own(acme):
    make_model(name="<i>Aurora</i> & co", publisher=acme, status="published")
    html = suggest("aurora co")
    assert "&lt;i&gt;<mark>Aurora</mark>&lt;/i&gt; &amp; <mark>co</mark>" in html
    assert "<i>Aurora" not in html


@pytest.mark.parametrize(
    ("text", "words", "html"),
    [
        ("Aurora 70B", "auro 70", "<mark>Auro</mark>ra <mark>70</mark>B"),
        ("Restore", "tor", "Restore"),
        ("a.b & <c>", "c b", "a.<mark>b</mark> &amp; &lt;<mark>c</mark>&gt;"),
        ("<script>", "", "&lt;script&gt;"),
        ("x", ".*", "x"),
    ],
)
def test_words_are_marked_where_they_begin(text, words, html):
    assert marked(text, words) == html


def test_without_htmx_it_is_the_list():
    answer = Client().get("/search", {"q": "sentiment & co"})
    assert (answer.status_code, answer["Location"]) == (302, "/models?q=sentiment+%26+co")
    assert "HX-Request" in answer["Vary"]
    assert "no-store" in Client().get("/search?q=a", headers=HTMX)["Cache-Control"]


def test_more_rows_take_no_more_queries(acme):
    browser = log_in(organization=acme)

    def count():
        with CaptureQueriesContext(connection) as queries:
            assert len(options(suggest("aurora", browser))) > 2
        return len(queries)

    make_key(acme, "aurora key")
    make_model(name="Aurora 1", publisher=acme, status="published")
    count()
    few = count()
    for number in range(8):
        publisher = make_organization(slug=f"aurora-{number}", name=f"Aurora {number}")
        make_model(name=f"Aurora {number}", publisher=publisher, status="published")
        make_key(acme, f"aurora {number}")
    assert count() == few


def test_publishers_are_found_by_an_index(acme):
    text = "acme"
    found = Organization.objects.filter(name__trigram_word_similar=text)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        assert "organization_name_trigram" in found.explain()
        cursor.execute("SET LOCAL enable_seqscan = on")


# --- The field --------------------------------------------------------------------------------------------------------


def test_the_field_of_every_page_is_a_combobox_and_a_form():
    html = Client().get("/docs/errors").content.decode()
    field = re.search(r'<input id="search"[^>]+>', html)[0]
    for attribute in (
        'name="q"',
        'role="combobox"',
        'aria-expanded="false"',
        'aria-controls="search-list"',
        'aria-autocomplete="list"',
        'hx-get="/search"',
        'hx-sync="this:replace"',
    ):
        assert attribute in field
    assert re.search(r'id="search-list" role="listbox" aria-label="[^"]+"></div>', html)
    assert re.search(r'<form class="find" role="search" aria-label="[^"]+" action="/models">', html)


def test_single_key_shortcuts_can_be_switched_off(client):
    assert "data-shortcuts" not in client.get("/docs/errors").content.decode()
    client.cookies["shortcuts"] = "off"
    assert 'data-shortcuts="off"' in client.get("/docs/errors").content.decode()
    client.cookies["shortcuts"] = '"><script>'
    assert "data-shortcuts" not in client.get("/docs/errors").content.decode()
