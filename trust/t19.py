"""Rate limits: exactly as many as they say, on three processes at once, at every edge of a window, whatever the clock
does and whoever the caller claims to be.

A trial is a hundred concurrent calls on a limit of ten, at the gateway and at the API; as many with two keys on the
limit of their organization; requests with forged addresses; a window whose edge is crossed; and a clock that jumps. The
forms of pages are counted in fixed windows, as was decided: of them, only forged addresses are tried here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Any

from trust.ground import Web
from trust.harness import Context, Result
from trust.http import Request, burst
from trust.registry import Sabotage

PROCESSES, CALLS, SPOOFS = 3, 100, 20
LIMIT, SHARED_LIMIT = 10, 15  # a minute: of a key or a network, and of an organization
NAMED_LIMIT, DEPLOYMENT = 7, "support"  # of the calls by a deployment's name
TRIES = 3  # of a burst that took so long that it proves nothing
DAY_US = 86_400_000_000
PATIENT = "socket_timeout=20"  # this process may be kept waiting, and shall not count by itself

SABOTAGES = (
    Sabotage(
        "a fixed window",
        "common/gcra.py",
        "    local room = run[j + 2]\n",
        "    local room = run[j + 2]\n    now = math.floor((time[1] * 1000000 + time[2]) / room) * room\n",
    ),
    Sabotage(
        "the left-most forwarded address",
        "common/address.py",
        "_normalize(hops[-trusted_proxies])",
        "_normalize(hops[0])",
    ),
    Sabotage(
        "a forwarded address without a proxy",
        "common/address.py",
        "    if trusted_proxies > 0:\n",
        "    if forwarded_for:\n",
    ),
    Sabotage(
        "each process counts for itself",
        "common/limiter.py",
        "        if not groups:\n            return []\n",
        "        if groups:\n            return self._fallback.decide(groups)\n",
    ),
    Sabotage(
        "read, then write",
        "common/limiter.py",
        "                reply = self._redis.evalsha(SHA, count, *arguments)\n",
        "                now = time.time_ns() // 1000\n"
        "                dues = [max(int(self._redis.get('limit:' + b.key) or 0), now) for b in buckets]\n"
        "                fits = all(d + b.step_us - now <= b.room_us for d, b in zip(dues, buckets))\n"
        "                for due, bucket in zip(dues, buckets):\n"
        "                    if fits:\n"
        "                        self._redis.set('limit:' + bucket.key, due + bucket.step_us, px=600_000)\n"
        "                numbers = [int(fits), *(due - now for due in dues)]\n"
        "                reply = __import__('msgspec').msgpack.encode(numbers)\n",
    ),
    Sabotage(
        "an organization's keys do not share",
        "common/limits.py",
        'Bucket(f"organization:{organization_id}", limit, name="organization")',
        'Bucket(f"organization:{organization_id}", limit * 10, name="organization")',
    ),
    Sabotage(
        "a deployment's limit is not looked at",
        "gateway/hotpath/exchange.py",
        "        if deployed is not None and deployed.buckets:\n",
        "        if False:\n",
    ),
    Sabotage(
        "a clock set back locks out",
        "common/gcra.py",
        "    due = math.min(math.max(due, now), now + room)\n"
        "    fits = math.min(fits, math.floor((now + room - due) / step))\n",
        "    due = math.max(due, now)\n    fits = math.min(fits, math.max(0, math.floor((now + room - due) / step)))\n",
    ),
)


def run(context: Context) -> Result:
    from trust import world

    ground = context.ground
    limits = {
        "API_RATE_PER_MINUTE": str(LIMIT),
        "AUTH_RATE_PER_MINUTE": str(LIMIT),
        "ORGANIZATION_RATE_PER_MINUTE": str(SHARED_LIMIT),
    }
    webs = ground.start_webs(PROCESSES, **limits)
    behind_proxy = ground.start_web(**limits, TRUSTED_PROXIES="1")
    ai_model = world.make_model(ground)
    path = f"/api/models/{ai_model.public_id}/invoke"
    named = Request("POST", f"/api/models/{DEPLOYMENT}/invoke", {"text": "x"})
    call, read = Request("POST", path, {"text": "x"}), Request("GET", "/api/models")
    pace = Pace()
    with ThreadPoolExecutor(1) as aside:
        for trial in context.each():
            edge = aside.submit(
                _cross_an_edge, context, Random(trial.random.getrandbits(64))
            )  # which is mostly waiting
            _exactly(context, pace, webs, "calls of a model", call, keys=1, limit=LIMIT)
            _exactly(context, pace, webs, "requests to the API", read, keys=1, limit=LIMIT)
            shared = trial.random.choice([call, read])
            what = "requests with two keys of an organization"
            _exactly(context, pace, webs, what, shared, keys=2, limit=SHARED_LIMIT)
            if trial.number % 2 == 0:
                what = "calls by a deployment's name with two keys"
                _exactly(context, pace, webs, what, named, keys=2, limit=NAMED_LIMIT, deployed=ai_model.pk)
            edge.result()  # what follows clears the buckets
            for where in ("/api/auth/login", "/accounts/login/"):
                _spoof(context, pace, webs, where, trial.random, proxies=0)
                _spoof(context, pace, [behind_proxy], where, trial.random, proxies=1)
            _jump(context, trial.random)
    pace.require()
    return context.result()


def _alone(webs: list[Web]) -> int:
    """How often a process had to count for itself, as it should when Redis keeps it waiting: then nothing is exact."""
    logs = [web.log.read_bytes() for web in webs]
    return sum(log.count(b"rate limits are local for a moment") + log.count(b"cache_away") for log in logs)


@dataclass(slots=True)
class Pace:
    """How many bursts were over before one more was admitted, rightly. The others cannot say how many exactly."""

    fast: int = 0
    slow: int = 0

    def require(self) -> None:
        if self.slow > self.fast:
            raise RuntimeError(f"{self.slow} of {self.slow + self.fast} bursts took too long here to say anything.")


def _exactly(
    context: Context,
    pace: Pace,
    webs: list[Web],
    what: str,
    request: Request,
    *,
    keys: int,
    limit: int,
    deployed: Any = None,
) -> None:
    """A hundred at once, over all processes, with fresh keys of a fresh organization. deployed: the model that it calls
    by a name of its own, which has the limit."""
    from gateway.services import create_deployment
    from trust import world

    step_seconds = 60 / limit  # after which one more is admitted, rightly
    for _ in range(TRIES):
        user = world.make_person()
        secrets = [world.make_key(user, rate_limit=LIMIT)[1] for _ in range(keys)]
        if deployed is not None:
            create_deployment(
                organization=user.personal_organization, name=DEPLOYMENT, ai_model_id=deployed, rate_limit=limit
            )
        calls = [
            Request(request.method, webs[number % len(webs)].url + request.url, request.body, secrets[number % keys])
            for number in range(CALLS)
        ]
        alone, began = _alone(webs), time.monotonic()
        statuses = [answer.status for answer in burst(calls)]
        seconds = time.monotonic() - began
        if _alone(webs) > alone:
            continue
        context.worst("burst_seconds", seconds)
        admitted = statuses.count(200)
        others = sorted(set(statuses) - {200, 429})
        context.expect(not others, f"of {CALLS} {what}, some are answered {others}")
        most = limit + int(seconds / step_seconds)
        context.expect(limit <= admitted <= most, f"of {CALLS} {what} at a limit of {limit}, {admitted} are admitted")
        if seconds < step_seconds:
            context.worst(f"admitted_at_a_limit_of_{limit}", admitted)
            pace.fast += 1
            return
    pace.slow += 1


def _spoof(context: Context, pace: Pace, webs: list[Web], where: str, random: Random, *, proxies: int) -> None:
    """Who claims to be many is one. What is counted is a try to log in; a proxy of ours appends who asked it."""
    ground = context.ground

    def buckets() -> set[bytes]:
        """Of the API's limits, and of the pages', which are in the cache."""
        with ground.redis() as client:
            return {key for pattern in ("limit:*", "*rl:*") for key in client.scan_iter(pattern, count=1000)}

    def tries(headers: list[dict[str, str]]) -> list[int]:
        if proxies:
            for given in headers:
                forwarded = given.pop("X-Forwarded-For", "")
                given["X-Forwarded-For"] = f"{forwarded}, 203.0.113.7" if forwarded else "203.0.113.7"
        requests = [
            Request("POST", webs[number % len(webs)].url + where, {}, headers=given)
            for number, given in enumerate(headers)
        ]
        return [answer.status for answer in burst(requests)]

    is_page = not where.startswith("/api")
    step_seconds = 60 / LIMIT
    for _ in range(TRIES):
        with ground.redis() as client:
            client.delete(*buckets(), "limit:none")
        tries([{}])
        honest = buckets()
        context.expect(bool(honest), f"a try at {where} is not counted")
        with ground.redis() as client:
            client.delete(*honest, "limit:none")
        alone, began = _alone(webs), time.monotonic()
        statuses = tries([dict(_claims(random)) for _ in range(SPOOFS)])
        seconds = time.monotonic() - began
        strange = buckets() - honest
        if _alone(webs) > alone or (is_page and len(strange) == 1):
            continue  # a new window of the clock began meanwhile, which is another bucket
        context.expect(not strange, f"a forged address made a bucket: {sorted(strange)[:3]}")
        admitted = sum(status != 429 for status in statuses)
        most = LIMIT + int(seconds / step_seconds)
        context.expect(
            LIMIT <= admitted <= most, f"of {SPOOFS} tries at {where} with forged addresses, {admitted} are admitted"
        )
        if seconds < step_seconds:
            pace.fast += 1
            return
    pace.slow += 1


def _claims(random: Random) -> Iterator[tuple[str, str]]:
    """Some headers that say where a request comes from."""
    for name in random.sample(
        ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP"],
        random.randint(1, 6),
    ):
        address = str(random.choice([_ipv4, _ipv6])(random))
        match name:
            case "X-Forwarded-For":
                rest = [str(_ipv4(random)) for _ in range(random.randint(0, 3))]
                yield name, random.choice([", ", ","]).join([address, *rest])
            case "Forwarded":
                quoted = f'"[{address}]:4711"' if ":" in address else address
                yield name, f"for={quoted};proto=https;by=203.0.113.43"
            case _:
                yield name, address


def _ipv4(random: Random) -> IPv4Address:
    return IPv4Address(random.getrandbits(32))


def _ipv6(random: Random) -> IPv6Address:
    return IPv6Address(random.getrandbits(128))


def _cross_an_edge(context: Context, random: Random) -> None:
    """As many as one can, around the end of a window of the clock: never more than the burst and what refills."""
    from common.limiter import Bucket, Limiter

    period = random.choice([1, 2])
    limit = random.choice([10, 20, 40])
    size = random.choice([limit, limit // 2])
    bucket = Bucket(f"trust-edge:{random.getrandbits(64)}", limit, period, size)
    limiter = Limiter(f"{context.ground.redis_url}&{PATIENT}")
    limiter.check(Bucket("trust-warm", 1))
    with context.ground.redis() as client:
        seconds, micros = client.time()
    time.sleep((period - (seconds + micros / 1_000_000) - 0.1 * random.random()) % period)
    until = time.monotonic() + 0.4
    admitted: list[tuple[float, float]] = []
    tried = 0
    while (before := time.monotonic()) < until or tried < 2 * size:
        tried += 1
        if limiter.check(bucket).allowed:
            admitted.append((before, time.monotonic()))
    limiter.close()
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            span = admitted[last][1] - admitted[first][0]  # no shorter than it was for Redis
            count = last - first + 1
            if count > size + span * limit / period:
                context.violation(f"{count} are admitted in {span:.3f} s: burst {size}, {limit} per {period} s")
                return
    context.expect(len(admitted) >= size, f"only {len(admitted)} of a burst of {size} are admitted")


def _jump(context: Context, random: Random) -> None:
    """The clock of Redis jumps. All it knows of a bucket is one instant, so moving that is moving the clock."""
    from common.limiter import Bucket, Limiter

    limiter = Limiter(f"{context.ground.redis_url}&{PATIENT}")
    for direction in (-1, 1):
        size = random.randint(2, 20)
        bucket = Bucket(f"trust-jump:{random.getrandbits(64)}", size, 600)
        for _ in range(size):
            limiter.check(bucket)
        context.expect(not limiter.check(bucket).allowed, "a bucket that was emptied admits one more")
        jump = direction * random.randint(1, 10 * DAY_US)
        with context.ground.redis() as client:
            due = int(client.get(f"limit:{bucket.key}") or 0)
            client.set(f"limit:{bucket.key}", due - jump, px=86_400_000)
        decisions = [limiter.check(bucket) for _ in range(3 * size)]
        admitted = sum(decision.allowed for decision in decisions)
        context.expect(admitted <= size, f"after a jump of the clock {admitted} of a burst of {size} are admitted")
        longest = max(decision.reset_seconds for decision in decisions)
        context.expect(longest <= 600 + 1, f"after a jump of the clock a bucket is full again in {longest} s of 600")
    limiter.close()
