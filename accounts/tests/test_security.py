"""Sessions, the security log, and “this was not me”."""

import re

import pytest
from django.core.cache import cache

from accounts import services
from accounts.models import BrowserSession, RefreshFamily
from accounts.tests.factories import (
    PASSWORD,
    later,
    mails_to,
    make_client,
    make_user,
    new_address,
    reset_token_in,
)

pytestmark = pytest.mark.django_db
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"
CHROME = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/141.0 Safari/537.36"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"


def enter(user, agent=FIREFOX):
    """Somebody logged in by the form, with a browser that says this of itself."""
    client = make_client(**{"User-Agent": agent})
    answer = client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    assert answer.status_code == 302
    return client


def by_api(user, agent="OpenAI/Python 1.2.3"):
    answer = make_client(**{"User-Agent": agent}).post(
        "/api/auth/login", {"email": user.email, "password": PASSWORD}, content_type="application/json"
    )
    assert answer.status_code == 200, answer.content
    return answer.json()


def is_in(client):
    return client.get("/settings/profile").status_code == 200


def knows(access):
    return make_client(Authorization=f"Bearer {access}").get("/api/auth/me").status_code == 200


def rows_of(client):
    return client.get("/settings/sessions").context["rows"]


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        (CHROME, "Chrome on macOS"),
        (IPHONE, "Safari on iPhone"),
        (CHROME.replace("Safari/537.36", "Safari/537.36 Edg/141.0"), "Edge on macOS"),
        ("OpenAI/Python 1.2.3", "openai-python"),
        ("curl/8.5.0", "curl"),
        ("Mozilla/5.0", "Unknown device"),
        ("", "Unknown device"),
    ],
)
def test_a_device_is_named_in_words(agent, words):
    assert services.name_device(agent) == words


def test_browsers_and_programs_are_listed_and_ended_one_by_one():
    user = make_user()
    here, there, program = enter(user), enter(user, CHROME), by_api(user)
    rows = rows_of(here)
    assert (rows[0].device, rows[0].kind, rows[0].is_current) == ("Firefox on Linux", "browser", True)
    assert {(row.device, row.kind) for row in rows[1:]} == {
        ("Chrome on macOS", "browser"),
        ("openai-python", "program"),
    }
    assert all(re.fullmatch(r"10\.\d+\.\d+\.\d+", row.address) for row in rows)
    ends = {row.kind: str(row.id) for row in rows[1:]}
    here.post("/settings/sessions", {"end": ends["browser"]})
    assert not is_in(there)
    assert knows(program["access"])
    here.post("/settings/sessions", {"end": ends["program"]})
    assert not knows(program["access"])
    assert [row.is_current for row in rows_of(here)] == [True]


def test_nobody_ends_the_sessions_of_others():
    user, other = make_user(), make_user()
    here, there = enter(user), enter(other)
    theirs = BrowserSession.objects.get(user=other)
    family = by_api(other)
    here.post("/settings/sessions", {"end": str(theirs.pk)})
    here.post("/settings/sessions", {"end": str(RefreshFamily.objects.get(user=other).pk)})
    assert is_in(there)
    assert knows(family["access"])
    assert here.post("/settings/sessions", {"end": "nonsense"}).status_code == 404


def test_logging_out_everywhere_else_ends_all_but_this_one():
    user = make_user()
    here, there, program = enter(user), enter(user, CHROME), by_api(user)
    assert here.post("/settings/sessions").status_code == 302
    assert is_in(here)
    assert not is_in(there)
    assert not knows(program["access"])
    assert len(rows_of(here)) == 1
    assert any("were ended" in message.subject for message in mails_to(user.email))


def test_a_session_is_gone_from_the_list_with_its_log_out():
    user = make_user()
    here, there = enter(user), enter(user, CHROME)
    there.post("/accounts/logout/")
    assert len(rows_of(here)) == 1


def test_last_seen_is_kept_up_to_date():
    user = make_user()
    client = enter(user)
    cache.clear()
    before = BrowserSession.objects.get(user=user)
    with later("2 hours"):
        client.get("/settings/profile", REMOTE_ADDR="192.0.2.7", headers={"User-Agent": IPHONE})
    after = BrowserSession.objects.get(user=user)
    assert after.last_seen_at > before.last_seen_at
    assert (after.address, services.name_device(after.user_agent)) == ("192.0.2.7", "Safari on iPhone")


def test_a_log_in_from_a_new_device_is_mailed_once():
    user = make_user()
    enter(user)
    assert mails_to(user.email) == []
    enter(user, FIREFOX.replace("142", "143"))
    assert mails_to(user.email) == []
    enter(user, CHROME)
    enter(user, CHROME)
    [message] = mails_to(user.email)
    assert "new device" in message.subject
    assert "Chrome on macOS" in message.body


def test_the_security_log_says_what_happened_and_is_filtered_and_paged():
    user = make_user()
    client = enter(user)
    for _ in range(4):
        make_client().post("/accounts/login/", {"login": user.email, "password": "wrong password"})
    shown = client.get("/settings/security-log").content.decode()
    assert "Logged in" in shown
    assert "Failed log-in" in shown
    assert "Firefox on Linux" in shown
    failed = client.get("/settings/security-log?show=failed").context["rows"]
    assert len(failed) == 4
    assert {row["words"] for row in failed} == {"Failed log-in"}
    other = enter(make_user())
    assert "Failed log-in" not in [str(row["words"]) for row in other.get("/settings/security-log").context["rows"]]


def test_the_security_log_goes_back_by_a_cursor():
    user = make_user()
    client = enter(user)
    for _ in range(40):
        services.update_profile(user=user, name=new_address()[:20])
    first = client.get("/settings/security-log")
    second = client.get(f"/settings/security-log?before={first.context['older']}")
    seqs = [row["event"].seq for page in (first, second) for row in page.context["rows"]]
    assert len(seqs) == len(set(seqs)) >= 41
    assert seqs == sorted(seqs, reverse=True)
    assert client.get("/settings/security-log?before=x&show=y").context["is_first"]


# --- This was not me ---


def link_in(message):
    return re.findall(r"(/accounts/not-me/\S+)$", message.body, re.MULTILINE)[0]


def alarmed(user):
    """Somebody whose password was changed, and the link in the notice."""
    services.change_password(user=user, password="another long password 1")
    return link_in(mails_to(user.email)[-1])


def test_opening_the_link_changes_nothing_and_confirming_ends_everything():
    user = make_user()
    here, program = enter(user), by_api(user)
    services.mail_notice(user=user, kind="totp_activated")
    link = link_in(mails_to(user.email)[-1])
    stranger = make_client()
    assert stranger.get(link).status_code == 200
    assert is_in(here)
    answer = stranger.post(link)
    assert answer.status_code == 200
    assert user.email in answer.content.decode()
    assert not is_in(here)
    assert not knows(program["access"])
    services.reset_password(token=reset_token_in(mails_to(user.email)[-1]), password="yet another password 2")


def test_who_lost_the_address_to_a_thief_gets_the_account_back():
    user, old, new = make_user(), None, new_address()
    old = user.email
    services.mail_notice(user=user, kind="email_changed", email=old, from_email=old, to_email=new)
    link = link_in(mails_to(old)[-1])
    user.emailaddress_set.all().delete()
    user.emailaddress_set.create(email=new, primary=True, verified=True)
    user.email = new
    user.save()
    make_client().post(link)
    assert mails_to(new) == []
    services.reset_password(token=reset_token_in(mails_to(old)[-1]), password="yet another password 2")
    assert services.find_owner(old) == user


def test_a_link_is_good_for_a_week_and_for_nothing_else():
    user = make_user()
    link = alarmed(user)
    with later("6 days 23 hours"):
        assert make_client().get(link).status_code == 200
    with later("7 days 1 minute"):
        assert make_client().get(link).status_code == 410
        assert make_client().post(link).status_code == 410
    assert make_client().get(link[:-1] + ("A" if link[-1] != "A" else "B")).status_code == 410
    assert make_client().get("/accounts/not-me/none").status_code == 410
