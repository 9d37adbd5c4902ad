"""A model's first page in sections, what is like it, and every page as Markdown."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Membership, User
from marketplace.models import AIModel
from marketplace.services.quality import checklist
from marketplace.tests.factories import make_model, make_organization
from marketplace.tests.test_views import html_of, words_of

pytestmark = pytest.mark.django_db

TEXT = """Tells the weather.

## Limits

Not the *sea*. <b>Really</b> <script>alert(1)</script>

## How to prompt

Name a town: [here](javascript:alert(1)) or [there](https://example.org/).

## Good for

Gardeners. ![a picture](https://elsewhere.example/x.png)
"""


@pytest.fixture
def north():
    return make_organization(slug="north", name="North")


@pytest.fixture
def weather(north):
    return make_model(
        name="Weather", publisher=north, description=TEXT, status="published", capabilities=["rain", "hail"]
    )


def publisher_of(organization, role=Membership.Role.OWNER):
    user = User.objects.create_user(f"{role}@example.org", "a long password", name="Ada")
    organization.memberships.create(user=user, role=role)
    browser = Client(headers={"agorai-organization": organization.public_id})
    browser.force_login(user)
    return browser


def call_it(*models):
    AIModel.objects.filter(pk__in=[one.pk for one in models]).update(is_callable=True)


def test_sections_come_in_the_same_order_on_every_page(weather):
    html = html_of(Client().get("/models/north/weather"))
    assert re.findall(r'<section [^>]*id="about-([a-z-]+)"', html) == ["good-for", "limits"]
    text = words_of(html)
    places = [text.index(words) for words in ("Tells the weather.", "Gardeners.", "Not the sea", "Name a town")]
    assert places == sorted(places)
    assert text.count("Gardeners.") == 1


def test_sections_bring_no_markup_of_their_own(weather):
    html = html_of(Client().get("/models/north/weather"))
    assert "&lt;script&gt;alert(1)" in html
    assert "<b>Really" not in html
    assert "elsewhere.example" not in html
    assert 'href="javascript' not in html
    assert 'href="https://example.org/"' in html


def test_how_complete_it_is_is_for_its_publisher(weather, north):
    assert "Completeness" not in html_of(Client().get("/models/north/weather"))
    assert "Completeness" not in html_of(publisher_of(north, Membership.Role.MEMBER).get("/models/north/weather"))
    html = html_of(publisher_of(north).get("/models/north/weather"))
    text = words_of(html)
    assert "2 of 5 sections" in text
    assert "Data What it was trained on" in text
    assert "Limits What it does badly" not in text, "that one is written"
    assert f'href="/publish/{weather.public_id}/basics"' in html
    assert "## Evaluation" in re.sub(r"<[^>]+>", "", html), "there is an outline to copy"
    weather.description += "\n## Data\n\nOurs.\n\n## Evaluation\n\nGood.\n\n## Changes\n\nNone."
    weather.save()
    browser = Client(headers={"agorai-organization": north.public_id})
    browser.force_login(User.objects.get(email="owner@example.org"))
    text = words_of(html_of(browser.get("/models/north/weather")))
    assert "5 of 5 sections" in text
    assert "An outline to begin with" not in text


def test_the_wizards_checklist_names_the_missing_sections(weather):
    point = next(one for one in checklist(weather) if "Sections" in one.title)
    assert not point.is_met
    assert "Data, Evaluation, Changes" in point.text
    weather.description += "\n## Data\n\nOurs.\n\n## Evaluation\n\nGood.\n\n## Changes\n\nNone."
    assert next(one for one in checklist(weather) if "Sections" in one.title).is_met


def test_related_models_are_those_for_the_same_task_that_can_do_the_same(weather):
    alike = make_model(name="Alike", status="published", capabilities=["rain", "hail"])
    wanted = make_model(name="Wanted", status="published", capabilities=["rain"])
    others = [make_model(name=f"Other {number}", status="published") for number in range(3)]
    elsewhere = make_model(name="Elsewhere", status="published", category="chat", capabilities=["rain", "hail"])
    draft = make_model(name="Draft", capabilities=["rain", "hail"])
    silent = make_model(name="Silent", status="published", capabilities=["rain", "hail"])
    call_it(weather, alike, wanted, *others, elsewhere, draft)
    AIModel.objects.filter(pk=wanted.pk).update(demand=9_000)
    AIModel.objects.filter(pk=others[1].pk).update(demand=5_000)
    found = AIModel.objects.related_to(weather, 3)
    assert [one.name for one in found] == ["Alike", "Wanted", "Other 1"]
    assert silent not in found
    html = html_of(Client().get("/models/north/weather"))
    assert "Related models" in words_of(html)
    assert f'href="/models/{alike.publisher.slug}/alike"' in html


def test_related_models_cost_the_same_for_any_number(weather):
    def count():
        with CaptureQueriesContext(connection) as queries:
            html_of(Client().get("/models/north/weather"))
        return len(queries)

    call_it(weather, make_model(status="published"))
    few = count()
    call_it(*(make_model(status="published") for _ in range(6)))
    assert count() == few


def test_related_models_are_read_by_an_index(weather):
    same = AIModel.objects.published().filter(category="text-classification", is_callable=True)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
    assert "ai_model_related" in same.order_by("-demand", "-id")[:24].explain()


# --- As Markdown ------------------------------------------------------------------------------------------------------


def markdown(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/markdown; charset=utf-8"
    return answer.content.decode()


def test_the_first_page_as_markdown_has_plate_text_and_facts(weather):
    text = markdown(Client(), "/models/north/weather.md")
    assert text.startswith("# Weather\n\n`north/weather` · North · Text classification\n")
    assert "- Per call: Free\n" in text
    assert "- License: not stated\n" in text
    assert text.index("## Good for\n\nGardeners.") < text.index("## Limits\n\nNot the *sea*.")
    assert text.count("## Good for") == 1
    assert "- Version: 1.0.0\n" in text
    assert "/models/north/weather/api.md)" in text
    assert 'href="/models/north/weather.md"' in html_of(Client().get("/models/north/weather"))


def test_the_api_as_markdown_can_be_followed(weather):
    text = markdown(Client(), "/models/north/weather/api.md")
    assert "`POST /api/models/north:weather/invoke`" in text
    assert "- `text` (string, required)" in text
    assert "```bash\ncurl " in text
    assert "```python\n" in text
    assert "- 422 `validation_failed`" in text
    assert "&quot;" not in text
    assert 'href="/models/north/weather/api.md"' in html_of(Client().get("/models/north/weather/api"))


def test_versions_as_markdown(weather):
    text = markdown(Client(), "/models/north/weather/versions.md")
    assert "## 1.0.0" in text
    assert "· Current" in text
    assert "The publisher left no notes." in text


@pytest.mark.parametrize("path", ["/models/north/weather", "/models/north/weather.md"])
def test_a_model_whose_name_ends_like_that_is_found_by_its_name(weather, path):
    other = make_model(name="Other", publisher=weather.publisher, status="published")
    AIModel.objects.filter(pk=other.pk).update(slug="weather.md")
    assert ("Other" if path.endswith(".md") else "Weather") in words_of(html_of(Client().get(path)))
    assert markdown(Client(), "/models/north/weather.md.md").startswith("# Other")


@pytest.mark.parametrize("path", [".md", "/api.md", "/versions.md"])
def test_what_is_not_public_has_no_markdown_either(north, path):
    draft = make_model(publisher=north)
    assert Client().get(f"/models/north/{draft.slug}{path}").status_code == 404
    assert Client().get(f"/models/north/none{path}").status_code == 404
    markdown(publisher_of(north), f"/models/north/{draft.slug}{path}")
