"""No secret gets where it does not belong: not into a log, a row, Valkey, somebody else's mail or request, nor back to
whoever sends it to the wrong place.

A trial is one request with a secret in some place of it, most of them faulty: the secrets of a whole life and of the
settings, in credentials, headers and their names, paths, queries, JSON, forms and broken bodies. Model endpoints answer
with errors that repeat what they were sent, hang, hang up and redirect. What people give the site to be kept and shown,
as a key's name, is theirs and not tried. Afterwards everything that was written is searched, and what arrived at the
endpoints.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import subprocess
from email.message import EmailMessage
from email.utils import parseaddr
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from config.cluster import random_port
from trust.canaries import Secret, key_secrets, peel, search
from trust.harness import Context, Result
from trust.http import Answer, Request, open_session, send
from trust.registry import Sabotage

if TYPE_CHECKING:
    from gateway.tests.upstream import Behaviour, FakeUpstream, Seen
    from trust.life import Life
    from trust.shots import Shot

PER = 100
HANGS_SECONDS = 1.5  # longer than the endpoints' time
OUTAGES = (502, 503, 504)  # of endpoints
ALLOWED_HEADERS = {
    "accept", "accept-encoding", "authorization", "content-length", "content-type", "host", "user-agent",
    "x-agorai-request-id", "x-agorai-signature", "x-model-key",
}  # fmt: skip

SABOTAGES = (
    Sabotage(
        "request headers in the log",
        "observability/middleware.py",
        '            "status": response.status_code,\n',
        '            "status": response.status_code,\n            "headers": dict(request.headers),\n',
    ),
    Sabotage(
        "the whole address in the log",
        "observability/middleware.py",
        '            "status": response.status_code,\n',
        '            "status": response.status_code,\n            "path": request.get_full_path(),\n',
    ),
    Sabotage(
        "errors repeat what was sent",
        "common/problems.py",
        '        FieldError(pointer=mask(error["pointer"]), code=error["code"], detail=mask(str(error["detail"])))\n',
        "        error\n",
    ),
    Sabotage(
        "a client is kept as it calls itself",
        "observability/services/context.py",
        "    return mask(printable).strip()[:MAX_CLIENT]",
        "    return printable.strip()[:MAX_CLIENT]",
    ),
    Sabotage(
        "tokens and codes are stored as they are",
        "accounts/services/digests.py",
        '    return hmac.digest(pepper, message.encode("utf-8", "surrogatepass"), hashlib.sha256)',
        '    return message.encode("utf-8", "surrogatepass")[-200:]',
    ),
    Sabotage(
        "whoever reads the table of sessions has them",
        "config/settings.py",
        'SESSION_ENGINE = "accounts.services.session_store"',
        'SESSION_ENGINE = "django.contrib.sessions.backends.db"',
    ),
    Sabotage(
        "what waits in a session can be read",
        "accounts/services/session_store.py",
        '        return AESGCM(_hash("data", self.session_key or ""))\n',
        "        plain = staticmethod(lambda nonce, data, bound: data)\n"
        '        return type("Plain", (), {"encrypt": plain, "decrypt": plain})()\n',
    ),
    Sabotage(
        "second factors as they are",
        "accounts/services/factors.py",
        "            value = seal(value.plaintext.encode(), context).hex()\n",
        '            data["typed"] = value.plaintext\n'
        "            value = seal(value.plaintext.encode(), context).hex()\n",
    ),
    Sabotage(
        "what was mailed stays in the outbox",
        "notifications/services/messages.py",
        'next_attempt_at=None, payload=None, last_error=""\n    )\n    logger.info',
        "next_attempt_at=None, payload=None, last_error=str(payload)[:300]\n    )\n    logger.info",
    ),
    Sabotage(
        "an endpoint's words are passed on as they are",
        "gateway/hotpath/rules.py",
        "mask(value.replace(secret, HIDDEN) if secret else value)",
        "value",
    ),
    Sabotage(
        "where a call comes from goes along",
        "gateway/hotpath/rules.py",
        '        "X-Agorai-Request-Id": call.request_id,\n',
        '        "X-Agorai-Request-Id": call.request_id,\n        "X-Forwarded-For": "127.0.0.1",\n',
    ),
    Sabotage(
        "a setting that cannot be read is repeated",
        "config/env.py",
        'raise Fault(f"has a key ({key_id}) that is not base64url") from None',
        'raise Fault(f"has a key ({key_id}) that is not base64url: {encoded}") from None',
    ),
)


def run(context: Context) -> Result:
    from gateway.tests.upstream import FakeUpstream
    from trust.life import Life
    from trust.shots import Shooter

    ground = context.ground
    with ground.another_database(), FakeUpstream() as endpoint, FakeUpstream() as stranger:
        endpoint.behave = _behave(stranger.url)
        settings, environment = _settings(context, endpoint.url)
        webs = [ground.start_web(**environment), ground.start_web(**environment, LOG_LEVEL="DEBUG")]
        life = Life(ground, webs[0].url, endpoint.url)
        life.keep(*settings)
        life.live()
        shooter = Shooter(life)
        for trial in context.each(per=PER):
            shots = [shooter.shot(trial.random, webs[number % 2].url) for number in range(trial.size)]
            answers = asyncio.run(_fire([shot.request for shot in shots]))
            for shot, answer in zip(shots, answers, strict=True):
                _judge(context, life.secrets, shot, answer)
        said = _commands(context, environment)
        for one in webs:  # what is written behind the requests is written before a process ends
            one.stop()
        _search_everywhere(context, life, said)
        _look_at_endpoints(context, life, endpoint, stranger)
        context.worst("secrets", len(life.secrets))
    return context.result()


def _settings(context: Context, endpoint: str) -> tuple[list[Secret], dict[str, str]]:
    """What only the operator knows, and the variables that say so."""
    names = ("DATABASE_URL", "EMAIL_URL", "OIDC_CLIENT_SECRET", "STRIPE_TEST_SECRET_KEY", "SECRET_KEY_FALLBACKS")
    chance = {name: secrets.token_hex(20) for name in names}
    known = context.ground.environment
    environment = {
        "DATABASE_URL": known["DATABASE_URL"].replace("@", f":{chance['DATABASE_URL']}@", 1),
        "EMAIL_URL": f"smtp://mailer:{chance['EMAIL_URL']}@127.0.0.1:{random_port()}",
        "OIDC_ISSUER": f"{endpoint}/oidc",
        "OIDC_NAME": "Example",
        "OIDC_CLIENT_ID": "trust",
        "OIDC_CLIENT_SECRET": chance["OIDC_CLIENT_SECRET"],
        "STRIPE_TEST_SECRET_KEY": f"sk_test_{chance['STRIPE_TEST_SECRET_KEY']}",
        "SECRET_KEY_FALLBACKS": chance["SECRET_KEY_FALLBACKS"],
    }
    found = [Secret(name, text) for name, text in chance.items()]
    found.append(Secret("SECRET_KEY", known["SECRET_KEY"]))
    for name in ("KEY_PEPPERS", "KEY_ENCRYPTION_KEYS", "JWT_SIGNING_KEYS"):
        found += key_secrets(name, known[name])
    return found, environment


def _commands(context: Context, environment: dict[str, str]) -> bytes:
    """What an operator is told: the settings, why a mail does not leave, and why broken settings are refused."""
    from notifications.services import notify

    notify(to="nobody@example.org", kind="accounts.verify_email", payload={"code": "ABC234"})
    deliver = "from django.core.management import call_command; from notifications.services import deliver"
    said = [context.ground.run_manage("shell", "-c", f"{deliver}; call_command('config'); deliver()", **environment)]
    broken = {name: value.replace("@", " @") for name, value in environment.items() if "://" in value}
    broken |= {name: f"{context.ground.environment[name]}%" for name in ("KEY_PEPPERS", "JWT_SIGNING_KEYS")}
    broken |= {"KEY_ENCRYPTION_KEYS": context.ground.environment["KEY_ENCRYPTION_KEYS"].partition(":")[2]}
    try:
        context.ground.run_manage("check", **{**environment, **broken})
        context.violation("broken settings are taken")
    except subprocess.CalledProcessError as refused:
        said += [refused.stdout, refused.stderr]
    return "".join(said).encode()


# --- Endpoints that misbehave ---


def _behave(elsewhere: str) -> Behaviour:
    """Every few calls another fault, most of which repeat the request."""
    turns = itertools.count()

    async def behave(request: web.Request) -> web.StreamResponse:
        told = f"Wrong: {request.path_qs} {dict(request.headers)}"
        if request.path.startswith("/oidc/"):
            return _provide(request, told)
        turn = next(turns) % 13
        if turn == 0:
            return web.json_response({"error": {"message": told}}, status=400)
        if turn == 1:
            return web.json_response({"detail": told}, status=422)
        if turn in (2, 3, 4, 5):
            return web.Response(text=told, status=(401, 429, 500, 200)[turn - 2], headers={"Retry-After": "1"})
        if turn in (6, 7):
            raise web.HTTPTemporaryRedirect(elsewhere) if turn == 6 else web.HTTPFound(elsewhere)
        if turn == 8:
            await asyncio.sleep(HANGS_SECONDS)
        if turn == 9 and request.transport is not None:
            request.transport.abort()
        if request.path.endswith("/completions"):
            return await _chat(request, {"error": {"message": told}} if turn == 10 else None)
        return web.json_response({"sings": True})

    return behave


async def _chat(request: web.Request, fault: object) -> web.StreamResponse:
    from gateway.tests.upstream import chunk, stream_of

    if (await request.json()).get("stream"):
        return await stream_of(chunk("la"), *([fault] if fault else [chunk("la", finish="stop")]))(request)
    return web.json_response({"choices": [{"message": {"role": "assistant", "content": "la"}}]})


def _provide(request: web.Request, told: str) -> web.StreamResponse:
    """A provider of identities that refuses every code, and says what it was sent."""
    if request.path.endswith("/.well-known/openid-configuration"):
        own = str(request.url.with_path("/oidc"))
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")
        return web.json_response({"issuer": own} | {name: f"{own}/{name}" for name in names})
    return web.json_response({"error": "invalid_grant", "error_description": told}, status=400)


# --- Answers ---


async def _fire(requests: list[Request]) -> list[Answer | None]:
    """None where the connection was cut."""
    async with open_session() as session:

        async def fire(request: Request) -> Answer | None:
            try:
                return await send(session, request)
            except aiohttp.ClientError:
                return None

        return list(await asyncio.gather(*(fire(request) for request in requests)))


def _judge(context: Context, secrets: list[Secret], shot: Shot, answer: Answer | None) -> None:
    what = f"{shot.request.method} {shot.path if len(shot.path) < 40 else shot.path[:20] + '…'}"
    if not context.expect(answer is not None, f"{what} is not answered") or answer is None:
        return
    context.expect(answer.status < 500 or answer.status in OUTAGES, f"{what} is answered {answer.status}")
    headers = dict(answer.headers)
    cookie = shot.request.headers.get("Cookie", "").partition(";")[0]
    if cookie and cookie in headers.get("set-cookie", ""):  # a cookie that the caller has lives on
        del headers["set-cookie"]
    told = "\n".join(f"{name}: {value}" for name, value in headers.items()).encode() + b"\n\n" + answer.body
    for secret, where, around in search(secrets, {f"the answer to {what}": told}):
        if not (shot.is_page and secret.name in shot.typed):
            context.violation(f"{secret.name} stands in {where}, {answer.status}: {around}")


# --- Afterwards ---


def _search_everywhere(context: Context, life: Life, said: bytes) -> None:
    ground = context.ground
    mails = ground.mails()
    files = [path for path in ground.directory.rglob("*") if path.is_file() and "mail" not in path.parts[-2:]]
    files += [path for path in (ground.cluster.directory / "log").iterdir() if path.is_file()]
    places = {
        "the database": ground.dump().encode(),
        "Valkey": ground.redis_dump(),
        **{f"the file {path.name}": path.read_bytes() for path in files},
        "what commands say": said,
    }
    places |= {f"{where}, unpacked": peel(text) for where, text in places.items()}
    for secret, where, around in search(life.secrets, places):
        context.violation(f"{secret.name} stands in {where}: {around}")
    for mail in mails:
        to = parseaddr(str(mail["To"]))[1]
        for secret, where, around in search(life.secrets, {f"a mail “{mail['Subject']}”": _text_of(mail)}):
            context.expect(secret.mailed_to == to, f"{secret.name} stands in {where}: {around}")
    shown = [answer for answer in life.shown if "no-store" not in answer.headers.get("cache-control", "")]
    context.expect(not shown, f"{len(shown)} answers that show a secret may be stored by whoever passes them on")


def _text_of(mail: EmailMessage) -> bytes:
    """As it was sent, and as it is read."""
    parts = [part.get_payload(decode=True) for part in mail.walk() if not part.is_multipart()]
    return b"\n".join([mail.as_bytes(), *(part for part in parts if isinstance(part, bytes))])


def _look_at_endpoints(context: Context, life: Life, endpoint: FakeUpstream, stranger: FakeUpstream) -> None:
    """Each gets its own secret alone, and nothing of who calls but what is in the body."""
    context.expect(not stranger.seen, f"{len(stranger.seen)} requests follow a redirect to another address")
    calls = [seen for seen in endpoint.seen if not seen.path.startswith("/oidc/")]
    if len(calls) < context.made // 20:
        raise RuntimeError(f"Only {len(calls)} of {context.made} requests arrive at an endpoint: nothing can be said.")
    context.worst("calls_of_endpoints", len(calls))
    for seen in calls:
        strange = set(seen.headers) - ALLOWED_HEADERS
        context.expect(not strange, f"the headers {sorted(strange)} arrive at an endpoint")
        _expect_own_secret_alone(context, life, seen)
    for seen in endpoint.seen:
        if seen not in calls:
            for secret, _, around in search(life.secrets, {"a request": _head(seen) + seen.body}):
                mine = seen.path == "/oidc/token_endpoint" and secret.name in (
                    "OIDC_CLIENT_SECRET",
                    "a provider's code",
                )
                context.expect(mine, f"{secret.name} is sent to the provider of identities: {around}")


def _expect_own_secret_alone(context: Context, life: Life, seen: Seen) -> None:
    kind = seen.path.split("/")[1]
    header = "x-model-key" if kind == "header" else "authorization"
    own = next(one for one in life.secrets if one.name == f"an upstream's secret ({kind})")
    right = own.text if kind == "header" else f"Bearer {own.text}"
    context.expect(seen.headers.get(header) == right, f"the endpoint of {kind} is sent another secret, or none")
    for secret, _, around in search(life.secrets, {"a request": _head(seen)}):
        context.expect(secret is own, f"{secret.name} arrives in the headers of another's request: {around}")


def _head(seen: Seen) -> bytes:
    return "\n".join([seen.path, *(f"{name}: {value}" for name, value in seen.headers.items()), ""]).encode()
