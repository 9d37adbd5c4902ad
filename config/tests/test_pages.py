"""The frame: start page, theme, error pages; nothing inline anywhere."""

import re
from html.parser import HTMLParser

import pytest
from django.template.loader import render_to_string
from django.test import Client, RequestFactory

from accounts.models import Membership, Organization, User
from marketplace.models import AIModel, ModelVersion, Price

STATUSES = ["400", "402", "403", "403_csrf", "404", "405", "429", "error"]


class Page(HTMLParser):
    """The faults that a strict content security policy and a screen reader would meet in a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.faults: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.faults += [f"{tag} {name}" for name in attributes if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in attributes):
            self.faults.append(f"inline {tag}")
        if tag == "img" and "alt" not in attributes:
            self.faults.append("img without alt")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if attributes.get("id"):
            self.ids.append(attributes["id"])

    def check(self) -> None:
        assert self.faults == []
        assert len(self.ids) == len(set(self.ids)), "ids are unique"
        assert self.headings.count(1) == 1
        assert all(after - before <= 1 for before, after in zip(self.headings, self.headings[1:], strict=False))


def make_listing(**fields) -> AIModel:
    publisher = Organization.objects.create(slug="acme", name="Acme")
    ai_model = AIModel.objects.create(
        publisher=publisher, slug="aurora", name="Aurora", description="Reads *long* text.", category="chat", **fields
    )
    version = ModelVersion.objects.create(ai_model=ai_model, version="1.2.0")
    Price.objects.create(
        ai_model=ai_model,
        type="paid",
        currency="USD",
        input_nano_per_million=400_000_000,
        effective_from="2026-01-01T00:00:00Z",
    )
    AIModel.objects.filter(pk=ai_model.pk).update(
        current_version=version, status="published", published_at="2026-01-01T00:00:00Z"
    )
    return ai_model


@pytest.mark.django_db
def test_the_start_page_shows_what_is_listed_and_how_to_call_it(client: Client, settings):
    make_listing(is_callable=True)
    answer = client.get("/")
    html = answer.content.decode()
    Page(html).check()
    assert answer.status_code == 200
    assert 'href="/models/acme/aurora"' in html
    assert "$0.40" in html
    assert "Reads long text." in html
    assert f"{settings.SITE_URL}/v1/chat/completions" in html
    assert 'href="/models?category=chat"' in html


@pytest.mark.django_db
def test_a_model_that_cannot_be_called_says_so(client: Client):
    make_listing()
    assert "Not callable" in client.get("/").content.decode()


@pytest.mark.django_db
def test_the_start_page_reads_no_more_for_more_models(client: Client, django_assert_max_num_queries):
    first = make_listing(is_callable=True)
    for number in range(5):
        copy = AIModel.objects.get(pk=first.pk)
        copy.pk, copy.slug, copy.current_version = None, f"aurora-{number}", None
        copy._state.adding = True
        copy.status, copy.id = "draft", AIModel._meta.pk.get_default()
        copy.save()
        version = ModelVersion.objects.create(ai_model=copy, version="1.0.0")
        AIModel.objects.filter(pk=copy.pk).update(status="published", current_version=version)
    with django_assert_max_num_queries(3):  # the models, their prices, the tasks
        assert client.get("/").content.decode().count('class="mcard"') == 6


@pytest.mark.django_db
def test_the_start_page_of_an_empty_site_says_so(client: Client):
    html = client.get("/").content.decode()
    Page(html).check()
    assert "No models yet" in html


@pytest.mark.django_db
def test_people_who_are_logged_in_see_their_month_and_what_is_still_to_do(client: Client):
    user = User.objects.create_user("ada@example.org", "correct horse battery", name="Ada")
    organization = Organization.objects.create(slug="ada", name="Ada", personal_owner=user)
    Membership.objects.create(organization=organization, user=user, role=Membership.Role.OWNER)
    client.force_login(user)
    html = client.get("/").content.decode()
    Page(html).check()
    assert "<h1>Overview</h1>" in html
    assert "Make a key" in html
    assert "First steps" in html


@pytest.mark.parametrize("value", ["light", "dark"])
def test_the_theme_is_a_cookie_that_the_server_writes_into_the_page(client: Client, value):
    answer = client.get(f"/theme/{value}?next=/docs/errors%3Fa=b")
    assert (answer.status_code, answer["Location"]) == (302, "/docs/errors?a=b")
    assert f'data-theme="{value}"' in client.get("/docs/errors").content.decode()
    client.get("/theme/auto")
    assert "<html" in (html := client.get("/docs/errors").content.decode())
    assert f'data-theme="{value}"' not in html


@pytest.mark.parametrize("target", ["https://elsewhere.example/", "//elsewhere.example", "javascript:alert(1)", ""])
def test_the_theme_leads_nowhere_else(client: Client, target):
    assert client.get("/theme/dark", {"next": target})["Location"] == "/"


@pytest.mark.django_db
def test_there_are_two_themes(client: Client):
    client.cookies["theme"] = '"><script>'
    assert client.get("/theme/purple").status_code == 404
    assert "data-theme=" not in client.get("/docs/errors").content.decode().partition(">")[0]


@pytest.mark.django_db
@pytest.mark.parametrize("status", STATUSES)
def test_an_error_page_keeps_the_frame_and_names_the_request(status, rf: RequestFactory):
    context = {"status": status, "title": "Conflict", "detail": "<b>", "retry_after": 42, "request_id": "req_01jd"}
    html = render_to_string(f"errors/{status}.html", context, rf.get("/models/acme/none"))
    Page(html).check()
    assert "req_01jd" in html
    assert "<b>" not in re.sub(r"<b>[A-Z]", "", html), "what a problem says is escaped"
    assert 'href="/"' in html


@pytest.mark.parametrize("status", ["500", "503"])
def test_the_last_pages_need_nothing_that_may_be_broken(status):
    html = render_to_string(f"errors/{status}.html", {"request_id": "req_01jd", "retry_after": 30})
    Page(html).check()
    assert "req_01jd" in html
