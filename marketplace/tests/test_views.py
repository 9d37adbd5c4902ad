"""A model's pages, without JavaScript: what is said of it, how it is called, its versions, and who sees them."""

import re
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import services as accounts
from accounts.models import User
from common import clock
from common.money import NANO
from marketplace import services
from marketplace.models import AIModel, Measurement
from marketplace.services import Terms
from marketplace.tests.factories import LABEL_OUT, TEXT_IN, make_model, make_organization

pytestmark = pytest.mark.django_db

PER_TOKEN = Terms(type="paid", input_nano_per_million=4 * NANO // 10, output_nano_per_million=12 * NANO // 10)
CHAT_IN = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": {
            "type": "array",
            "description": "The conversation so far.",
            "items": {
                "type": "object",
                "required": ["role"],
                "properties": {"role": {"enum": ["user", "assistant"]}, "content": {"type": "string"}},
            },
        },
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 4096, "default": 256},
    },
}
TABS = ("", "/api", "/versions")


def html_of(answer, status=200):
    html = answer.content.decode()
    assert answer.status_code == status, html[-2000:]
    assert " style=" not in html
    assert "<script>" not in html
    assert html.count("<h1") == 1
    levels = [int(level) for level in re.findall(r"<h([1-6])", html)]
    assert all(after - before <= 1 for before, after in pairwise(levels)), levels
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    return html


def words_of(html):
    text = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL)
    return " ".join(text.replace("&quot;", '"').replace("&#x27;", "'").split())


def plate_of(html):
    """The plate as (label, value) pairs, as somebody hears them."""
    found = re.search(r'<dl class="plate">(.*?)</dl>', html, re.DOTALL)
    cells = re.findall(r"<dt>(.*?)</dt><dd[^>]*>(.*?)</dd>", found[1], re.DOTALL)
    heard = [(label, re.sub(r'<span aria-hidden="true">.*?</span>', "", value)) for label, value in cells]
    return [(words_of(label), words_of(value)) for label, value in heard]


def measure(ai_model, **figures):
    values = {"requests": 320, "sample_size": 300, "days": ["none"] * 60 + ["ok"] * 29 + ["bad"], **figures}
    return Measurement.objects.create(ai_model=ai_model, measured_at=clock.now(), **values)


def browser_of(**fields):
    user = User.objects.create_user("ada@example.org", "a long password", name="Ada", **fields)
    accounts.ensure_personal_organization(user=user)
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.fixture
def acme():
    """Three listings of one publisher."""
    publisher = make_organization(slug="acme", name="Acme Research")
    make_model(name="Sentiment", publisher=publisher, status="published", license="MIT")
    make_model(
        name="Aurora",
        description="Chats.\n\n## Good for\n\n- Talk\n\n## Limits\n\nKnows little.",
        category="chat",
        capabilities=["streaming"],
        publisher=publisher,
        status="published",
        pricing=PER_TOKEN,
        api_spec={"input": CHAT_IN, "output": {"type": "object", "examples": [{"choices": ["Hello."]}]}},
        license="Apache-2.0",
        context_tokens=128_000,
    )
    make_model(name="Old", publisher=publisher, status="deprecated")
    make_model(name="Draft", publisher=publisher)
    return publisher


@pytest.fixture
def aurora(acme):
    ai_model = AIModel.objects.get(slug="aurora")
    services.record_callable(ai_model_id=ai_model.pk, callable=True)
    return ai_model


# --- The plate --------------------------------------------------------------------------------------------------------


def test_a_plate_has_its_seven_figures_in_order(aurora):
    measure(
        aurora,
        latency_p50_ms=2100,
        latency_p95_ms=4000,
        first_token_p50_ms=412,
        first_token_p95_ms=900,
        tokens_per_second="86.4",
        uptime_bp=9993,
    )
    assert plate_of(html_of(Client().get("/models/acme/aurora"))) == [
        ("Input per M", "$0.40"),
        ("Output per M", "$1.20"),
        ("Context", "128k"),
        ("First token p50", "412 ms"),
        ("Throughput", "86 tok/s"),
        ("Uptime 30 d", "99.93 %"),
        ("License", "Apache-2.0"),
    ]


@pytest.mark.parametrize(
    ("tokens", "said"),
    [(512, "512"), (4_096, "4k"), (8_192, "8k"), (28_000, "28k"), (131_072, "128k"), (1_048_576, "1M"), (1500, "1.5k")],
)
def test_a_context_is_written_as_people_know_it(aurora, tokens, said):
    AIModel.objects.filter(pk=aurora.pk).update(context_tokens=tokens)
    assert plate_of(html_of(Client().get("/models/acme/aurora")))[2] == ("Context", said)


def test_what_is_not_known_is_a_dash_that_says_why(acme):
    AIModel.objects.filter(slug="aurora").update(context_tokens=None, license="")
    plate = plate_of(html_of(Client().get("/models/acme/aurora")))
    assert [value for _, value in plate[2:]] == [
        "not stated",
        "not enough requests",
        "not enough requests",
        "not enough requests",
        "not stated",
    ]


@pytest.mark.parametrize(
    ("terms", "labels"),
    [
        (
            Terms(type="paid", per_call_nano=NANO // 100),
            "Per call/Latency p50/Latency p95/Requests 30 d/Version/Uptime 30 d/License",
        ),
        (Terms(type="free"), "Per call/Latency p50/Latency p95/Requests 30 d/Version/Uptime 30 d/License"),
        (
            Terms(type="paid", amount_nano=20 * NANO, period="monthly"),
            "Per month/Latency p50/Latency p95/Requests 30 d/Version/Uptime 30 d/License",
        ),
        (
            Terms(type="paid", input_nano_per_million=NANO // 50),
            "Per M tokens/Context/Latency p50/Latency p95/Requests 30 d/Uptime 30 d/License",
        ),
        (
            Terms(type="paid", input_nano_per_million=1, output_nano_per_million=1, amount_nano=NANO, period="yearly"),
            "Per year/Input per M/Output per M/Context/First token p50/Throughput/Uptime 30 d/License",
        ),
    ],
)
def test_other_prices_swap_the_first_figures(acme, terms, labels):
    make_model(name="Other", publisher=acme, status="published", pricing=terms)
    plate = plate_of(html_of(Client().get("/models/acme/other")))
    assert "/".join(label for label, _ in plate) == labels


def test_a_free_chat_model_says_so_per_token(acme):
    make_model(name="Talk", category="chat", publisher=acme, status="published")
    plate = plate_of(html_of(Client().get("/models/acme/talk")))
    assert plate[:2] == [("Input per M", "Free"), ("Output per M", "Free")]


def test_a_draft_without_a_price_does_not_call_itself_free(acme):
    make_model(name="Unpriced", publisher=acme, pricing=Terms(type="paid"))
    browser = browser_of(is_staff=True, is_superuser=True)
    assert plate_of(html_of(browser.get("/models/acme/unpriced")))[0] == ("Per call", "no price yet")


# --- Overview ---------------------------------------------------------------------------------------------------------


def test_the_overview_says_what_a_request_costs_under_the_first_paragraph(aurora):
    measure(aurora, typical_input_tokens=800, typical_output_tokens=300)
    html = html_of(Client().get("/models/acme/aurora"))
    words = words_of(html)
    sentence = "A typical request costs $0.00068. 800 tokens in and 300 out. That is about 1,470 requests for $1."
    assert words.index("Chats.") < words.index(sentence) < words.index("Good for")
    assert '<h2 id="about-good-for-title">Good for</h2>' in html


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        (PER_TOKEN, "$0.40 per million input tokens, $1.20 per million output tokens. There were not enough requests"),
        (Terms(type="free"), "Requests are free."),
        (
            Terms(type="paid", per_call_nano=NANO // 1000),
            "A request costs $0.001. That is about 1,000 requests for $1.",
        ),
        (Terms(type="paid", per_call_nano=3 * NANO), "A request costs $3.00. Good"),
        (Terms(type="paid", amount_nano=20 * NANO, period="monthly"), "$20.00 a month. Requests cost nothing more."),
    ],
)
def test_the_cost_sentence_of_other_prices(acme, terms, sentence):
    make_model(
        name="Other", description="Works.\n\n## Good for\n\nAll.", publisher=acme, status="published", pricing=terms
    )
    assert f"Works. {sentence}" in words_of(html_of(Client().get("/models/acme/other")))


def test_a_description_that_begins_with_a_heading_comes_after_the_cost(acme):
    make_model(name="Heading", description="# Heading\n\nText.", publisher=acme, status="published")
    words = words_of(html_of(Client().get("/models/acme/heading")))
    assert "Requests are free. Heading Text." in words


def test_availability_is_said_and_drawn(aurora):
    measure(aurora, uptime_bp=9993, recent_uptime_bp=9900)
    html = html_of(Client().get("/models/acme/aurora"))
    words = words_of(html)
    assert "99.93% of 300 requests answered in 30 days. Failures stood out on 1 of 30 measured days." in words
    assert "Operational" in words
    strip = re.search(r'<svg class="strip".*?</svg>', html, re.DOTALL)[0]
    assert len(re.findall("<rect", strip)) == 90
    assert 'aria-label="Availability of the last 90 days.' in strip


@pytest.mark.parametrize(
    ("recent", "said"), [(9_900, "Operational"), (9_899, "Degraded"), (None, None)]
)  # None: too few calls of late
def test_a_model_is_operational_only_if_measured(aurora, recent, said):
    measure(aurora, recent_uptime_bp=recent)
    words = words_of(html_of(Client().get("/models/acme/aurora")))
    assert {word for word in ("Operational", "Degraded", "Not callable") if word in words} == (
        {said} if said else set()
    )


def test_an_unmeasured_model_claims_nothing(aurora):
    html = html_of(Client().get("/models/acme/aurora"))
    assert "Not enough requests in the last 30 days to say." in html
    assert "Operational" not in html
    assert '<svg class="strip"' not in html


def test_states_are_said(acme):
    html = html_of(Client().get("/models/acme/old"))
    assert "advises to look for another model" in html
    assert "There is no endpoint behind this listing" in html


def test_the_way_on_depends_on_who_looks(aurora):
    signed_out = html_of(Client().get("/models/acme/aurora"))
    assert re.search(r'class="btn primary"[^>]*>.*Get API access', signed_out)
    assert "Open playground" not in signed_out
    html = html_of(browser_of().get("/models/acme/aurora"))
    assert re.search(r'href="/models/acme/aurora/playground" class="btn primary"', html)


def test_a_description_brings_no_markup_of_its_own(acme):
    hostile = '<script>alert(1)</script> <img src=x onerror=alert(1)> [x](javascript:alert(1)) <b onclick="x">b</b>'
    make_model(name="<i>Hostile</i>", description=hostile, publisher=acme, status="published", license="<i>MIT</i>")
    for path in ("", *TABS):
        html = html_of(Client().get(f"/models/acme/i-hostile-i{path}"))
        assert "<i>Hostile" not in html
        assert "<i>MIT" not in html
        assert "onerror=alert" not in re.sub("&lt;.*?&gt;", "", html)
        assert 'href="javascript' not in html


# --- API --------------------------------------------------------------------------------------------------------------


def test_the_api_page_names_every_address_and_field(aurora, settings):
    html = html_of(Client().get("/models/acme/aurora/api"))
    words = words_of(html)
    assert "POST /v1/chat/completions" in words
    assert "POST /api/models/acme:aurora/invoke" in words
    assert f"{settings.SITE_URL}/v1/chat/completions" in words.replace(" ", "")
    assert "messages required array of object The conversation so far." in words
    assert "messages[]. role required user | assistant" in words
    assert "max_tokens integer 1 to 4,096, default 256" in words
    assert "model required acme/aurora The name of this model." in words
    assert words.count("Hello.") == 4, "the publisher's own example, beside both addresses and in both schemas"
    assert 'href="/docs/errors#insufficient_credit"' in html
    assert html.count('href="/docs/errors#wrong_protocol"') == 1, "only under /v1"


# --- Versions ---------------------------------------------------------------------------------------------------------


def test_versions_are_listed_the_newest_first(aurora):
    spec = {"input": CHAT_IN, "output": LABEL_OUT}
    services.add_version(ai_model=aurora, version="1.1.0", api_spec=spec, changelog="## Fixed\n\nIt is **faster**.")
    html = html_of(Client().get("/models/acme/aurora/versions"))
    words = words_of(html)
    assert words.index("1.1.0 Current") < words.index("1.0.0")
    assert "<strong>faster</strong>" in html
    assert "<h4>Fixed</h4>" in html
    assert "The publisher left no notes." in words
    assert re.search(r'aria-current="page">Versions <span class="n">2</span>', html)


def test_an_unpublished_version_is_for_its_publisher(acme):
    draft = AIModel.objects.get(slug="draft")
    owner = browser_of(is_staff=True, is_superuser=True)
    assert "Not published" in html_of(owner.get("/models/acme/draft/versions"))
    AIModel.objects.filter(pk=draft.pk).update(status="published", published_at=clock.now())
    assert "No version yet" in html_of(Client().get("/models/acme/draft/versions"))


# --- Who sees what ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tab", TABS)
def test_drafts_are_for_their_publisher_and_staff(acme, tab):
    assert Client().get(f"/models/acme/draft{tab}").status_code == 404
    assert Client().get(f"/models/acme/none{tab}").status_code == 404
    owner = User.objects.create_user("owner@example.org", "a long password", name="Owner")
    acme.memberships.create(user=owner, role="owner")
    browser = Client(headers={"agorai-organization": acme.public_id})
    browser.force_login(owner)
    html = html_of(browser.get(f"/models/acme/draft{tab}"))
    assert ">Draft</span>" in html
    assert "Only the publisher sees it" in html
    html_of(browser_of(is_staff=True, is_superuser=True).get(f"/models/acme/draft{tab}"))


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_is_a_page_with_the_same_header(aurora, tab):
    html = html_of(Client().get(f"/models/acme/aurora{tab}"))
    assert ">Aurora</h1>" in html
    for other in (*TABS, "/playground"):
        assert f'href="/models/acme/aurora{other}"' in html
    assert re.search(rf'href="/models/acme/aurora{tab}" aria-current="page"', html)


@pytest.mark.parametrize("tab", TABS)
def test_a_page_takes_the_same_queries_for_one_version_and_for_many(aurora, tab):
    measure(aurora)

    def count():
        with CaptureQueriesContext(connection) as queries:
            html_of(Client().get(f"/models/acme/aurora{tab}"))
        return len(queries)

    few = count()
    for number in range(1, 9):
        services.add_version(ai_model=aurora, version=f"1.{number}.0", api_spec={"input": TEXT_IN, "output": LABEL_OUT})
    assert count() == few <= 9


def test_cards_show_three_figures_without_a_query_for_each(acme):
    def count():
        with CaptureQueriesContext(connection) as queries:
            html = Client().get("/models").content.decode()
        return len(queries), re.findall(r'<dl class="plate mini c3">(.*?)</dl>', html)

    few, _plates = count()
    for number in range(20):
        measure(make_model(name=f"Model {number}", publisher=acme, status="published"), latency_p50_ms=42)
    many, plates = count()
    assert many == few
    assert len(plates) == 23
    assert {plate.count("<dt>") for plate in plates} == {3}
    assert sum("42<small> ms</small>" in plate for plate in plates) == 20


def test_measured_long_ago_is_said(aurora):
    found = measure(aurora)
    Measurement.objects.filter(pk=found.pk).update(measured_at=clock.now() - timedelta(minutes=7))
    assert "Measured 7 minutes ago" in words_of(html_of(Client().get("/models/acme/aurora"))).replace("\xa0", " ")


@pytest.mark.django_db
def test_versions_are_compared_field_by_field(client):
    ai_model = make_model(status="published")
    wider = {"type": "object", "required": ["text", "tone"], "properties": {"text": {}, "tone": {"type": "string"}}}
    services.add_version(ai_model=ai_model, version="2.0.0", api_spec={"input": wider, "output": LABEL_OUT})
    address = f"/models/{ai_model.publisher.slug}/{ai_model.slug}/versions"
    shown = client.get(address).content.decode()
    assert 'href="?compare=2.0.0#changes"' in shown
    assert "compare=1.0.0" not in shown, "there is none before it"
    compared = client.get(address, {"compare": "2.0.0"}).content.decode()
    assert "From 1.0.0 to 2.0.0" in compared
    assert "1 breaking change<" in compared
    assert "/tone" in compared
    for number in ("1.0.0", "9.9.9", "x"):
        assert "changes-title" not in client.get(address, {"compare": number}).content.decode()
