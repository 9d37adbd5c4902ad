"""A key that was revoked, has expired, was replaced or narrowed is refused within a second by each of four processes.
So is a call by the name of a deployment that was paused or deleted.

A trial is one credential in constant use, and one change that ends or narrows it. The clock of the database is forty
minutes ahead of the machine's, so whoever asks the wrong clock is found out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import aiohttp

from common.ids import uuid7
from trust.ground import Ground, Web
from trust.harness import Context, Result
from trust.http import Request, open_session, send
from trust.registry import Sabotage

PER, PROCESSES = 20, 4
ALLOWED_SECONDS = 1.0
PAUSE_SECONDS = 0.4  # between two uses of one credential at one process, so that what is remembered stays remembered
WATCHED_SECONDS = 2.0  # after a change
LIFE = timedelta(seconds=6)  # of a key that expires by itself, and of an overlap
CLOCK_OFFSET = "40 minutes"

SABOTAGES = (
    Sabotage(
        "a cache that lives for a minute", "gateway/hotpath/snapshot.py", "TTL_SECONDS = 1.0\n", "TTL_SECONDS = 60.0\n"
    ),
    Sabotage(
        "expiry by the machine's clock",
        "gateway/hotpath/callers.py",
        "extract(epoch FROM k.expires_at - clock_now())",
        "extract(epoch FROM k.expires_at - now())",
    ),
    Sabotage(
        "an overlap without an end",
        "gateway/hotpath/callers.py",
        "if self.overlap_ends is not None and self.overlap_ends <= now:",
        "if self.overlap_ends is not None and self.overlap_ends <= 0:",
    ),
    Sabotage(
        "the owner is not looked at",
        "gateway/hotpath/callers.py",
        "       NOT u.is_active OR o.closed_at IS NOT NULL",
        "       o.closed_at IS NOT NULL",
    ),
    Sabotage(
        "a paused deployment is called",
        "gateway/hotpath/deployments.py",
        "    if not deployed.is_active:\n",
        "    if False:\n",
    ),
    Sabotage(
        "a revoked key on the API's way",
        "apikeys/services/keys.py",
        "    if key.revoked_at is not None:\n        raise KeyRevoked()\n",
        "",
    ),
)


@dataclass(slots=True)
class Use:
    """One request with a credential. Instants are of this process's monotonic clock."""

    web: int
    sent: float
    ended: float
    is_admitted: bool
    is_gateway: bool


@dataclass(slots=True)
class Case:
    """A credential, and what becomes of it. `change` returns when it is committed."""

    kind: str
    credential: str
    change: Callable[[], Any]
    gateway_alone: bool = False  # the change does not concern the rest of the API
    model: str = ""  # what is called instead of the model of all others
    changed: float | None = None
    ends_at: datetime | None = None  # by the database's clock, when it ends by itself
    uses: list[Use] = field(default_factory=list)


def run(context: Context) -> Result:
    with context.ground.another_database(clock_offset=CLOCK_OFFSET):
        from trust import world

        webs = context.ground.webs(PROCESSES)
        ai_model = world.make_model(context.ground)
        other = world.make_model(context.ground, name="Other")
        for trial in context.each(per=PER):
            cases = [_case(kind, other.pk) for kind in _kinds(trial.random, trial.size)]
            asyncio.run(_watch(cases, webs, ai_model.public_id, trial.random))
            clock = _database_clock(context.ground)
            for case in cases:
                _judge(context, case, clock)
    return context.result()


def _kinds(random: Random, count: int) -> list[str]:
    kinds = sorted(CHANGES)
    return [*random.sample(kinds, min(count, len(kinds))), *random.choices(kinds, k=max(0, count - len(kinds)))]


# --- What is done to a credential ---


def _case(kind: str, other_model_id: Any) -> Case:
    from accounts import services as accounts
    from trust import world

    user = world.make_person()
    if kind in ("logged out", "password changed"):
        pair = accounts.open_family(user=user, client="trust")
        return Case(kind, pair.access, CHANGES[kind](user, pair.refresh))
    if kind == "member removed":
        organization = accounts.create_organization(owner=world.make_person(), name="Trust")
        organization.memberships.create(user=user, role="developer")
        key, secret = world.make_key(user, organization=organization)
    else:
        key, secret = world.make_key(user)
    is_deployments = kind.startswith("deployment")
    case = Case(kind, secret, lambda: None, gateway_alone=is_deployments or kind in ("scope taken", "other models"))
    if is_deployments:
        case.model = f"trust-{uuid7().hex}"
    make = CHANGES[kind]
    if is_deployments:
        case.change = make(key, case, other_model_id)
    else:
        case.change = make(key, other_model_id) if kind == "other models" else make(key, case)
    return case


def _revoke(key: Any, case: Case) -> Callable[[], Any]:
    from apikeys import services

    return lambda: services.revoke_key(key=key)


def _expire(key: Any, case: Case) -> Callable[[], Any]:
    from apikeys import services
    from common import clock

    def change() -> None:
        case.ends_at = clock.now() + LIFE
        services.change_key(key=key, changes={"expires_at": case.ends_at})

    return change


def _rotate(key: Any, case: Case) -> Callable[[], Any]:
    from apikeys import services

    return lambda: services.rotate_key(key=key, overlap_seconds=0)


def _rotate_with_overlap(key: Any, case: Case) -> Callable[[], Any]:
    from apikeys import services

    def change() -> None:
        rotated, _ = services.rotate_key(key=key, overlap_seconds=int(LIFE.total_seconds()))
        case.ends_at = rotated.overlap_until

    return change


def _change(**changes: Any) -> Callable[[Any, Case], Callable[[], Any]]:
    def make(key: Any, case: Case) -> Callable[[], Any]:
        from apikeys import services

        return lambda: services.change_key(key=key, changes=changes)

    return make


def _other_models(key: Any, other_model_id: Any) -> Callable[[], Any]:
    from apikeys import services

    return lambda: services.change_key(key=key, changes={"allowed_models": [other_model_id]})


def _disable_owner(key: Any, case: Case) -> Callable[[], Any]:
    return lambda: type(key.user).objects.filter(pk=key.user_id).update(is_active=False)


def _remove_member(key: Any, case: Case) -> Callable[[], Any]:
    return lambda: key.organization.memberships.filter(user=key.user).delete()


def _close_organization(key: Any, case: Case) -> Callable[[], Any]:
    from common.clock import ClockNow

    return lambda: type(key.organization).objects.filter(pk=key.organization_id).update(closed_at=ClockNow())


def _deployment(change: Callable[[Any], Any]) -> Callable[[Any, Case, Any], Callable[[], Any]]:
    def make(key: Any, case: Case, model_id: Any) -> Callable[[], Any]:
        from gateway import services

        made = services.create_deployment(organization=key.organization, name=case.model, ai_model_id=model_id)
        return lambda: change(made)

    return make


def _pause(deployment: Any) -> None:
    from gateway import services

    services.change_deployment(deployment=deployment, changes={"status": "paused"})


def _delete(deployment: Any) -> None:
    from gateway import services

    services.delete_deployment(deployment=deployment)


def _log_out(user: Any, refresh: str) -> Callable[[], Any]:
    from accounts import services

    return lambda: services.close_family(refresh=refresh)


def _change_password(user: Any, refresh: str) -> Callable[[], Any]:
    from accounts import services

    return lambda: services.change_password(user=user, password="another correct horse 77")


CHANGES: dict[str, Callable[..., Callable[[], Any]]] = {
    "revoked": _revoke,
    "expired": _expire,
    "rotated": _rotate,
    "rotated with overlap": _rotate_with_overlap,
    "scope taken": _change(permissions=["models:read"]),
    "other addresses": _change(allowed_ips=["203.0.113.0/24"]),
    "other models": _other_models,
    "owner disabled": _disable_owner,
    "member removed": _remove_member,
    "organization closed": _close_organization,
    "deployment paused": _deployment(_pause),
    "deployment deleted": _deployment(_delete),
    "logged out": _log_out,
    "password changed": _change_password,
}


# --- Use ---


async def _watch(cases: list[Case], webs: list[Web], model: str, random: Random) -> None:
    """Every credential at every process, all the time; the changes come one after the other."""
    ended = asyncio.Event()
    async with open_session() as session:
        uses = [
            asyncio.create_task(_use(session, case, number, web.url, model, ended, random.random()))
            for case in cases
            for number, web in enumerate(webs)
        ]
        while not all({use.web for use in case.uses} == set(range(len(webs))) for case in cases):
            await asyncio.sleep(0.05)
            _raise_failed(uses)
        for case in cases:
            await asyncio.to_thread(_apply, case)
            await asyncio.sleep(0.1 * random.random())
        await asyncio.sleep(LIFE.total_seconds() + WATCHED_SECONDS)
        ended.set()
        await asyncio.gather(*uses)


def _raise_failed(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()


def _apply(case: Case) -> None:
    from django.db import connections

    try:
        case.change()
        case.changed = time.monotonic()
    finally:
        connections.close_all()


async def _use(
    session: aiohttp.ClientSession, case: Case, number: int, url: str, model: str, ended: asyncio.Event, phase: float
) -> None:
    await asyncio.sleep(phase * PAUSE_SECONDS)
    turn = 0
    while not ended.is_set():
        is_gateway = case.gateway_alone or turn % 5 != 4
        if is_gateway:
            called = case.model or model
            request = Request("POST", f"{url}/api/models/{called}/invoke", {"text": "x"}, case.credential)
        else:
            request = Request("GET", f"{url}/api/auth/me", None, case.credential)
        sent = time.monotonic()
        answer = await send(session, request)
        if answer.status not in ((200, 404, 409) if case.model else (200, 401, 403)):
            raise RuntimeError(f"A process answers {answer}")
        case.uses.append(Use(number, sent, time.monotonic(), answer.status == 200, is_gateway))
        turn += 1
        await asyncio.sleep(PAUSE_SECONDS * (0.8 + 0.4 * phase))


# --- Judgement ---


@dataclass(frozen=True, slots=True)
class Clock:
    """The database's clock against ours: what it showed lies between what these say."""

    shown: datetime
    before: float
    after: float

    def earliest(self, instant: float) -> datetime:
        return self.shown + timedelta(seconds=instant - self.after)

    def latest(self, instant: float) -> datetime:
        return self.shown + timedelta(seconds=instant - self.before)


def _database_clock(ground: Ground) -> Clock:
    from common import clock

    clock.now()  # connects
    before = time.monotonic()
    shown = clock.now()
    return Clock(shown, before, time.monotonic())


def _judge(context: Context, case: Case, clock: Clock) -> None:
    assert case.changed is not None
    for use in case.uses:
        where = "the gateway" if use.is_gateway else "the API"
        if case.ends_at is not None:
            early = (case.ends_at - clock.latest(use.ended)).total_seconds()
            late = (clock.earliest(use.sent) - case.ends_at).total_seconds()
            if use.is_admitted:
                context.worst("late_seconds", max(0.0, late))
                bound = 0 if case.kind == "rotated with overlap" else ALLOWED_SECONDS
                context.expect(late <= bound, f"{case.kind}: {where} of process {use.web} admits it {late:.2f} s later")
            else:
                context.worst("early_seconds", max(0.0, early))
                context.expect(
                    early <= ALLOWED_SECONDS,
                    f"{case.kind}: {where} of process {use.web} refuses it {early:.2f} s early",
                )
        elif use.ended < case.changed - ALLOWED_SECONDS:
            context.expect(use.is_admitted, f"{case.kind}: {where} of process {use.web} refuses it before the change")
        elif use.is_admitted and use.sent > case.changed:
            after = use.sent - case.changed
            context.worst("denied_after_seconds", after)
            context.expect(
                after < ALLOWED_SECONDS, f"{case.kind}: {where} of process {use.web} admits it {after:.2f} s later"
            )
