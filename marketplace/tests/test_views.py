"""The pages of the catalogue, without JavaScript."""

import re

import pytest
from django.template import Context, Template
from django.test import Client

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
