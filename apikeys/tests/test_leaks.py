"""Reports of leaked keys, as a partner sends them."""

import base64
import hashlib
import json
import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client

from accounts.tests.factories import mails_to
from apikeys import services
from apikeys.errors import KeyRevoked
from apikeys.models import APIKey, LeakReport
from apikeys.tests.factories import make_key
from common import clock
from common.problems import Problem
from notifications.models import Message
from observability.models import AuditEvent

pytestmark = pytest.mark.django_db
PATH = "/api/keys/leaks"
PLACE = "https://git.example.org/acme/app/blob/main/.env"


class Partner:
    def __init__(self, id="scanner"):
        self.id, self.private = id, ec.generate_private_key(ec.SECP256R1())

    def sign(self, data):
        return base64.b64encode(self.private.sign(data, ec.ECDSA(hashes.SHA256()))).decode()

    def send(self, body, **headers):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {
            "Github-Public-Key-Identifier": self.id,
            "Github-Public-Key-Signature": self.sign(raw),
            **headers,
        }
        given = {name: value for name, value in given.items() if value is not None}
        return Client(headers=given).post(PATH, data=raw, content_type="application/json")


@pytest.fixture
def partner(settings):
    found = Partner()
    settings.LEAK_REPORT_KEYS = {found.id: found.private.public_key()}
    return found


def leak(secret, url=PLACE):
    return [{"token": secret, "type": "agorai_api_key", "url": url, "source": "content"}]


def is_revoked(key):
    key.refresh_from_db()
    return key.revoked_at is not None


def test_a_leaked_key_ends_its_person_is_told_and_the_log_knows(partner):
    key, secret = make_key()
    services.touch_keys([services.Use(key.id, "203.0.113.8", "curl/8.5.0")])
    answer = partner.send([*leak(secret), *leak(services.make_secret("live")), *leak("ghp_nonsense")])
    assert answer.status_code == 200, answer.content
    labels = [one["label"] for one in answer.json()]
    assert labels == ["true_positive", "false_positive", "false_positive"]
    assert answer.json()[0]["token_hash"] == base64.b64encode(hashlib.sha256(secret.encode()).digest()).decode()
    assert secret not in answer.content.decode()
    assert is_revoked(key)
    with pytest.raises(KeyRevoked):
        services.verify_key(secret, address="", at=clock.now())
    assert Message.objects.filter(kind="apikeys.leaked", to_address=key.user.email).count() == 1
    event = AuditEvent.objects.get(action="key.leaked", target_id=key.id)
    assert event.subject_user_id == key.user_id
    assert event.after["found_at"] == PLACE


def test_a_report_counts_once(partner):
    _, secret = make_key()
    body = json.dumps(leak(secret)).encode()
    assert partner.send(body).status_code == 200
    again = partner.send(body)
    assert (again.status_code, again.json()["code"]) == (409, "report_replayed")
    assert Message.objects.filter(kind="apikeys.leaked").count() == 1


def test_a_known_leak_is_reported_anew_without_a_second_mail(partner):
    _, secret = make_key()
    partner.send(leak(secret))
    answer = partner.send(leak(secret, "https://elsewhere.example.org/"))
    assert answer.json()[0]["label"] == "true_positive"
    assert Message.objects.filter(kind="apikeys.leaked").count() == 1


def test_the_secret_before_a_rotation_ends_alone(partner):
    key, old = make_key()
    key, new = services.rotate_key(key=key)
    assert partner.send(leak(old)).json()[0]["label"] == "true_positive"
    assert not is_revoked(key)
    with pytest.raises(Problem):
        services.verify_key(old, address="", at=clock.now())
    services.verify_key(new, address="", at=clock.now())
    assert AuditEvent.objects.get(action="key.leaked").after["is_revoked"] is False
    [message] = mails_to(key.user.email)
    assert "An old secret of your key" in message.subject
    assert "the present one works on" in message.body
    assert key.public_id in message.body
    assert "revoked" not in message.body


def test_the_mail_says_what_is_not_concerned(partner):
    key, secret = make_key()
    partner.send(leak(secret))
    [message] = mails_to(key.user.email)
    for text in (message.body, message.alternatives[0].content):
        assert "your password and your sessions are not concerned" in text
        assert "We revoked the key at once" in text
        assert secret not in text


def forged(secret, partner):
    raw = json.dumps(leak(secret)).encode()
    other = Partner()
    sign = "Github-Public-Key-Signature"
    yield "of another key", raw, {sign: other.sign(raw)}
    yield "of another body", raw, {sign: partner.sign(raw + b" ")}
    yield "none", raw, {sign: None}
    yield "empty", raw, {sign: ""}
    yield "no base64", raw, {sign: "%%%"}
    yield "no signature", raw, {sign: base64.b64encode(b"x" * 70).decode()}
    yield "unknown key id", raw, {"Github-Public-Key-Identifier": "unknown"}
    yield "no key id", raw, {"Github-Public-Key-Identifier": None}
    yield "empty key id", raw, {"Github-Public-Key-Identifier": ""}
    now = str(int(time.time()))
    ours = {"Github-Public-Key-Identifier": None, sign: None, "Agorai-Public-Key-Identifier": partner.id}
    yield "ours without its time", raw, {**ours, "Agorai-Public-Key-Signature": partner.sign(raw)}
    yield (
        "a time that is not signed",
        raw,
        {
            **ours,
            "Agorai-Public-Key-Signature": partner.sign(raw),
            "Agorai-Timestamp": now,
        },
    )
    for old in (str(int(time.time()) - 301), str(int(time.time()) + 3600), "-1", "x", "9" * 40):
        signature = partner.sign(old.encode() + b"." + raw)
        yield (
            f"signed at {old}",
            raw,
            {
                **ours,
                "Agorai-Public-Key-Signature": signature,
                "Agorai-Timestamp": old,
            },
        )


def test_forged_reports_do_nothing_and_are_told_nothing(partner):
    key, secret = make_key()
    answers = set()
    for what, raw, headers in forged(secret, partner):
        answer = partner.send(raw, **headers)
        assert answer.status_code == 401, what
        answers.add((answer.json()["code"], answer.json()["detail"]))
    assert len(answers) == 1, "what was wrong is not told"
    assert not is_revoked(key)
    assert not LeakReport.objects.exists()
    assert not Message.objects.filter(kind="apikeys.leaked").exists()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{}", b"[]", b"[1]", b'[{"type":"x"}]', b'[{"token":1}]', b'[{"token":""}]', b'[{"token":"\\u0000"}]'],
)
def test_signed_nonsense_is_refused(partner, body):
    key, _ = make_key()
    assert 400 <= partner.send(body).status_code < 500
    assert not is_revoked(key)
    assert not LeakReport.objects.exists()


def test_a_report_with_our_headers_signs_its_time(partner):
    key, secret = make_key()
    raw, now = json.dumps(leak(secret, f"https://paste.example.org/?q={secret}")).encode(), str(int(time.time()))
    headers = {
        "Github-Public-Key-Identifier": None,
        "Github-Public-Key-Signature": None,
        "Agorai-Public-Key-Identifier": partner.id,
        "Agorai-Public-Key-Signature": partner.sign(now.encode() + b"." + raw),
        "Agorai-Timestamp": now,
    }
    assert partner.send(raw, **headers).status_code == 200
    assert is_revoked(key)
    found_at = AuditEvent.objects.get(action="key.leaked").after["found_at"]
    assert secret not in found_at
    assert found_at.startswith("https://paste.example.org/")


def test_without_partners_every_report_is_refused(settings):
    settings.LEAK_REPORT_KEYS = {}
    _, secret = make_key()
    assert Partner().send(leak(secret)).status_code == 401
    assert not APIKey.objects.exclude(revoked_at=None).exists()
