"""Keys: unique, checked before the database is asked, shown once, and not to be had from anything that is stored.

A trial is one key that is made and mistyped in four ways. Around them, keys are made, used, misused and rotated through
the front door; then the database, Redis, the logs and the mails are searched for them.
"""

from __future__ import annotations

import base64
import hashlib
import string
from collections.abc import Iterator
from random import Random

from trust.harness import Context, Result
from trust.http import Client
from trust.registry import Sabotage

PER = 1_000
ISSUED = 20
LETTERS = string.digits + string.ascii_letters
HASHES = ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b")

SABOTAGES = (
    Sabotage(
        "checksum over the random part alone",
        "apikeys/services/digests.py",
        'number, digits = zlib.crc32(head.encode()), ""',
        'number, digits = zlib.crc32(head.encode()[9:]), ""',
    ),
    Sabotage(
        "a checksum that is not compared",
        "apikeys/services/digests.py",
        "return _SECRET.fullmatch(secret) is not None and checksum(secret[:-CHECKSUM_LENGTH])"
        " == secret[-CHECKSUM_LENGTH:]",
        "return _SECRET.fullmatch(secret) is not None",
    ),
    Sabotage(
        "a plain hash in place of a keyed one",
        "apikeys/services/digests.py",
        '        value = hmac.digest(pepper, value, "sha256")\n',
        '        value = __import__("hashlib").sha256(value).digest()\n',
    ),
    Sabotage(
        "more of the secret kept than is shown",
        "apikeys/services/digests.py",
        '    shown = len("agr_live_") + SHOWN_OF_RANDOM\n',
        '    shown = len("agr_live_") + SHOWN_OF_RANDOM + 3\n',
    ),
    Sabotage(
        "keys drawn from too few",
        "apikeys/services/digests.py",
        '"".join(secrets.choice(BASE62) for _ in range(RANDOM_LENGTH))',
        '"0" * (RANDOM_LENGTH - 4) + "".join(secrets.choice("abcdefgh") for _ in range(4))',
    ),
)


def run(context: Context) -> Result:
    from apikeys.services import make_secret

    seen: set[bytes] = set()
    for trial in context.each(per=PER):
        for number in range(trial.size):
            secret = make_secret("live" if number % 2 else "test")
            mark = hashlib.blake2b(secret.encode(), digest_size=16).digest()
            context.expect(mark not in seen, "two keys are the same")
            seen.add(mark)
            _mistype(context, secret, trial.random)
    _search(context)
    return context.result()


def _mistype(context: Context, secret: str, random: Random) -> None:
    from apikeys.services import is_well_formed

    context.expect(is_well_formed(secret), "a key that was made does not pass its own checksum")
    for what, wrong in typos(secret, random):
        if wrong != secret:
            context.expect(not is_well_formed(wrong), f"{what} of a key passes the checksum")


def typos(secret: str, random: Random) -> Iterator[tuple[str, str]]:
    """One of each: another letter, two swapped, some missing, the other mode; and one of the rarer kinds."""
    at = random.randrange(9, len(secret))
    yield "another letter", secret[:at] + random.choice(LETTERS) + secret[at + 1 :]
    at = random.randrange(9, len(secret) - 1)
    yield "a swap of two neighbours", secret[:at] + secret[at + 1] + secret[at] + secret[at + 2 :]
    yield "a truncation", secret[: random.randrange(len(secret))]
    yield "the other mode", secret.replace("_live_", "_tset_").replace("_test_", "_live_").replace("_tset_", "_test_")
    match random.randrange(5):
        case 0:
            yield "an addition", secret[:at] + random.choice(LETTERS) + secret[at:]
        case 1:
            yield "another case", secret[:at] + secret[at].swapcase() + secret[at + 1 :]
        case 2:
            yield "white space around", secret + random.choice("\n\t \0")
        case 3:
            yield "digits that are not ASCII", secret[:at] + "٣" + secret[at + 1 :]
        case 4:
            first, second = sorted(random.sample(range(9, len(secret)), 2))
            swapped = secret[:first] + secret[second] + secret[first + 1 : second] + secret[first]
            yield "a swap of two letters", swapped + secret[second + 1 :]


def _search(context: Context) -> None:
    """Keys that lived a life: where are they afterwards?"""
    from accounts import services as accounts
    from trust import world

    ground = context.ground
    web = ground.webs()[0]
    user = world.make_person()
    person = Client(web.url, accounts.open_family(user=user, client="trust").access)
    ai_model = world.make_model(ground)
    secrets: list[str] = []
    for number in range(ISSUED):
        made = person.post("/api/keys", {"name": f"key {number}"})
        secret = made.json["key"] if made.status == 201 else ""
        if not context.expect(made.body.count(secret.encode()) == 1, f"a new key is not shown once: {made}"):
            continue
        secrets.append(secret)
        key = Client(web.url, secret)
        called = key.post(f"/api/models/{ai_model.public_id}/invoke", {"text": secret})
        context.expect(called.status == 200, f"a fresh key does not work: {called}")
        for answer in (
            called,
            key.get("/api/models"),
            key.get(f"/api/{secret}"),
            key.get(f"/api/models?{secret}={secret}"),
            key.post("/v1/chat/completions", {"model": secret, "messages": secret}),
            Client(web.url, X_API_Key=secret[:-1]).get("/api/keys"),
            person.get(f"/api/keys/{made.json['id']}"),
        ):
            told = answer.body + repr(answer.headers).encode()
            own = answer is called  # the fake endpoint's answer, which does not repeat its input
            context.expect(secret.encode() not in told or own, f"an answer repeats a key: {answer}")
        if number % 4 == 0:
            rolled = person.put(f"/api/keys/{made.json['id']}/rotate", {"overlap_seconds": 60})
            context.expect(rolled.status == 200, f"a key cannot be rotated: {rolled}")
            secrets.append(rolled.json["key"])
    listed = person.get("/api/keys?limit=100").body
    ground.mails()
    stores = {
        "the database": ground.dump().encode(),
        "Redis": ground.redis_dump(),
        "the logs": ground.logs().encode(),
        "the mails": b"".join(mail.as_bytes() for mail in ground.mails()),
        "the list of keys": listed,
    }
    for secret in secrets:
        for where, text in stores.items():
            for what, trace in traces(secret):
                context.expect(trace not in text, f"{what} stands in {where}")
    context.worst("keys_searched_for", len(secrets))


def traces(secret: str) -> Iterator[tuple[str, bytes]]:
    """What gives a key away, or lets one try it against a list of guesses."""
    yield "a key", secret.encode()
    random = secret[9:-6]
    yield "the random part of a key", random.encode()
    yield "more of a key than eight letters", secret[: 9 + 5].encode()
    yield "the end of a key", secret[-7:].encode()
    for name in HASHES:
        for value in (secret, random):
            digest = hashlib.new(name, value.encode()).digest()
            yield f"the plain {name} of a key", digest.hex().encode()
            yield f"the plain {name} of a key", base64.b64encode(digest).rstrip(b"=")
