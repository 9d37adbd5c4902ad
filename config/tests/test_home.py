"""The start page of people who are not signed in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from common import clock
from config import home
from marketplace.models import AIModel, Price
from marketplace.services import Terms
from marketplace.tests.factories import make_model, make_organization

pytestmark = pytest.mark.django_db


def list_model(name: str, *, calls: int = 0, terms: Terms | None = None, **values: Any) -> AIModel:
    ai_model = make_model(name=name, status="published", pricing=terms or Terms(type="free"), **values)
    AIModel.objects.filter(pk=ai_model.pk).update(popularity=calls, is_callable=True)
    return ai_model


def test_tasks_say_how_many_models_they_have_and_what_the_cheapest_costs(client: Client):
    per_million = [Terms(type="paid", input_nano_per_million=nano) for nano in (400_000_000, 150_000_000)]
    list_model("Aurora", category="chat", terms=per_million[0], calls=90)
    list_model("Boreal", category="chat", terms=per_million[1], calls=1)
    list_model("Tongue", category="translation", terms=Terms(type="paid", per_call_nano=2_000_000), calls=9)
    list_model("Mood", category="text-classification", calls=5)
    list_model("Reader", category="summarization", terms=Terms(type="free"))
    list_model("Writer", category="summarization", terms=Terms(type="paid", per_call_nano=1))
    list_model("Monthly", category="tabular", terms=Terms(type="paid", amount_nano=10**9, period="monthly"))
    make_model(name="Draft", category="code")
    tasks = home.start_page()["tasks"]
    assert [(task["label"], task["models"], task["price"]) for task in tasks] == [
        ("Chat", 2, "from $0.15 per million input tokens"),
        ("Translation", 1, "from $0.002 per call"),
        ("Text classification", 1, "free"),
        ("Summarization", 2, "free ones among them"),
        ("Tabular data", 1, "by subscription"),
    ]
    html = client.get("/").content.decode()
    assert 'href="/models?category=chat"' in html
    assert "2 models" in html
    assert "Code" not in [task["label"] for task in tasks]


def test_the_price_of_a_task_is_the_one_in_force(client: Client):
    ai_model = list_model("Aurora", category="chat", terms=Terms(type="paid", per_call_nano=5_000_000))
    for later, nano in ((timedelta(days=-1), 4_000_000), (timedelta(days=1), 1_000_000)):
        Price.objects.create(
            ai_model=ai_model,
            type="paid",
            currency="USD",
            per_call_nano=nano,
            effective_from=clock.now() + later,
        )
    assert home.start_page()["tasks"][0]["price"] == "from $0.005 per call"


def test_most_used_is_said_of_models_that_are_used(client: Client):
    for number in range(4):
        list_model(f"Used {number}", calls=number + 1)
    list_model("Idle")
    page = client.get("/")
    html = page.content.decode()
    assert "Most used in the last 30 days" in html
    assert [model.name for model in page.context["models"]] == ["Used 3", "Used 2", "Used 1"]
    AIModel.objects.update(popularity=0)
    html = client.get("/").content.decode()
    assert "Most used" not in html
    assert html.count('class="mcard"') == 5


def test_the_page_costs_three_queries_whatever_is_listed(client: Client, django_assert_num_queries: Any):
    list_model("First", calls=1)
    with django_assert_num_queries(3):
        client.get("/")
    with django_assert_num_queries(2):  # the tasks are looked up once a minute
        client.get("/")
    publisher = make_organization()
    for number in range(8):
        list_model(f"Model {number}", calls=number, publisher=publisher, category="chat")
    cache.clear()
    with django_assert_num_queries(3):
        client.get("/")


def test_the_operator_says_it_in_other_words(client: Client, settings: Any):
    settings.SITE_HEADLINE, settings.SITE_INTRO = "Models <of> Anna", "All from one house."
    settings.SUPPORT_EMAIL = "help@anna.example"
    html = client.get("/").content.decode()
    assert "<h1>Models &lt;of&gt; Anna</h1>" in html
    assert "All from one house." in html
    assert '<a href="mailto:help@anna.example">Help</a>' in html
    settings.SUPPORT_EMAIL = ""
    assert "mailto:" not in client.get("/").content.decode()


def test_examples_of_a_search_find_something(client: Client):
    list_model("Eliza", category="chat", capabilities=["streaming", "english"])
    list_model("Mood", capabilities=["english"])
    page = client.get("/")
    assert page.context["words"] == ["english", "streaming"]
    for word in page.context["words"]:
        assert "Eliza" in client.get("/models", {"q": word}).content.decode()


def test_the_example_calls_a_model_that_is_here(client: Client, settings: Any):
    ai_model = list_model("Mood", calls=9)
    assert f"/api/models/{ai_model.publisher.slug}:mood/invoke" in client.get("/").content.decode()
    chat = list_model("Eliza", category="chat", calls=1)
    html = client.get("/").content.decode()
    assert f"{chat.publisher.slug}/eliza" in html
    assert f"{settings.SITE_URL}/v1/chat/completions" in html


def test_an_empty_site_says_what_will_stand_here(client: Client):
    html = client.get("/").content.decode()
    assert "No models yet" in html
    assert "Start with a task" not in html
    assert "Such as" not in html
    assert "publisher/model" in html


def test_the_foot_is_the_same_on_every_page(client: Client, admin_client: Client):
    for browser, address in ((client, "/"), (client, "/docs/errors"), (client, "/nothing"), (admin_client, "/admin/")):
        foot = browser.get(address).content.decode().partition("<footer")[2]
        places = [foot.index(words) for words in ("API reference", "Errors", "Light", "Times shown in UTC")]
        assert places == sorted(places), address
