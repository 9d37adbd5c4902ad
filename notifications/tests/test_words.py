"""Every kind of message as people get it: two parts that say the same, and nothing that a mail program must fetch."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives

from common.ids import uuid7
from notifications.adapters import Envelope
from notifications.adapters.email import kinds, render

FACTS = {
    "name": "Ada <b>Lovelace</b>\nBcc: mallory@example.org",
    "code": "AB23CD45",
    "login_url": "https://site.example/login?next=/a&b=1",
    "signup_url": "https://site.example/signup",
    "reset_url": "https://site.example/reset/" + 64 * "f",
    "from_email": "old@example.org",
    "to_email": "new@example.org",
    "deleted_email": "gone@example.org",
    "email": "unknown@example.org",
    "added_email": "added@example.org",
    "url": "https://site.example/settings/members",
    "not_me_url": "https://site.example/accounts/not-me/" + 64 * "e",
    "reopen_url": "https://site.example/accounts/reopen/" + 64 * "d",
    "developer_url": "https://site.example/settings/developer",
    "reason": "We know nothing of you yet",
    "device": "Firefox on Linux",
    "address": "203.0.113.8",
    "organization": "Acme <i>Research</i>",
    "inviter": "Grace <b>Hopper</b>",
    "member": "Alan <b>Turing</b>",
    "new_owner": "Grace",
    "former_owner": "Alan",
    "role": "developer",
    "until": "30 Nov 2026",
    "days": 14,
    "provider": "Example Login",
    "key": "agr_live_7Qx2…9Ea0",
    "key_name": "batch jobs",
    "expires_at": "30 Nov 2026",
    "last_used": "23 Nov 2026",
    "client": "openai-python 3.54.0",
    "partner": "Example Scanner",
    "found_at": "example/repository, line 3",
    "model": "Summaries <i>XL</i>",
    "slug": "acme/summaries",
    "failed_steps": ["It answers in time: <b>none</b> came"],
    "check_url": "https://site.example/publish/mdl_1/test",
    "edit_url": "https://site.example/publish/mdl_1/review",
    "note": "Say <b>what</b> it is trained on",
    "sunset_on": "30 Nov 2026",
    "rating": 2,
    "content": "Slow, and <b>wrong</b> at times",
    "publisher": "Acme <i>Research</i>",
    "version": "1.4.2",
    "deployments": "support-bot, batch-jobs",
    "deployments_url": "https://site.example/deployments",
    "versions_url": "https://site.example/models/ada/eliza/versions",
}
FETCHING = {"src", "srcset", "background", "poster", "data"}
UNSUBSCRIBE = "https://site.example/unsubscribe/0123"


class Part(HTMLParser):
    """What an HTML part shows, leads to and asks for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.tags: list[str] = []
        self.words = ""
        self.fetched: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "href":
                self.links.add(value or "")
            elif name in FETCHING or "url(" in (value or "") or name.startswith("on"):
                self.fetched.append(f"{tag} {name}")

    def handle_data(self, data: str) -> None:
        self.words += data


def write(kind: str, **facts: Any) -> EmailMultiAlternatives:
    return render(Envelope(uuid7(), kind, "ada@example.org", "en", FACTS | facts))


def html_of(message: EmailMultiAlternatives) -> str:
    [html] = message.alternatives
    return str(html.content)


def test_no_kind_is_forgotten():
    assert len(kinds()) >= 13
    assert {"accounts.verify_email", "notifications.test"} <= set(kinds())


@pytest.mark.parametrize("kind", kinds())
def test_both_parts_of_a_message_say_the_same(kind: str, settings: Any):
    settings.SITE_URL = "https://site.example"
    message = write(kind)
    html = Part(html_of(message))
    links = set(re.findall(r"https://\S+", message.body))
    assert html.links == links, "every address stands in both"
    assert ("AB23CD45" in message.body) == ("AB23CD45" in html.words)
    if 'class="button"' in html_of(message):
        assert any(address in html.words for address in links), "also where no button is shown"
    words = [" ".join(text.split()) for text in (message.body, html.words)]
    for sentence in re.findall(r"[A-Z][^.:<\n]{20,}\.", message.body):
        assert " ".join(sentence.split()).rstrip(".") in words[1]
    assert words[0].count("You get this message because") == words[1].count("You get this message because") == 1


@pytest.mark.parametrize("kind", kinds())
def test_a_message_fetches_nothing_and_brings_nothing_in(kind: str, settings: Any):
    settings.SITE_NAME = "Bazar\r\nBcc: mallory@example.org"
    message = write(kind)
    source = html_of(message)
    html = Part(source)
    assert html.fetched == []
    assert not {"img", "script", "link", "iframe", "object", "form", "video"} & set(html.tags)
    assert "@import" not in source
    assert "url(" not in source
    assert html.tags.count("h1") == 1
    assert "<b>" not in source
    assert "\n" not in message.subject
    assert "\r" not in message.subject
    assert message.message()["Bcc"] is None
    assert len(source.encode()) < 20_000, "mail programs cut long ones off"


def test_a_message_that_may_be_refused_says_how(settings: Any):
    settings.SUPPORT_EMAIL = "help@site.example"
    for facts in ({}, {"unsubscribe_url": UNSUBSCRIBE}):
        message = write("notifications.test", **facts)
        for text in (message.body, html_of(message)):
            assert (UNSUBSCRIBE in text) == bool(facts)
            assert "help@site.example" in text
        headers = message.message()
        assert headers["List-Unsubscribe"] == (f"<{UNSUBSCRIBE}>" if facts else None)
        assert headers["List-Unsubscribe-Post"] == ("List-Unsubscribe=One-Click" if facts else None)


def test_a_language_from_right_to_left_turns_the_message():
    message = render(Envelope(uuid7(), "notifications.test", "ada@example.org", "ar", FACTS))
    assert '<html lang="ar" dir="rtl">' in html_of(message)
