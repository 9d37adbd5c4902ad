"""What people see when something is refused, missing or broken: through the front door, one page after the other."""

import re

import pytest
from django.core.cache import cache
from django.test import Client, RequestFactory, override_settings
from django.urls import path

from accounts.models import Budget
from accounts.tests.factories import make_member, make_user
from apikeys.tests.factories import make_key
from common import problems
from common.money import NANO
from common.policy import Policy
from config import urls
from config.templatetags.errors import wait_words
from config.tests.test_pages import Page, make_listing
from gateway.services.budgets import refusal

pytestmark = pytest.mark.django_db


def html_of(answer, status):
    html = answer.content.decode()
    assert answer.status_code == status, html[-2000:]
    Page(html).check()
    assert f'<p class="status">{status}</p>' in html
    assert (found := re.search(r'<code class="wrap-any">(req_[0-9a-z]{26})</code>', html))
    assert found[1] == answer["x-request-id"]
    assert f'data-copy="{found[1]}"' in html
    assert answer["Content-Security-Policy"]
    return html


def signed_in(user=None, **headers):
    client = Client(headers=headers)
    client.force_login(user or make_user())
    return client


def test_a_missing_page_offers_a_search_and_the_nearest_models():
    make_listing(is_callable=True)
    html = html_of(Client().get("/models/acme/auroar"), 404)
    assert 'value="auroar"' in html
    assert "Perhaps you meant" in html
    assert 'href="/models/acme/aurora"' in html


@pytest.mark.parametrize("path", ["/wp-login.php", "/%E2%80%AE", "/" + "x" * 3000, "/a%00b", "/-/"])
def test_what_is_no_name_finds_no_models(path, django_assert_max_num_queries):
    make_listing(is_callable=True)
    with django_assert_max_num_queries(5):
        assert "Perhaps you meant" not in html_of(Client().get(path), 404)


def test_a_refusal_names_the_role_that_is_missing_and_who_can_grant_it():
    member = make_member(role="member")
    owner = member.organization.memberships.get(role="owner").user
    key, _ = make_key(user=owner, organization=member.organization)
    client = signed_in(member.user, agorai_organization=member.organization.public_id)
    html = html_of(client.get(f"/keys/{key.public_id}/rotate"), 403)
    assert f"This needs the role Owner or Admin in {member.organization.name}. Yours is Member." in html
    assert "An owner or admin of the organization can give it to you" in html


def test_an_expired_form_says_that_the_text_is_kept():
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user())
    html = html_of(client.post("/settings/profile", {"name": "Ada"}), 403)
    assert "<h1>Your form expired</h1>" in html
    assert "your text is kept" in html


def test_a_page_that_takes_no_forms_says_so():
    html = html_of(Client().post("/docs/errors"), 405)
    assert "POST is not allowed here." in html


def test_a_malformed_request_is_answered_as_a_page():
    fields = {f"field{number}": "" for number in range(501)}
    assert "<h1>This request makes no sense</h1>" in html_of(Client().post("/accounts/login/", fields), 400)


@override_settings(AUTH_RATE_PER_MINUTE=1)
def test_too_many_tries_are_told_when_to_come_back():
    cache.clear()
    client, html = Client(), ""
    for _again in range(3):
        answer = client.post("/accounts/login/", {"login": "ada@example.org", "password": "wrong"})
    html = html_of(answer, 429)
    assert "From your network address this was tried once within a minute" in html
    wait = re.search(r"Try again in (\d+) seconds?, at \d\d:\d\d:\d\d\.", html)
    assert wait
    assert answer["Retry-After"] == wait[1]
    assert 1 <= int(wait[1]) <= 60
    cache.clear()


def test_allauths_own_limits_are_answered_by_the_same_page(rf: RequestFactory):
    from allauth.core.internal.ratelimit import respond_429

    request = rf.post("/accounts/password/reset/")
    request.session, request.user = {}, None
    answer = respond_429(request)
    assert answer.status_code == 429
    assert "Try again in 60 seconds" in answer.content.decode()


def broken(request):
    raise ZeroDivisionError


def unpaid(request, source):
    purpose = Budget.Purpose.CREDIT if source == "credit" else Budget.Purpose.SPEND_LIMIT
    budget = Budget(subject_kind=source, purpose=purpose, limit=20 * NANO, spent=20 * NANO)
    raise refusal(budget, NANO // 2)


def unavailable(request):
    raise problems.ServiceUnavailable("The database is moving house.", retry_after_seconds=120)


urlpatterns = [
    *urls.urlpatterns,
    path("broken", broken, name="broken"),
    path("unpaid/<str:source>", unpaid, name="unpaid"),
    path("unavailable", unavailable, name="unavailable"),
]
handler500 = urls.handler500
ACCESS = {"*": Policy.public()}


@pytest.fixture
def faulty_site(settings):
    settings.ROOT_URLCONF = __name__
    settings.ACCESS_TABLE = f"{__name__}.ACCESS"
    return Client(raise_request_exception=False)


def test_a_bug_is_a_static_page_with_the_id_of_the_request(faulty_site, django_assert_num_queries):
    with django_assert_num_queries(0):
        html = html_of(faulty_site.get("/broken"), 500)
    assert "It is not your fault" in html
    assert "ZeroDivisionError" not in html


def test_a_pause_says_until_when(faulty_site):
    answer = faulty_site.get("/unavailable")
    html = html_of(answer, 503)
    assert "The database is moving house." in html
    assert "Try again in 120 seconds." in html
    assert answer["Retry-After"] == "120"


@pytest.mark.parametrize(
    ("source", "words", "link"),
    [
        ("key", "The limit is the key’s own.", "/keys"),
        ("organization", "The limit is your account’s.", "/keys"),
        ("credit", "The limit is the credit of your account.", "/usage"),
    ],
)
def test_a_limit_is_named_with_its_numbers(faulty_site, source, words, link):
    html = html_of(faulty_site.get(f"/unpaid/{source}"), 402)
    assert "The call may cost 0.50 USD, and 20.00 of 20.00 USD are spent." in html
    assert words in html
    assert f'<a class="btn primary" href="{link}">' in html
    assert "Nothing was sent, and nothing is charged." in html


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 second"), (60, "60 seconds"), (100, "2 minutes"), (5940, "99 minutes"), (7200, "2 hours")],
)
def test_waiting_is_told_in_a_round_unit(seconds, words):
    assert wait_words(seconds) == words
