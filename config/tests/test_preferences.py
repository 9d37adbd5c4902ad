"""What a visitor chose, and that it is seen and kept."""

import re

import pytest
from django.test import Client, override_settings

from accounts.tests.factories import make_member, make_user

pytestmark = pytest.mark.django_db
PATH = "/settings/preferences"
UNCHANGED = {"theme": "auto", "time_zone": "UTC", "code": "curl", "shortcuts": "on"}


@pytest.fixture
def browser():
    client = Client()
    client.force_login(make_user())
    return client


def test_strangers_are_sent_to_log_in():
    assert Client().get(PATH)["Location"].startswith("/accounts/login/")


def test_what_was_saved_is_said_kept_and_shown(browser):
    answer = browser.post(PATH, {"theme": "dark", "time_zone": "Europe/Berlin", "code": "node"}, follow=True)
    html = answer.content.decode()
    assert answer.redirect_chain == [(PATH, 302)]
    assert "Saved: Theme, Time zone, Language of examples and Shortcuts of a single key." in html
    assert {name: browser.cookies[name].value for name in ("theme", "code", "shortcuts")} == {
        "theme": "dark",
        "code": "node",
        "shortcuts": "off",
    }
    assert browser.cookies["theme"]["samesite"] == "Lax"
    assert 'data-theme="dark"' in html
    assert re.search(r'value="node" selected', html)
    assert re.search(r'value="Europe/Berlin" selected', html)
    assert not re.search(r'name="shortcuts"[^>]* checked', html)


def test_defaults_need_no_cookie(browser):
    browser.post(PATH, UNCHANGED | {"theme": "dark", "shortcuts": ""})
    html = browser.post(PATH, UNCHANGED, follow=True).content.decode()
    assert (browser.cookies["theme"].value, browser.cookies["shortcuts"].value) == ("", "")
    assert "Saved: Theme and Shortcuts of a single key." in html
    assert "Nothing was changed." in browser.post(PATH, UNCHANGED, follow=True).content.decode()


@pytest.mark.parametrize("wrong", [{"theme": "pink"}, {"time_zone": "Mars/Olympus"}, {"code": "cobol"}])
def test_what_is_no_choice_is_refused_and_nothing_kept(browser, wrong):
    answer = browser.post(PATH, UNCHANGED | {"theme": "dark"} | wrong)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.content.decode()
    assert not browser.cookies.get("theme")


def test_only_who_runs_the_organization_sets_its_zone():
    member = make_member(role="member")
    client = Client(headers={"agorai-organization": member.organization.public_id})
    client.force_login(member.user)
    html = client.get(PATH).content.decode()
    assert 'name="time_zone"' not in html
    assert "An owner or admin can change it." in html
    assert client.post(PATH, UNCHANGED | {"time_zone": "Europe/Berlin"}).status_code == 302
    member.organization.refresh_from_db()
    assert member.organization.time_zone == "UTC"


def test_times_are_shown_in_the_zone_of_the_organization_and_elsewhere_in_the_sites(browser):
    browser.post(PATH, UNCHANGED | {"time_zone": "Asia/Kolkata"})
    assert "Times shown in Asia/Kolkata" in browser.get(PATH).content.decode()
    assert "Times shown in UTC" in Client().get("/docs/errors").content.decode()


def test_a_language_can_be_chosen_where_there_are_several(browser):
    assert 'name="language"' not in browser.get(PATH).content.decode()
    with override_settings(LANGUAGES=[("en", "English"), ("de", "Deutsch")]):
        assert 'name="language"' in browser.get(PATH).content.decode()
        browser.post(PATH, UNCHANGED | {"language": "de"})
    assert browser.cookies["django_language"].value == "de"
