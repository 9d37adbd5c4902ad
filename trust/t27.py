"""No forged access token is accepted, by the API or by the gateway, and none makes a process fail.

A trial is one forgery. Those that a stranger could make are signed with keys of their own; the others are signed with
the site's key, and show that every claim is looked at.
"""

from __future__ import annotations

import base64
import hmac
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import aiohttp
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from trust.ground import Web
from trust.harness import Context, Result
from trust.http import Answer, Request, burst
from trust.registry import Sabotage

PER = 200  # all that are written down here, and good ones with one letter changed
ALLOWED_MS, REPEATS = 50, 5
REFUSED = (400, 401, 403, 413, 414, 431)

SABOTAGES = (
    Sabotage(
        "algorithms from the header",
        "accounts/services/tokens.py",
        "algorithms=[ALGORITHM],",
        'algorithms=[header["alg"]],',
    ),
    Sabotage(
        "a signature that is not compared",
        "accounts/services/tokens.py",
        '                    "strict_aud": True,\n',
        '                    "verify_signature": False,\n',
    ),
    Sabotage(
        "the type is not looked at",
        "accounts/services/tokens.py",
        'if key is None or header.get("typ") != TYPE:',
        "if key is None:",
    ),
    Sabotage(
        "the audience is not looked at",
        "accounts/services/tokens.py",
        '                    "strict_aud": True,\n',
        '                    "verify_aud": False,\n',
    ),
    Sabotage(
        "any kid",
        "accounts/services/tokens.py",
        "key = settings.JWT_SIGNING_KEYS.get(kid) if isinstance(kid, str) else None",
        "key = next(iter(settings.JWT_SIGNING_KEYS.values()))",
    ),
    Sabotage(
        "an old session version",
        "accounts/services/tokens.py",
        'if user is None or user.session_version != token.get("sv"):',
        "if user is None:",
    ),
    Sabotage(
        "a disabled person",
        "accounts/services/tokens.py",
        "User.objects.filter(Exists(alive), pk=user_id, is_active=True)",
        "User.objects.filter(Exists(alive), pk=user_id)",
    ),
    Sabotage(
        "expiry is not looked at", "accounts/services/tokens.py", "    if expires_at <= user.at:\n", "    if False:\n"
    ),
    Sabotage(
        "the family may be anybody's",
        "accounts/services/tokens.py",
        'RefreshFamily.objects.filter(pk=family_id, user=OuterRef("pk"), revoked_at=None)',
        "RefreshFamily.objects.filter(pk=family_id, revoked_at=None)",
    ),
)


@dataclass(frozen=True, slots=True)
class Forgery:
    what: str
    token: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is forged from: a good token, other people's facts, and the site's own key."""

    good: str
    header: dict[str, Any]
    claims: dict[str, Any]
    key: bytes
    other: dict[str, Any]
    refresh: str
    trap: str  # an address that must not be asked

    @property
    def parts(self) -> list[str]:
        return self.good.split(".")


def encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def pack(value: Any) -> str:
    return encode(value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode())


def sign(header: Any, claims: Any, key: bytes, digest: str = "sha256") -> str:
    message = f"{pack(header)}.{pack(claims)}"
    return f"{message}.{encode(hmac.digest(key, message.encode(), digest))}"


def run(context: Context) -> Result:
    from trust import world

    ground = context.ground
    webs = ground.webs(2)
    path = f"/api/models/{world.make_model(ground).public_id}/invoke"
    for trial in context.each(per=PER):
        known, ended = _know(context)
        for web in webs:
            context.expect(_is_in(web, path, known.good) == [200, 200], "a good token is refused")
        forgeries = [*_ended(known, ended), *_forge(known, trial.random)]
        while len(forgeries) < trial.size:
            forgeries.append(_flip(known, trial.random))
        seen = len(ground.upstream.seen)
        if len(forgeries) > trial.size:
            forgeries = trial.random.sample(forgeries, trial.size)
        for number, forgery in enumerate(forgeries):
            _present(context, webs[number % len(webs)], path, forgery)
        context.expect(
            len(ground.upstream.seen) == seen, "a forged token made the site ask an address, or call a model"
        )
        if context.timing:
            _compare_times(context, webs[0], forgeries)
    return context.result()


def _know(context: Context) -> tuple[Known, list[Forgery]]:
    from accounts import services as accounts
    from accounts.models import User
    from trust import world

    environment = context.ground.environment
    name, _, encoded = environment["JWT_SIGNING_KEYS"].split(",")[0].partition(":")
    key = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    user, other = world.make_person(), world.make_person()
    pair, foreign = (accounts.open_family(user=one, client="trust") for one in (user, other))
    header, claims = (json.loads(_decoded(part)) for part in pair.access.split(".")[:2])
    theirs = json.loads(_decoded(foreign.access.split(".")[1]))
    assert header["kid"] == name

    ended = []
    for what in ("of a disabled person", "of a person who logged out", "from before a new password"):
        person = world.make_person()
        dead = accounts.open_family(user=person, client="trust")
        if what == "of a disabled person":
            User.objects.filter(pk=person.pk).update(is_active=False)
        elif what == "of a person who logged out":
            accounts.close_family(refresh=dead.refresh)
        else:
            accounts.change_password(user=person, password="another correct horse 77")
        ended.append(Forgery(what, dead.access))
    trap = context.ground.upstream.url + "/jwks.json"
    return Known(pair.access, header, claims, key, theirs, pair.refresh, trap), ended


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _is_in(web: Web, path: str, token: str, extra: dict[str, str] | None = None) -> list[int]:
    return [answer.status for answer in _ask(web, path, token)]


def _ask(web: Web, path: str, token: str) -> list[Answer]:
    return burst(
        [
            Request("GET", f"{web.url}/api/auth/me", credential=token),
            Request("POST", web.url + path, {"text": "x"}, credential=token),
        ]
    )


def _present(context: Context, web: Web, path: str, forgery: Forgery) -> None:
    try:
        answers = _ask(web, path, forgery.token)
    except (ValueError, aiohttp.ClientError) as error:  # it cannot even be sent, or the connection is cut
        context.expect(web.process.poll() is None, f"{forgery.what}: the process ended ({error})")
        return
    for where, answer in zip(("the API", "the gateway"), answers, strict=True):
        context.expect(answer.status in REFUSED, f"{forgery.what}: {where} answers {answer}")


# --- Forgeries ---


def _ended(known: Known, ended: list[Forgery]) -> Iterator[Forgery]:
    yield from ended
    yield Forgery("a refresh token", known.refresh)


def _forge(known: Known, random: Random) -> Iterator[Forgery]:
    for family in (_unsigned, _confused, _embedded, _critical, _kids, _claimed, _timed, _shaped, _huge, _doubled):
        for what, token in family(known, random):
            yield Forgery(what, token)


Forged = Iterator[tuple[str, str]]


def _unsigned(known: Known, random: Random) -> Forged:
    header, payload, signature = known.parts
    for name in ("none", "None", "NONE", "nOnE", "", "null", None, "HS0"):
        forged = pack({**known.header, "alg": name})
        yield f"alg {name!r} without a signature", f"{forged}.{payload}."
        yield f"alg {name!r} with an old signature", f"{forged}.{payload}.{signature}"
    yield "no signature", f"{header}.{payload}."
    yield "no third part", f"{header}.{payload}"
    yield "no alg", sign({k: v for k, v in known.header.items() if k != "alg"}, known.claims, known.key)


def _confused(known: Known, random: Random) -> Forged:
    for name, digest in (("HS384", "sha384"), ("HS512", "sha512")):
        yield f"another algorithm, {name}", sign({**known.header, "alg": name}, known.claims, known.key, digest)
    for called in ("RS256", "ES256", "PS256", "EdDSA", "HS256 ", "hs256", ["HS256"]):
        yield f"HMAC called {called!r}", sign({**known.header, "alg": called}, known.claims, known.key)
    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key, ed_key = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    signers: list[tuple[str, Callable[[bytes], bytes]]] = [
        ("RS256", lambda m: rsa_key.sign(m, padding.PKCS1v15(), hashes.SHA256())),
        ("ES256", lambda m: ec_key.sign(m, ec.ECDSA(hashes.SHA256()))),
        ("EdDSA", lambda m: ed_key.sign(m)),
    ]
    for name, make in signers:
        message = f"{pack({**known.header, 'alg': name})}.{known.parts[1]}"
        yield f"signed by a key of one's own, {name}", f"{message}.{encode(make(message.encode()))}"
    public = rsa_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    yield "a public key as the secret", sign(known.header, known.claims, public)
    for secret in (b"", b"secret", b"\0" * 32, b"None", known.header["kid"].encode(), known.claims["iss"].encode()):
        yield f"the secret {secret[:8]!r}", sign(known.header, known.claims, secret)


def _embedded(known: Known, random: Random) -> Forged:
    own = random.randbytes(32)
    jwk = {"kty": "oct", "k": encode(own), "alg": "HS256", "kid": known.header["kid"]}
    for what, extra in (
        ("jwk", {"jwk": jwk}),
        ("jwk as text", {"jwk": json.dumps(jwk)}),
        ("jku", {"jku": known.trap}),
        ("x5u", {"x5u": known.trap}),
        ("x5c", {"x5c": [base64.b64encode(own).decode()]}),
        ("jwks", {"jwks": {"keys": [jwk]}}),
    ):
        yield f"a key of one's own in {what}", sign({**known.header, **extra}, known.claims, own)
    yield "a whole JWK as the secret", sign(known.header, known.claims, json.dumps(jwk).encode())


def _critical(known: Known, random: Random) -> Forged:
    for crit in (["exp"], ["b64"], ["x-unknown"], [], "exp", {"exp": True}, [1], None):
        yield f"crit {crit!r}", sign({**known.header, "crit": crit}, known.claims, known.key)
    yield "b64 false", sign({**known.header, "b64": False, "crit": ["b64"]}, known.claims, known.key)


def _kids(known: Known, random: Random) -> Forged:
    for kid in (
        "../../../../dev/null",
        "/dev/null",
        "file:///dev/null",
        known.trap,
        "x' UNION SELECT '' --",
        "| true",
        "",
        "unknown",
        "\0",
        known.header["kid"] + "\0",
        known.header["kid"].upper() + " ",
        None,
        0,
        True,
        [known.header["kid"]],
        {"kid": known.header["kid"]},
    ):
        yield f"kid {str(kid)[:20]!r} and an empty secret", sign({**known.header, "kid": kid}, known.claims, b"")
    yield (
        "kid of no key, and the right one",
        sign({**known.header, "kid": "unknown"}, known.claims, known.key),
    )
    yield "no kid", sign({k: v for k, v in known.header.items() if k != "kid"}, known.claims, known.key)


def _claimed(known: Known, random: Random) -> Forged:
    """Signed with the right key: one claim or header that does not fit is enough."""
    site = known.claims["aud"]
    for typ in ("JWT", "at+jwt ", "application/at+jwt", None, "rt+jwt", ""):
        yield f"typ {typ!r}", sign({**known.header, "typ": typ}, known.claims, known.key)
    wrong: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("aud", ("https://evil.example", [site], [site, "https://evil.example"], site + "/", "", None, {"aud": site})),
        ("iss", ("https://evil.example", site + ".evil.example", [site], "", None)),
        ("sub", (known.other["sub"], "usr_" + "0" * 26, 1, None, ["x"], "", "usr_'--")),
        ("sid", (known.other["sid"], "fam_" + "0" * 26, 1, None, "")),
        ("sv", (known.claims["sv"] + 1, known.claims["sv"] - 1, str(known.claims["sv"]), None, [])),
        ("token_type", ("refresh", "sliding", None)),
        ("jti", (None,)),
    )
    for name, values in wrong:
        for value in values:
            yield f"{name} {str(value)[:30]!r}", sign(known.header, {**known.claims, name: value}, known.key)
        missing = {k: v for k, v in known.claims.items() if k != name}
        yield f"no {name}", sign(known.header, missing, known.key)


def _timed(known: Known, random: Random) -> Forged:
    now = int(time.time())
    past: tuple[Any, ...] = (now - 1, now - 10**6, 0, -1, str(now - 5), 1e400, float("nan"), -(10**30))
    for value in (*past, "never", None, []):
        yield f"exp {str(value)[:20]!r}", sign(known.header, {**known.claims, "exp": value}, known.key)
    yield "no exp", sign(known.header, {k: v for k, v in known.claims.items() if k != "exp"}, known.key)
    for value in (now + 3600, 10**15, "later"):
        yield f"nbf {str(value)[:20]!r}", sign(known.header, {**known.claims, "nbf": value}, known.key)
    for value in ("now", None):
        yield f"iat {value!r}", sign(known.header, {**known.claims, "iat": value}, known.key)


def _shaped(known: Known, random: Random) -> Forged:
    header, payload, signature = known.parts
    yield "two tokens in one", f"{header}.{payload}.{signature}.{signature}"
    yield "five parts", ".".join([header, "", payload, signature, signature])
    yield "no parts", ".."
    yield "one word", "eyJ"
    yield "padding in the signature", f"{header}.{payload}.={signature}"
    yield "a signature of another", f"{header}.{pack(known.other)}.{signature}"
    yield "half a signature", f"{header}.{payload}.{signature[:20]}"
    yield "a longer signature", f"{header}.{payload}.{signature}AAAA"
    for what, body in (
        ("a list", [known.claims]),
        ("text", "usr"),
        ("null", None),
        ("no JSON", b"{"),
        ("\xff", b"\xff"),
    ):
        yield f"claims that are {what}", sign(known.header, body, known.key)
    for what, head in (("a list", [known.header]), ("null", None), ("no JSON", b"{}{}"), ("empty", b"")):
        yield f"a header that is {what}", sign(head, known.claims, known.key)
    yield "compressed", sign({**known.header, "zip": "DEF"}, known.claims, random.randbytes(32))
    yield "encrypted", sign({**known.header, "alg": "dir", "enc": "A256GCM"}, known.claims, known.key)


def _huge(known: Known, random: Random) -> Forged:
    deep = b"[" * 20_000 + b"]" * 20_000
    yield "a header 20,000 deep", f"{encode(deep)}.{known.parts[1]}.{known.parts[2]}"
    yield "claims 20,000 deep, signed", sign(known.header, b'{"a":' + deep + b"}", known.key)
    yield "a kid of 30,000", sign({**known.header, "kid": "k" * 30_000}, known.claims, known.key)
    yield "claims of 40,000, unsigned", sign(known.header, {**known.claims, "a": "x" * 40_000}, b"x" * 32)
    yield "a number of 20,000 digits", sign(known.header, b'{"exp":' + b"9" * 20_000 + b"}", known.key)
    yield "200,000 letters", "eyJ" + "A" * 200_000
    yield "10,000 parts", ".".join(["eyJ"] * 10_000)


def _doubled(known: Known, random: Random) -> Forged:
    own = random.randbytes(32)
    yield "alg twice", sign(b'{"alg":"none",' + json.dumps(known.header).encode()[1:], known.claims, own)
    yield (
        "alg twice, none last",
        (encode(json.dumps(known.header).encode()[:-1] + b',"alg":"none"}') + f".{known.parts[1]}."),
    )
    yield "kid twice", sign(b'{"kid":"unknown",' + json.dumps(known.header).encode()[1:], known.claims, own)
    twice = json.dumps({"sub": known.other["sub"]}).encode()[:-1] + b"," + json.dumps(known.claims).encode()[1:]
    yield "sub twice", sign(known.header, twice, own)


def _flip(known: Known, random: Random) -> Forgery:
    """One letter of a good token changed; not the last of a part, whose unused bits mean nothing."""
    parts = known.parts
    which = random.randrange(3)
    part = parts[which]
    at = random.randrange(len(part) - 1)
    letter = random.choice([c for c in "ABCDEFGHabcdefgh01234567-_" if c != part[at]])
    parts[which] = part[:at] + letter + part[at + 1 :]
    return Forgery(f"a letter of part {which + 1} changed", ".".join(parts))


# --- Time ---


def _compare_times(context: Context, web: Web, forgeries: list[Forgery]) -> None:
    """No forgery keeps the site busy: each against a control of the same moment."""

    def milliseconds(token: str) -> float:
        began = time.perf_counter()
        try:
            burst([Request("GET", f"{web.url}/api/auth/me", credential=token)])
        except (ValueError, aiohttp.ClientError):
            return 0.0
        return (time.perf_counter() - began) * 1000

    for forgery in forgeries:
        pairs = [(milliseconds("eyJ.eyJ.x"), milliseconds(forgery.token)) for _ in range(REPEATS)]
        extra = min(taken for _, taken in pairs) - statistics.median(control for control, _ in pairs)
        context.worst("longer_than_control_ms", max(0.0, extra))
        context.expect(extra <= ALLOWED_MS, f"{forgery.what} takes {extra:.0f} ms longer than a token of no kind")
