"""Without Valkey calls are answered, limited and paid.

A trial is one mishap under load on two processes: its memory is emptied, it is killed and stays away, it is stopped,
it answers five seconds late, it wants a password that nobody gave. Nearly every call must be answered meanwhile; a key
that is limited may do what its limit says, and no more than twice that; and afterwards Valkey counts again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis

from config.servers import Valkey
from trust.harness import Context, Result, Trial
from trust.http import Client
from trust.registry import Sabotage
from trust.wire import Wire

if TYPE_CHECKING:
    from trust.calls import Load, Market

PROCESSES = 2
LIMIT = 20  # a minute, of the limited keys: as many at once, and one every three seconds
AWAY_SECONDS, AWAY_SECONDS_OF_FULL = 1.2, 20.0  # at least: on a slow machine as long as it takes to reach the limit
LATE_SECONDS = 5.0
GOOD_SHARE = 0.99
BACK_SECONDS = 10.0
KINDS = ("emptied", "killed", "stopped", "late", "locked")

SABOTAGES = (
    Sabotage(
        "the limiter raises",
        "common/limiter.py",
        "            self._fallback.open(error)\n            return self._fallback.decide(groups)\n"
        "        return _decide(runs, reply)\n\n    async def _ask",
        "            raise\n        return _decide(runs, reply)\n\n    async def _ask",
    ),
    Sabotage(
        "the limiter lets everything pass",
        "common/limiter.py",
        "        return step, size, due, due + step - now <= size * step\n",
        "        return step, size, due, True\n",
    ),
    Sabotage(
        "the limiter lets nothing pass",
        "common/limiter.py",
        "        return step, size, due, due + step - now <= size * step\n",
        "        return step, size, due, False\n",
    ),
    Sabotage(
        "each process allows the whole limit",
        "common/limiter.py",
        "        self._processes = max(1, processes)\n",
        "        self._processes = 0.25\n",
    ),
)


def run(context: Context) -> Result:
    from trust.calls import Confirming, Load, Market
    from trust.own import own_valkey
    from trust.reckoning import Books

    ground = context.ground
    with ground.another_database(), own_valkey(ground) as valkey, Wire(valkey.socket, "valkey.sock") as wire:
        url = f"unix://{wire.path}?db=0"
        webs = ground.start_webs(PROCESSES, REDIS_URL=url, LIMITER_PROCESSES=str(PROCESSES))
        endpoint = Confirming(ground, slowest_seconds=0.03)
        books, market = Books(context, endpoint), Market.open(ground)
        mishaps = Mishaps(context, valkey, wire)
        with Load(market, [web.url for web in webs], callers=6, pause_seconds=0.01) as load:
            load.go()
            load.wait(50)
            for turn, trial in enumerate(context.each()):
                _try(context, mishaps, load, market, trial, KINDS[turn % len(KINDS)])
                load.rest()
                books.judge_answers(load.made)
                load.go()
            load.rest()
        books.judge_rest()
        books.judge_confirmed()
        context.worst("calls", len(load.made))
        endpoint.close()
    return context.result()


def _try(context: Context, mishaps: Mishaps, load: Load, market: Market, trial: Trial, kind: str) -> None:
    """One mishap, and what a limited key may do during it."""
    from trust import world

    key, secret = world.make_key(market.consumer, rate_limit=LIMIT)
    first = len(load.made)
    market.refill(context.ground.owner_url)
    seconds = AWAY_SECONDS_OF_FULL if context.is_full and trial.number % 10 < len(KINDS) else AWAY_SECONDS
    pusher = Pusher(market, load.urls, secret)
    with mishaps.of(kind):
        seconds = pusher.push(seconds)
        load.wait(load.begun + 20)
    back = time.monotonic()
    context.expect(mishaps.counts_again(secret, key, market, load.urls), f"{kind}: Valkey does not count again")
    context.worst("seconds_until_it_counts", time.monotonic() - back)
    made = load.made[first:]
    good = sum(call.is_answered or call.status == 402 for call in made)
    context.worst("refused_share", 1 - good / max(1, len(made)))
    context.expect(len(made) >= 20, f"{kind}: only {len(made)} calls were made meanwhile")
    context.expect(good >= GOOD_SHARE * len(made), f"{kind}: only {good} of {len(made)} calls are answered")
    allowed = LIMIT + seconds * LIMIT / 60
    context.worst("times_the_limit", pusher.admitted / allowed)
    times = f"{pusher.admitted} of {pusher.tried} calls are admitted at a limit of {LIMIT} in {seconds:.1f} s"
    context.expect(pusher.admitted >= LIMIT, f"{kind}: only {times}")
    context.expect(pusher.admitted <= 2 * allowed, f"{kind}: {times}")


class Pusher:
    """Somebody who calls as often as the processes answer, with a key that is limited."""

    def __init__(self, market: Market, urls: list[str], secret: str) -> None:
        self._path, self._body = market.request("json")
        self._urls, self._secret = urls, secret
        self.admitted = self.tried = 0
        self._lock = threading.Lock()

    def push(self, seconds: float) -> float:
        """At least so long, and until each process was asked for all that the limit allows. Returns the seconds."""
        began = time.monotonic()
        until = began + seconds
        threads = [threading.Thread(target=self._push, args=(url, until)) for url in self._urls for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.monotonic() - began

    def _push(self, url: str, until: float) -> None:
        client = Client(url, self._secret)
        tried = 0
        while time.monotonic() < until or tried < LIMIT:
            tried += 1
            status = client.post(self._path, self._body).status
            with self._lock:
                self.tried += 1
                self.admitted += status == 200
            time.sleep(0.01)


class Mishaps:
    """What befalls Valkey."""

    def __init__(self, context: Context, valkey: Valkey, wire: Wire) -> None:
        self._context, self._valkey, self._wire = context, valkey, wire

    def _client(self, **options: Any) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self._valkey.socket), **options)

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        """It lasts as long as the block, but for the memory, which is emptied in its midst."""
        pid = self._valkey.process.pid if self._valkey.process else 0
        match kind:
            case "emptied":
                with self._client() as client:
                    timer = threading.Timer(AWAY_SECONDS / 2, client.flushall)
                    timer.start()
                    yield
                    timer.join()
            case "killed":
                os.kill(pid, signal.SIGKILL)
                yield
                self._valkey.start()
            case "stopped":
                os.kill(pid, signal.SIGSTOP)
                try:
                    yield
                finally:
                    os.kill(pid, signal.SIGCONT)
            case "late":
                self._wire.delay_seconds = LATE_SECONDS
                yield
                self._wire.delay_seconds = 0
                self._wire.hang_up()  # what is still on its way would be late all the same
            case "locked":
                with self._client() as client:
                    client.config_set("requirepass", "nobody-knows")
                    self._wire.hang_up()
                    yield
                with self._client(password="nobody-knows") as client:
                    client.config_set("requirepass", "")

    def counts_again(self, secret: str, key: Any, market: Market, urls: list[str]) -> bool:
        """Whether both processes ask Valkey once more: what it knows of the key goes when one of them is asked."""
        deadline = time.monotonic() + BACK_SECONDS
        path, body = market.request("json")
        for url in urls:
            while not self._is_counted(Client(url, secret), path, body, f"limit:key:{key.pk}"):
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
        return True

    def _is_counted(self, client: Client, path: str, body: Any, name: str) -> bool:
        with contextlib.suppress(redis.RedisError), self._client() as valkey:
            valkey.delete(name)
            client.post(path, body)
            return bool(valkey.exists(name))
        return False
