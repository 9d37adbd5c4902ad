"""Every secret of the site is exchanged while it serves: no call fails, nothing is left on the retired key, and what
is sealed opens in its own row alone.

A trial is one exchange of the pepper, the key-encryption key, the key of access tokens and Django's secret, as the
operators' guide says: processes that know the new key are started, the traffic goes over to them, the commands bring
what is stored under it, and a third generation of processes no longer knows the old one. Meanwhile keys, tokens, forms
and publishers' secrets are in use.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from trust.ground import Web, new_key
from trust.harness import Context, Result
from trust.http import Answer, Request, open_session, send
from trust.registry import Sabotage

CALLS = {"fast": 1_000, "full": 5_000}
KEYS, PEOPLE, PUBLISHERS = 12, 4, 2
SWAPS = 100
PAUSE_SECONDS = 0.08  # of each client: new processes want to start meanwhile
REFRESH_EVERY = 5  # uses of an access token
CHAINED = "KEY_PEPPERS"  # its old values stay configured: they are part of every digest
RETIRED = ("KEY_ENCRYPTION_KEYS", "JWT_SIGNING_KEYS")

SABOTAGES = (
    Sabotage(
        "encrypted without its place",
        "common/sealing.py",
        'return b"agorai-seal\\0" + part + b"\\0" + header + context.encode()',
        'return b"agorai-seal\\0" + part + b"\\0" + header',
    ),
    Sabotage(
        "the secret before a rotation is not wrapped",
        "apikeys/services/digests.py",
        "                if key.previous_digest is not None:\n",
        "                if False:\n",
    ),
    Sabotage(
        "access tokens under the newest key alone",
        "accounts/services/tokens.py",
        "key = settings.JWT_SIGNING_KEYS.get(kid) if isinstance(kid, str) else None",
        "key = dict(list(settings.JWT_SIGNING_KEYS.items())[:1]).get(kid) if isinstance(kid, str) else None",
    ),
    Sabotage(
        "refresh tokens under the newest pepper alone",
        "accounts/services/digests.py",
        "for pepper in settings.KEY_PEPPERS.values()]",
        "for pepper in list(settings.KEY_PEPPERS.values())[:1]]",
    ),
    Sabotage(
        "second factors forgotten",
        "config/management/commands/rotate_keys.py",
        '    ("second factors", accounts.reseal_factors),\n',
        "",
    ),
    Sabotage(
        "second factors sealed alike",
        "accounts/services/factors.py",
        'return f"mfa_authenticator:{factor.user_id}:{factor.type}:{name}"',
        'return f"mfa_authenticator:{factor.type}:{name}"',
    ),
    Sabotage(
        "keys under the newest pepper alone",
        "apikeys/services/digests.py",
        "return tuple(digest for _, digest in reversed(_chain(secret.encode(), _peppers())))",
        "return tuple(digest for _, digest in reversed(_chain(secret.encode(), _peppers()[-1:])))",
    ),
)


@dataclass(slots=True)
class Traffic:
    """What goes on meanwhile. `webs` are the processes that new requests are sent to."""

    webs: list[Web]
    model: str
    generation: int = 0
    made: int = 0
    open: dict[str, int] = field(default_factory=dict)  # by process, how many of its answers are awaited
    secrets: list[str] = field(default_factory=list)  # of keys, those before a rotation too
    failed: list[str] = field(default_factory=list)
    seen_generation: dict[int, int] = field(default_factory=dict)
    is_over: bool = False

    async def call(self, session: aiohttp.ClientSession, method: str, path: str, body: Any, credential: str) -> Answer:
        web = self.webs[self.made % len(self.webs)]
        self.made += 1
        self.open[web.url] = self.open.get(web.url, 0) + 1
        try:
            answer = await send(session, Request(method, web.url + path, body, credential))
        except (aiohttp.ClientError, TimeoutError) as error:
            answer = Answer(0, {}, repr(error).encode())
        finally:
            self.open[web.url] -= 1
        if not 200 <= answer.status < 300:
            self.failed.append(f"{method} {path} is answered {answer}")
        return answer

    async def invoke(self, session: aiohttp.ClientSession, credential: str, model: str = "") -> Answer:
        return await self.call(session, "POST", f"/api/models/{model or self.model}/invoke", {"text": "x"}, credential)


def run(context: Context) -> Result:
    for trial in context.each():
        with context.ground.another_database():
            before = dict(context.ground.environment)
            try:
                _exchange_all(context, trial.random)
                _swap(context, trial.random)
            finally:
                _know(context, **{name: before.get(name, "") for name in (CHAINED, *RETIRED, *DJANGO)})
    return context.result()


DJANGO = ("SECRET_KEY", "SECRET_KEY_FALLBACKS")


def _know(context: Context, **keys: str) -> None:
    """Processes that are started from now on know these keys, and so does this one."""
    from django.conf import settings

    from config import env

    context.ground.environment |= keys
    loaded = env.load(context.ground.environment)
    for name in keys:
        setattr(settings, name, getattr(loaded, name))


def _exchange_all(context: Context, random: Random) -> None:
    """In the full lane one after the other, in the fast lane all at once."""
    old = context.ground.environment
    steps = [[name] for name in (CHAINED, *RETIRED, "SECRET_KEY")]
    random.shuffle(steps)
    if not context.is_full:
        steps = [[name for step in steps for name in step]]
    traffic, clients = _prepare(context)
    factor = _second_factor()
    known = {name: old[name] for name in (CHAINED, *RETIRED, "SECRET_KEY")}

    def exchange(names: list[str]) -> None:
        number = traffic.generation + 2
        fresh = {name: new_key(f"n{number}") for name in names}
        both = {name: f"{fresh[name]},{known[name]}" for name in names if name != "SECRET_KEY"}
        if "SECRET_KEY" in names:
            both |= {"SECRET_KEY": fresh["SECRET_KEY"], "SECRET_KEY_FALLBACKS": known["SECRET_KEY"]}
        _switch(context, traffic, **both)
        _run_command(context)
        alone = {name: fresh[name] for name in names if name in RETIRED}
        _wait_for_refresh(traffic)
        _expect_nothing_left(context, traffic, fresh)
        if alone:
            _switch(context, traffic, **alone)
        known.update({**fresh, **({CHAINED: both[CHAINED]} if CHAINED in names else {})})

    def exchange_all() -> None:
        for step in steps:
            exchange(step)

    _serve_while(context, traffic, clients, exchange_all)
    context.worst("calls", traffic.made)
    context.expect(_is_taken(*factor), "after the exchange an authenticator app no longer opens its account")
    for what in traffic.failed:
        context.violation(what)


def _switch(context: Context, traffic: Traffic, **keys: str) -> None:
    """Start processes that know these keys, send them the traffic, and end the others when they have answered, as the
    proxy in front of a site does."""
    _know(context, **keys)
    fresh = context.ground.start_webs(len(traffic.webs))
    leaving, traffic.webs = traffic.webs, fresh
    traffic.generation += 1
    for web in leaving:
        while traffic.open.get(web.url, 0):
            time.sleep(0.01)
        web.stop()


def _wait_for_refresh(traffic: Traffic) -> None:
    """Until every client has an access token of this generation; the old ones would live for five minutes."""
    deadline = time.monotonic() + 60
    while any(seen < traffic.generation for seen in traffic.seen_generation.values()) and not traffic.failed:
        if time.monotonic() > deadline:
            raise RuntimeError("The clients do not refresh their tokens.")
        time.sleep(0.05)


def _run_command(context: Context) -> None:
    """What the operator runs once every process knows the new key."""
    try:
        context.ground.run_manage("rotate_keys")
    except subprocess.CalledProcessError as error:
        context.violation(f"manage.py rotate_keys ends with {error.returncode}: {error.stderr[-300:]}")


# --- Who uses the site meanwhile ---


Client = Callable[[aiohttp.ClientSession], Awaitable[None]]


def _prepare(context: Context) -> tuple[Traffic, list[Client]]:
    from accounts import services as accounts
    from apikeys import services as apikeys
    from trust import world

    ground = context.ground
    traffic = Traffic(ground.start_webs(2 if context.is_full else 1), world.make_model(ground).public_id)
    user = world.make_person()
    clients: list[Client] = []
    for number in range(KEYS):
        key, secret = world.make_key(user)
        if number % 3 == 0:
            apikeys.rotate_key(key=key, overlap_seconds=3600)  # the old secret stays in use
        traffic.secrets.append(secret)
        clients.append(_key_user(traffic, secret))
    for number in range(PEOPLE):
        pair = accounts.open_family(user=world.make_person(), client=f"trust {number}")
        clients.append(_token_user(traffic, number, pair.access, pair.refresh))
    for number in range(PUBLISHERS):
        clients.append(_publisher(context, traffic, number))
    return traffic, clients


def _key_user(traffic: Traffic, secret: str) -> Client:
    async def use(session: aiohttp.ClientSession) -> None:
        await traffic.invoke(session, secret)
        await traffic.call(session, "GET", "/api/auth/me", None, secret)

    return use


def _token_user(traffic: Traffic, number: int, access: str, refresh: str) -> Client:
    """Calls models, refreshes, and now and then makes a key and uses it at once."""
    traffic.seen_generation[number] = 0
    uses = 0

    async def use(session: aiohttp.ClientSession) -> None:
        nonlocal access, refresh, uses
        generation = traffic.generation
        uses += 1
        if traffic.seen_generation[number] < generation or uses % REFRESH_EVERY == 0:
            answer = await traffic.call(session, "POST", "/api/auth/refresh", {"refresh": refresh}, "")
            if answer.status == 200:
                access, refresh = answer.json["access"], answer.json["refresh"]
                traffic.seen_generation[number] = generation
        await traffic.invoke(session, access)
        if uses % 7 == 0:
            made = await traffic.call(session, "POST", "/api/keys", {"name": "fresh"}, access)
            if made.status == 201:
                await traffic.invoke(session, made.json["key"])
                path = f"/api/keys/{made.json['id']}/rotate"
                rotated = await traffic.call(session, "PUT", path, {"overlap_seconds": 600}, access)
                await traffic.invoke(session, made.json["key"])
                if rotated.status == 200:
                    await traffic.invoke(session, rotated.json["key"])

    return use


def _publisher(context: Context, traffic: Traffic, number: int) -> Client:
    """A model whose endpoint wants a secret that changes now and then: what arrives there is the newest."""
    from gateway import services as gateway
    from trust import world

    ground = context.ground
    ai_model = world.make_model(ground, name=f"Sealed {number}")
    url = f"{ground.upstream.url}/sealed-{number}"
    secret = f"sealed-{number}"
    gateway.set_endpoint(ai_model=ai_model, url=url, protocol="json", secret=secret)
    user = ai_model.publisher.memberships.get(role="owner").user
    _, key = world.make_key(user)

    async def use(session: aiohttp.ClientSession) -> None:
        answer = await traffic.invoke(session, key, ai_model.public_id)
        if answer.status == 200:
            arrived = [seen for seen in ground.upstream.seen[-200:] if seen.path == f"/sealed-{number}"]
            if not arrived or arrived[-1].headers.get("authorization") != f"Bearer {secret}":
                traffic.failed.append("a publisher's endpoint is not sent its secret")

    return use


def _serve_while(context: Context, traffic: Traffic, clients: list[Client], work: Callable[[], object]) -> None:
    """The clients call while `work` goes on here, and until there were as many calls as the lane wants."""

    def serve() -> None:
        asyncio.run(_serve(traffic, clients))

    thread = threading.Thread(target=serve)
    thread.start()
    wanted = CALLS["full" if context.is_full else "fast"]
    try:
        while traffic.made < wanted // 4 and not traffic.failed:
            time.sleep(0.05)
        work()
        while traffic.made < wanted and not traffic.failed:
            time.sleep(0.05)
    finally:
        traffic.is_over = True
        thread.join(120)


async def _serve(traffic: Traffic, clients: list[Client]) -> None:
    async def repeat(client: Client, session: aiohttp.ClientSession) -> None:
        while not traffic.is_over:
            await client(session)
            await asyncio.sleep(PAUSE_SECONDS)

    async with open_session() as session:
        await asyncio.gather(*(repeat(client, session) for client in clients))


# --- What is stored ---


def _expect_nothing_left(context: Context, traffic: Traffic, fresh: dict[str, str]) -> None:
    from common.sealing import kek_id

    if "KEY_ENCRYPTION_KEYS" in fresh:
        newest = fresh["KEY_ENCRYPTION_KEYS"].partition(":")[0]
        for name, blobs in _sealed(context).items():
            left = sum(kek_id(blob) != newest for blob in blobs)
            context.expect(left == 0, f"{left} of {len(blobs)} values of {name} are left under the retired key")
    if CHAINED in fresh:
        from apikeys.services import candidate_digests

        pepper = fresh[CHAINED].partition(":")[0]
        ((left,),) = context.ground.execute("SELECT count(*) FROM apikeys_apikey WHERE pepper_id <> %s", [pepper])
        context.expect(left == 0, f"{left} keys are left under the retired pepper")
        digests = [candidate_digests(secret)[0] for secret in traffic.secrets]
        ((found,),) = context.ground.execute(
            "SELECT count(*) FROM unnest(%s::bytea[]) d WHERE EXISTS"
            " (SELECT 1 FROM apikeys_apikey k WHERE d IN (k.digest, k.previous_digest))",
            [digests],
        )
        missing = len(digests) - found
        context.expect(missing == 0, f"{missing} secrets in use are left under the retired pepper")


def _sealed(context: Context) -> dict[str, list[bytes]]:
    """Everything in the database that is sealed, found by what it looks like: no list of columns to forget one in."""
    found: dict[str, list[bytes]] = {}
    columns = context.ground.execute(
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type IN ('bytea', 'jsonb') ORDER BY 1, 2"
    )
    for table, column, kind in columns:
        rows = context.ground.execute(f'SELECT "{column}" FROM "{table}" WHERE "{column}" IS NOT NULL')  # noqa: S608
        blobs = []
        for (value,) in rows:
            if kind == "bytea":
                blobs += [bytes(value)] if _looks_sealed(bytes(value)) else []
            else:
                texts = re.findall(r"\b01[0-9a-f]{160,}\b", str(value))
                blobs += [bytes.fromhex(text) for text in texts if _looks_sealed(bytes.fromhex(text))]
        if blobs:
            found[f"{table}.{column}"] = blobs
    return found


def _looks_sealed(value: bytes) -> bool:
    from common.sealing import SealError, kek_id

    try:
        id = kek_id(value)
    except (SealError, UnicodeDecodeError):
        return False
    return bool(re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,15}", id))


# --- Swapped ciphertexts ---


def _swap(context: Context, random: Random) -> None:
    """Whoever can write rows, but has no key, puts one row's sealed value into another: it must not open there."""
    from common.sealing import SealError
    from gateway.models import Endpoint
    from gateway.services.endpoints import signing_key_of, target_of_row

    made = _things_with_secrets(context)
    opened = 0
    swaps = 0
    endpoints = list(Endpoint.objects.filter(pk__in=made.endpoints))
    while swaps < SWAPS:
        one, other = random.sample(endpoints, 2)
        row = {**_row_of(one), "sealed_secret": random.choice([other.sealed_secret, one.sealed_signing_key])}
        key = random.choice([other.sealed_signing_key, one.sealed_secret])
        swapped = Endpoint(id=one.id, url=one.url, sealed_signing_key=key)
        attempts: list[Callable[[], object]] = [
            lambda row=row: target_of_row(row),  # type: ignore[misc]
            lambda swapped=swapped: signing_key_of(swapped),  # type: ignore[misc]
        ]
        for attempt in attempts:
            swaps += 1
            try:
                attempt()
            except SealError:
                continue
            except UnicodeDecodeError:  # a signing key that was opened as text
                pass
            opened += 1
    context.expect(opened == 0, f"{opened} of {swaps} swapped secrets of endpoints open")
    opened = sum(_second_factor_opens(made.people, random) for _ in made.people)
    swaps += len(made.people)
    context.expect(opened == 0, f"{opened} of {len(made.people)} second factors open in somebody else's row")
    context.worst("swaps", swaps)


@dataclass(slots=True)
class Things:
    endpoints: list[Any]
    people: list[Any]


def _things_with_secrets(context: Context) -> Things:
    from gateway.models import Endpoint
    from trust import world

    models = [world.make_model(context.ground, name=f"Swap {number}") for number in range(6)]
    endpoints = [Endpoint.objects.get(version=model.current_version).pk for model in models]
    return Things(endpoints, [world.make_person() for _ in range(4)])


def _row_of(endpoint: Any) -> dict[str, Any]:
    names = (
        "url", "protocol", "upstream_model", "auth_header", "timeout_seconds", "max_cost_nano",
        "sealed_secret", "sealed_signing_key",
    )  # fmt: skip
    return {"endpoint_id": endpoint.id, **{name: getattr(endpoint, name) for name in names}}


def _second_factor() -> tuple[Any, str]:
    """Somebody with an authenticator app and recovery codes, and a message that waits to be sent."""
    from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    from notifications.services import notify
    from trust import world

    user, secret = world.make_person(), generate_totp_secret()
    TOTP.activate(user, secret)
    RecoveryCodes.activate(user)
    notify(to=user.email, kind="accounts.verify_email", payload={"code": "ABC234"})
    return user, secret


def _is_taken(user: Any, secret: str) -> bool:
    """Whether the codes that an app makes of this secret are taken from this person now."""
    from allauth.mfa.models import Authenticator
    from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time

    from common.sealing import SealError

    code = format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))
    try:
        factor = Authenticator.objects.get(user=user, type=Authenticator.Type.TOTP)
        return bool(factor.wrap().validate_code(code))
    except SealError:
        return False


def _second_factor_opens(people: list[Any], random: Random) -> bool:
    """One person's authenticator app is put into another's row. Whether its codes are then taken there."""
    from allauth.mfa.models import Authenticator
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    thief, victim = random.sample(people, 2)
    Authenticator.objects.filter(user__in=[thief, victim]).delete()
    secret = generate_totp_secret()
    TOTP.activate(thief, secret)
    TOTP.activate(victim, generate_totp_secret())
    Authenticator.objects.filter(user=victim).update(data=Authenticator.objects.get(user=thief).data)
    return _is_taken(victim, secret)
