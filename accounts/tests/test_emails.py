"""The words of our mails."""

import re
from pathlib import Path

import pytest
from django.conf import settings

from accounts.tests.factories import code_in, mails_to, new_address
from notifications.services import notify

pytestmark = pytest.mark.django_db
EVERY_FACT = {
    "name": "Ada <b>Lovelace</b>",
    "code": "AB23CD45",
    "login_url": "https://site.example/login",
    "signup_url": "https://site.example/signup",
    "reset_url": "https://site.example/reset",
    "from_email": "old@example.org",
    "to_email": "new@example.org",
    "deleted_email": "gone@example.org",
    "added_email": "more@example.org",
    "reopen_url": "https://site.example/reopen",
    "not_me_url": "https://site.example/notme",
    "device": "Firefox on Linux",
    "provider": "Example",
    "email": "unknown@example.org",
    "organization": "Engines",
    "inviter": "Ada <b>Lovelace</b>",
    "role": "Developer",
    "until": "2026-11-30",
    "url": "https://site.example/invitations",
    "member": "Greta",
    "address": "greta@example.org",
    "new_owner": "Hans",
    "former_owner": "Olga",
}
KINDS = sorted(
    path.name.removesuffix(".subject.txt")
    for path in (Path(settings.BASE_DIR) / "templates/accounts/emails").glob("*.subject.txt")
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mail_has_a_subject_two_parts_and_what_it_promises(kind):
    address = new_address()
    notify(to=address, kind=f"accounts.{kind}", payload=EVERY_FACT)
    [message] = mails_to(address)
    [html] = message.alternatives
    assert 10 < len(message.subject) < 80
    assert settings.SITE_NAME in message.subject
    for text in (message.body, html.content):
        assert not re.search(r"\{\{|\{%|%\}", text)
        assert settings.SITE_URL in text
    links = set(re.findall(r"https://site\.example/\w+", message.body))
    assert links <= set(re.findall(r"https://site\.example/\w+", html.content))
    assert "<b>" not in html.content
    assert "Ada &lt;b&gt;" in html.content or "Ada" not in message.body


def test_the_code_stands_on_a_line_of_its_own():
    address = new_address()
    notify(to=address, kind="accounts.verify_email", payload={"code": "AB23CD45"})
    [message] = mails_to(address)
    assert code_in(message) == "AB23CD45"
    assert re.findall(r"\b[A-Z0-9]{6,8}\b", message.body) == ["AB23CD45"]
    assert "AB23CD45" not in message.subject
