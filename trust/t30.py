"""Reports of leaked keys: a signed one ends the key within five seconds, mails its person and is in the audit log; a
forged, stale, replayed or malformed one has no effect at all, and learns nothing.

A trial is one wrong report. Each group of them is about a key that is then reported rightly.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from random import Random
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trust.ground import Web
from trust.harness import Context, Result
from trust.http import Client, Request, burst
from trust.registry import Sabotage

PER = 50
PATH = "/api/keys/leaks"
ALLOWED_SECONDS = 5.0
PARTNER = "scanner"
WHERE = "https://git.example.org/acme/app/blob/main/.env"

SABOTAGES = (
    Sabotage(
        "the signature is skipped when the key id is unknown",
        "apikeys/services/leaks.py",
        "    if key is None:\n        raise ReportNotSigned()\n",
        "    if key is None:\n        return key_id\n",
    ),
    Sabotage(
        "the signature is not checked",
        "apikeys/services/leaks.py",
        "        key.verify(given, signed, ec.ECDSA(hashes.SHA256()))\n",
        "",
    ),
    Sabotage(
        "an old report is as good as a new one",
        "apikeys/services/leaks.py",
        "    if timestamp is not None and not _is_fresh(timestamp):\n        raise ReportNotSigned()\n",
        "",
    ),
    Sabotage(
        "a report counts as often as it is sent",
        "apikeys/services/leaks.py",
        "    if not is_new:\n        raise ReportReplayed()\n",
        "",
    ),
    Sabotage(
        "a leak that nobody is told of",
        "apikeys/services/leaks.py",
        "        _tell(key, partner, place, is_old_secret=not is_current)\n",
        "",
    ),
)


class Signer:
    """A partner, or somebody who would like to be one."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())

    @property
    def public(self) -> str:
        return base64.b64encode(
            self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).decode()

    def sign(self, data: bytes) -> str:
        return base64.b64encode(self._private.sign(data, ec.ECDSA(hashes.SHA256()))).decode()


def run(context: Context) -> Result:
    from trust import world

    partner, stranger = Signer(), Signer()
    webs = context.ground.start_webs(2, LEAK_REPORT_KEYS=f"{PARTNER}:{partner.public}")
    for trial in context.each(per=PER):
        user = world.make_person()
        key, secret = world.make_key(user)
        _try_forged(context, webs, trial.random, trial.size, partner, stranger, secret)
        report = _real(webs[0], partner, secret, trial.random)
        _report(context, webs, report, key, user.email, secret)
        _replay(context, webs, report)
    return context.result()


def _report(context: Context, webs: list[Web], report: Request, key: Any, email: str, secret: str) -> None:
    from observability.models import AuditEvent

    for web in webs:  # so that each process knows the key, and has to learn that it has ended
        status = _use(web, secret)
        context.expect(status != 401, f"before the report, the key is answered {status}")
    began = time.monotonic()
    (answer,) = burst([report])
    labels = [one["label"] for one in answer.json] if answer.status == 200 else []
    context.expect(labels == ["true_positive"], f"a signed report is answered {answer.status} {labels}")
    for web in webs:
        while _use(web, secret) != 401:
            if time.monotonic() - began > ALLOWED_SECONDS:
                context.violation("a reported key still works after five seconds")
                break
            time.sleep(0.05)
    context.worst("revoked_after_seconds", time.monotonic() - began)
    told = [mail for mail in context.ground.mails(email) if "was found in public" in str(mail["Subject"])]
    context.expect(len(told) == 1, f"{len(told)} mails tell of the leak")
    context.expect(all(secret not in str(mail) for mail in told), "the mail holds the secret")
    events = AuditEvent.objects.filter(action="key.leaked", target_id=key.pk).count()
    context.expect(events == 1, f"the audit log has {events} events of the leak")


def _replay(context: Context, webs: list[Web], report: Request) -> None:
    before = _effects(context)
    copies = [Request("POST", web.url + PATH, raw=report.raw, headers=report.headers) for web in webs for _ in range(5)]
    statuses = {answer.status for answer in burst(copies)}
    context.expect(statuses == {409}, f"the same report again is answered {sorted(statuses)}")
    context.expect(_effects(context) == before, "the same report again has an effect")


def _try_forged(
    context: Context, webs: list[Web], random: Random, count: int, partner: Signer, stranger: Signer, secret: str
) -> None:
    before = _effects(context)
    chosen = [random.choice(WRONG) for _ in range(count)]
    made = [make(random, partner, stranger, secret) for make in chosen]
    requests = [
        Request("POST", webs[number % len(webs)].url + PATH, raw=raw, headers=headers)
        for number, (raw, headers) in enumerate(made)
    ]
    said = set()
    for make, answer in zip(chosen, burst(requests), strict=True):
        name = make.__name__.strip("_").replace("_", " ")
        context.expect(400 <= answer.status < 500, f"{name}: answered {answer.status}")
        if make is not _malformed:
            problem = answer.json
            said.add((answer.status, problem.get("code"), problem.get("detail")))
        context.expect(secret.encode() not in answer.body, f"{name}: the answer holds the secret")
    context.expect(len(said) <= 1, f"wrong reports are told apart: {sorted(map(str, said))}")
    context.expect(_effects(context) == before, "a wrong report has an effect")


def _effects(context: Context) -> tuple[Any, ...]:
    """Everything that a report may bring about."""
    return context.ground.execute(
        "SELECT (SELECT count(*) FROM apikeys_leakreport),"
        " (SELECT count(*) FROM apikeys_apikey WHERE revoked_at IS NOT NULL OR overlap_until IS NOT NULL),"
        " (SELECT count(*) FROM observability_auditevent WHERE action LIKE 'key.%'),"
        " (SELECT count(*) FROM notifications_message WHERE kind LIKE 'apikeys.%')"
    )[0]


def _use(web: Web, secret: str) -> int:
    return Client(web.url, secret).get("/v1/models").status


# --- Reports ---


def _body(secret: str, random: Random) -> bytes:
    leak = {"token": secret, "type": "agorai_api_key", "url": f"{WHERE}#{random.getrandbits(64)}", "source": "content"}
    return json.dumps([leak]).encode()


def _real(web: Web, partner: Signer, secret: str, random: Random) -> Request:
    raw = _body(secret, random)
    if random.random() < 0.5:
        headers = _github(PARTNER, partner.sign(raw))
    else:
        now = str(int(time.time()))
        headers = _ours(PARTNER, partner.sign(f"{now}.".encode() + raw), now)
    return Request("POST", web.url + PATH, raw=raw, headers=headers)


def _github(key_id: str, signature: str) -> dict[str, str]:
    return {"Github-Public-Key-Identifier": key_id, "Github-Public-Key-Signature": signature}


def _ours(key_id: str, signature: str, timestamp: str | None) -> dict[str, str]:
    headers = {"Agorai-Public-Key-Identifier": key_id, "Agorai-Public-Key-Signature": signature}
    return headers if timestamp is None else headers | {"Agorai-Timestamp": timestamp}


Wrong = tuple[bytes, dict[str, str]]


def _signed_by_a_stranger(random: Random, partner: Signer, stranger: Signer, secret: str) -> Wrong:
    raw = _body(secret, random)
    return raw, _github(PARTNER, stranger.sign(raw))


def _unknown_key_id(random: Random, partner: Signer, stranger: Signer, secret: str) -> Wrong:
    raw = _body(secret, random)
    return raw, _github(random.choice(["", "unknown", "scanner2", "Scanner", "../scanner"]), stranger.sign(raw))


def _another_key_id(random: Random, partner: Signer, stranger: Signer, secret: str) -> Wrong:
    raw = _body(secret, random)
    return raw, _github("scanner0", partner.sign(raw))


def _another_body(random: Random, partner: Signer, stranger: Signer, secret: str) -> Wrong:
    return _body(secret, random), _github(PARTNER, partner.sign(_body(secret, random)))


def _one_byte_changed(random: Random, partner: Signer, stranger: Signer, secret: str) -> Wrong:
    raw = _body(secret, random)
    return raw + b" ", _github(PARTNER, partner.sign(raw))


def _no_signature(random: Random, partner: Signer, stranger: Signer, secret: str) -> Wrong:
    signature = random.choice(["", "=", "%%%", "AAAA", base64.b64encode(random.randbytes(70)).decode(), "A" * 10_000])
    return _body(secret, random), _github(PARTNER, signature)


def _no_headers(random: Random, partner: Signer, stranger: Signer, secret: str) -> Wrong:
    return _body(secret, random), {}


def _the_key_itself(random: Random, partner: Signer, stranger: Signer, secret: str) -> Wrong:
    """Whoever has the key may not end it this way."""
    return _body(secret, random), {"Authorization": f"Bearer {secret}"}


def _stale(random: Random, partner: Signer, stranger: Signer, secret: str) -> Wrong:
    raw = _body(secret, random)
    at = str(int(time.time()) + random.choice([-400, -86_400, 400, 86_400]))
    return raw, _ours(PARTNER, partner.sign(f"{at}.".encode() + raw), at)


def _a_time_that_is_not_signed(random: Random, partner: Signer, stranger: Signer, secret: str) -> Wrong:
    raw = _body(secret, random)
    at = random.choice([str(int(time.time())), "", "x", "-1", None])
    return raw, _ours(PARTNER, partner.sign(raw), at)


def _malformed(random: Random, partner: Signer, stranger: Signer, secret: str) -> Wrong:
    """Signed nonsense."""
    token = json.dumps(secret)
    raw = random.choice(
        [
            b"",
            b"null",
            b"[]",
            b"{}",
            b"[" * 2000,
            f"[{token}]".encode(),
            f'{{"token": {token}}}'.encode(),
            f'[{{"tokens": {token}}}]'.encode(),
            f'[{{"token": [{token}]}}]'.encode(),
            f'[{{"token": {token}}}, 1]'.encode(),
            f'[{{"token": {token}}}'.encode(),
            f'[{{"token": {token}, "token": "x"}}]'.encode(),
            b'[{"token": "\\u0000"}]',
            b"\xff\xfe[]",
        ]
    )
    return raw, _github(PARTNER, partner.sign(raw))


WRONG: tuple[Callable[[Random, Signer, Signer, str], Wrong], ...] = (
    _signed_by_a_stranger,
    _unknown_key_id,
    _another_key_id,
    _another_body,
    _one_byte_changed,
    _no_signature,
    _no_headers,
    _the_key_itself,
    _stale,
    _a_time_that_is_not_signed,
    _malformed,
)
