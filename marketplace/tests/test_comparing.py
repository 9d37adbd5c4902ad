"""Models side by side."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.test import Client

from marketplace.models import AIModel
from marketplace.services import Terms
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db


def ref(ai_model: AIModel) -> str:
    return f"{ai_model.publisher.slug}/{ai_model.slug}"


def rows_of(html: str) -> dict[str, list[str]]:
    """The cells of each row as they are heard."""
    body = html[html.index("<tbody>") : html.index("</tbody>")]
    found = {}
    for row in re.findall(r"<tr>(.*?)</tr>", body, re.S):
        cells = [
            " ".join(unescape(re.sub(r"<[^>]+>", " ", cell)).split())
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)
        ]
        found[cells[0]] = cells[1:]
    return found


@pytest.fixture
def models() -> list[AIModel]:
    return [
        make_model(
            status="published",
            name=name,
            category="chat",
            context_tokens=context,
            pricing=Terms(type="paid", input_nano_per_million=nano, output_nano_per_million=nano),
        )
        for name, context, nano in (
            ("Small", 8_000, 100_000_000),
            ("Middle", None, 400_000_000),
            ("Large", 128_000, 100_000_000),
        )
    ]


def test_the_best_of_each_row_is_named(client: Client, models: list[AIModel]):
    AIModel.objects.filter(pk=models[1].pk).update(rating_sum=9, rating_count=2)
    AIModel.objects.filter(pk=models[2].pk).update(rating_sum=3, rating_count=1)
    page = client.get("/compare", {"model": [ref(one) for one in models]})
    html = page.content.decode()
    rows = rows_of(html)
    assert rows["Input per M"] == ["$0.10 best", "$0.40", "$0.10 best"]
    assert rows["Context"] == ["8k", "– not stated", "128k best"]
    assert rows["Uptime 30 d"] == ["– not enough requests"] * 3
    assert rows["Version"] == ["1.0.0"] * 3
    assert rows["Rating"] == ["– no reviews yet", "4.5 (2) best", "3.0 (1)"]
    assert "<b>$0.10</b>" in html, "by weight too"
    assert "Add another model" in html


def test_nothing_is_best_alone_or_where_all_are_equal(client: Client, models: list[AIModel]):
    assert "best" not in rows_of(client.get("/compare", {"model": ref(models[0])}).content.decode())["Input per M"][0]
    same = client.get("/compare", {"model": f"{ref(models[0])},{ref(models[2])}"}).content.decode()
    assert rows_of(same)["Input per M"] == ["$0.10", "$0.10"]


def test_rows_that_one_of_them_lacks_say_so(client: Client, models: list[AIModel]):
    by_call = make_model(status="published", pricing=Terms(type="paid", per_call_nano=10_000_000))
    rows = rows_of(client.get("/compare", {"model": [ref(models[0]), ref(by_call)]}).content.decode())
    assert rows["Per call"] == ["– does not apply", "$0.01"]
    assert rows["Input per M"] == ["$0.10", "– does not apply"]


def test_models_are_added_and_taken_away_by_links(client: Client, models: list[AIModel]):
    first, second, third = models
    html = client.get("/compare", {"model": [ref(first), ref(second)], "q": "Large"}).content.decode()
    assert f'href="?model={ref(first)}&amp;model={ref(second)}&amp;model={ref(third)}"' in html
    assert f'href="?model={ref(second)}"' in html, "without the first"
    missing = client.get("/compare", {"model": "no/such", "q": "Large"}).content.decode()
    assert 'value="Large"' in missing, "what was typed, not what is said above"
    assert "Choose the first model" in client.get("/compare").content.decode()
    assert "Nothing fits" in client.get("/compare", {"q": "zzzzqqq"}).content.decode()


def test_what_is_missing_or_too_much_is_said(client: Client, models: list[AIModel]):
    draft = make_model()
    html = client.get("/compare", {"model": [ref(models[0]), ref(draft), "no/such"]}).content.decode()
    assert f"There are no models {ref(draft)}, no/such" in html
    many = [*models, *(make_model(status="published", name=f"More {number}") for number in range(2))]
    html = client.get("/compare", {"model": [ref(one) for one in many]}).content.decode()
    assert "No more than 4 models" in html
    assert "Add another model" not in html
    assert "More 0" in html
    assert "More 1" not in html


def test_four_cost_as_many_queries_as_two_but_for_finding_them(
    client: Client, models: list[AIModel], django_assert_max_num_queries: Any
):
    with django_assert_max_num_queries(3 * len(models) + 2):
        client.get("/compare", {"model": [ref(one) for one in models]})
