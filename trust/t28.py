"""Whoever asks about an address learns nothing: with or without an account, the answer is the same in status, headers
and body, as many mails leave, and as much work is done for it. And whoever guesses at one account, from however many
networks and at however many processes, gets ten tries an hour, while its owner still gets in.

A trial is one question at one door. They are asked in pairs: about an address with an account, and one without.
"""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.pages.visitor import Visitor
from trust.ground import Web
from trust.harness import Context, Result, Trial
from trust.http import Client, Request, burst
from trust.registry import Sabotage

PER, AT_ONCE = 40, 4  # trials that are made together, and pairs that are asked at the same time
PROCESSES = 3
GUESSES, GUESSES_FULL, BURST = 200, 10_000, 50
GUESSES_ALLOWED = 10
WORK_SAMPLES = 5
SAMPLES, SAMPLES_FULL = 25, 200
SLOWER_SECONDS = 0.002
CONTROL_TIMES = 3  # what two groups of unknown addresses differ by, is noise

SABOTAGES = (
    Sabotage(
        "early return for unknown user",
        "accounts/services/login.py",
        "    user = authenticate(None, email=email, password=password)\n",
        "    if _verified_owner(email) is None:\n        raise LoginFailed()\n"
        "    user = authenticate(None, email=email, password=password)\n",
    ),
    Sabotage(
        "no mail to an address without an account",
        "accounts/services/passwords.py",
        "        mails.mail_unknown_account(email=email)\n",
        "        pass\n",
    ),
    Sabotage(
        "no mail to an address that is taken",
        "accounts/services/registration.py",
        "                mails.mail_account_exists(user=user, email=email)\n",
        "                pass\n",
    ),
    Sabotage(
        "the sign-up says that an address is taken",
        "accounts/services/registration.py",
        "            _open_and_forget(hashed=hashed, name=name, organization=organization, at=at)\n",
        "            raise CodeInvalid()\n",
    ),
    Sabotage(
        "a code for those with an account alone",
        "accounts/services/login.py",
        "            mails.mail_unknown_account(email=email)\n",
        "            pass\n",
    ),
    Sabotage(
        "the pages tell",
        "config/settings.py",
        "ACCOUNT_PREVENT_ENUMERATION = True",
        "ACCOUNT_PREVENT_ENUMERATION = False",
    ),
    Sabotage("five hundred guesses at once", "accounts/services/guesses.py", "\nAT_ONCE = 5", "\nAT_ONCE = 500"),
    Sabotage(
        "each process counts guesses for itself",
        "accounts/services/guesses.py",
        'Bucket(f"guess:{subject}", AT_ONCE',
        "Bucket(f\"guess:{__import__('os').getpid()}:{subject}\", AT_ONCE",
    ),
    Sabotage(
        "a guess counts after it was looked at",
        "accounts/services/guesses.py",
        "    if not decision.allowed:\n        raise",
        "    if not decision.allowed and decision.retry_after_seconds > HOUR:\n        raise",
    ),
    Sabotage(
        "no device is known",
        "accounts/services/guesses.py",
        "    device = current_device().key_for(owner)\n",
        "    device = None\n",
    ),
    Sabotage(
        "codes of the mail are not counted",
        "accounts/services/login.py",
        "    guess = begin_guess(email=email)\n    user, row = _claim(email, code)\n",
        "    from accounts.services.guesses import Guess\n    guess = Guess(())\n    user, row = _claim(email, code)\n",
    ),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """All that somebody sees of an answer, without what differs between any two."""

    status: tuple[int, ...]
    headers: tuple[str, ...]
    cookies: tuple[str, ...]
    body: str


# --- Doors ---

#: At an address of a process, about an e-mail address: every answer on the way, and the names of the cookies.
Door = Callable[[str, str], tuple[list[Any], tuple[str, ...]]]


def _api(path: str, **fields: str) -> Door:
    return lambda url, email: ([Client(url).post(path, {"email": email, **fields})], ())


def _page(path: str, name: str, then: str = "", /, **fields: str) -> Door:
    """then: a code that is typed on the next page."""

    def ask(url: str, email: str) -> tuple[list[Any], tuple[str, ...]]:
        visitor = Visitor(url)
        seen = _submit(visitor, path, **{name: email, **fields})
        if then and b'name="code"' in seen[-1].body:  # one that is told more at once has been told enough
            seen.append(visitor.fill(seen[-1], code=then))
        return seen, tuple(visitor.cookies)

    return ask


def _submit(visitor: Visitor, path: str, **fields: str) -> list[Any]:
    answer = visitor.submit(path, **fields)
    return [answer, visitor.get(answer.headers["location"])] if answer.status == 302 else [answer]


def _invite(url: str, email: str) -> tuple[list[Any], tuple[str, ...]]:
    from accounts import services as accounts

    user = _insider()
    organization = accounts.create_organization(owner=user, name="Trust")
    access = accounts.open_family(user=user, client="trust").access
    path = f"/api/organizations/{organization.public_id}/invitations"
    return [Client(url, access).post(path, {"email": email, "role": "member"})], ()


def _add_address(url: str, email: str) -> tuple[list[Any], tuple[str, ...]]:
    """By somebody who showed their password just now."""
    from django.test import Client as Browser

    browser = Browser()
    browser.force_login(_insider())
    session = browser.session
    session["account_authentication_methods"] = [{"method": "password", "at": time.time()}]
    session.save()
    cookies = {name: cookie.value for name, cookie in browser.cookies.items()}
    visitor = Visitor(url, cookies=cookies)
    return _submit(visitor, "/accounts/email/", email=email, action_add=""), tuple(visitor.cookies)


def _insider() -> Any:
    """Somebody with an account, who asks about others."""
    from accounts import services as accounts
    from trust import world

    return accounts.open_account(email=world.new_address(), password=None, name="Ida")


WRONG_PASSWORD, CODE = "a wrong password 1", "WRONG234"
NEWCOMER = {"password1": "a long password 12", "name": "Nora"}
DOORS: dict[str, Door] = {
    "API: log-in": _api("/api/auth/login", password=WRONG_PASSWORD),
    "API: sign-up": _api("/api/auth/register", password="a long password 12", name="Nora"),
    "API: reset": _api("/api/auth/password/reset"),
    "API: verification": _api("/api/auth/verify-email", code=CODE),
    "API: code": _api("/api/auth/login/code"),
    "API: log-in by code": _api("/api/auth/login/code/confirm", code=CODE),
    "page: log-in": _page("/accounts/login/", "login", password=WRONG_PASSWORD),
    "page: sign-up and verification": _page("/accounts/signup/", "email", CODE, **NEWCOMER),
    "page: reset": _page("/accounts/password/reset/", "email"),
    "page: log-in by code": _page("/accounts/login/code/", "email", CODE),
    "API: invitation": _invite,
    "page: another address": _add_address,
}
#: What differs between any two answers: addresses, ids, tokens of forms, times.
OWN = re.compile(
    r"[0-9a-f]{32}@example\.org|[0-9a-f]{32}%40example\.org|\b(?:req|ivt|evt|org|usr)_[0-9a-z]{26}|[A-Za-z0-9]{64}"
    r"|\d{4}-\d\d-\d\dT[0-9:.+Z]+|\d+\s[a-z]+\sago"
    r"|\b9999\d\d\b"  # what is left of a million, which the asker's own network may use
)
CHANGING = {"date", "expires", "x-request-id", "set-cookie", "content-length", "etag"}


def run(context: Context) -> Result:
    webs = context.ground.webs(2)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for trial in context.each(per=PER):
            _ask(context, webs, trial, pool)
    if context.shard[0] == 1:
        _passkeys(context, webs[0])
        _work(context, webs[0])
        _guess(context)
        if context.timing:
            _time(context, webs[0].url)
    return context.result()


def _ask(context: Context, webs: list[Web], trial: Trial, pool: ThreadPoolExecutor) -> None:
    from trust import world

    pairs = (trial.size + 1) // 2
    known, unknown = world.make_people(pairs), _addresses(pairs)
    names = list(DOORS)
    orders = [trial.random.random() < 0.5 for _ in range(pairs)]

    def ask(position: int) -> tuple[str, Seen, Seen]:
        from django.db import connection

        name = names[(trial.number // 2 + position) % len(names)]
        pair = [known[position], unknown[position]]
        if orders[position]:
            pair.reverse()
        seen = {email: _seen(*DOORS[name](webs[position % len(webs)].url, email)) for email in pair}
        connection.close()  # this thread's
        return name, seen[known[position]], seen[unknown[position]]

    found = list(pool.map(ask, range(pairs)))
    mails = _mail_counts([*known, *unknown])
    for position, (name, of_known, of_unknown) in enumerate(found):
        usual = all(status < 500 and status not in (403, 404, 405, 429) for status in of_known.status)
        context.expect(usual, f"{name} is answered {of_known.status}, which proves nothing")
        for part in ("status", "headers", "cookies", "body"):
            left, right = getattr(of_known, part), getattr(of_unknown, part)
            context.expect(left == right, f"{name}: the {part} tells who has an account: {_difference(left, right)}")
        counts = mails.get(known[position], 0), mails.get(unknown[position], 0)
        context.expect(counts[0] == counts[1], f"{name}: {counts[0]} mails to a known address, {counts[1]} to others")


def _addresses(count: int) -> list[str]:
    from trust import world

    return [world.new_address() for _ in range(count)]


def _seen(answers: list[Any], cookies: tuple[str, ...]) -> Seen:
    return Seen(
        tuple(answer.status for answer in answers),
        tuple(_plain(name, value) for answer in answers for name, value in sorted(answer.headers.items())),
        tuple(sorted(cookies)),
        "\n".join(OWN.sub("…", answer.body.decode()) for answer in answers),
    )


def _plain(name: str, value: str) -> str:
    """A header without what differs between any two answers."""
    if name in CHANGING:
        return f"{name}: …"
    if name == "content-security-policy":  # whose parts come in any order
        value = "; ".join(sorted(value.split("; ")))
    return f"{name}: {OWN.sub('…', value)}"


def _difference(left: Any, right: Any) -> str:
    if isinstance(left, str):
        shorter = min(len(left), len(right))
        at = next((i for i in range(shorter) if left[i] != right[i]), shorter)
        return f"{left[max(0, at - 20) : at + 60]!r} and {right[max(0, at - 20) : at + 60]!r}"
    return f"{sorted(set(left) - set(right))} and {sorted(set(right) - set(left))}"


def _mail_counts(addresses: list[str]) -> dict[str, int]:
    from django.db.models import Count

    from notifications.models import Message

    rows = Message.objects.filter(to_address__in=addresses).values_list("to_address").annotate(Count("id"))
    return dict(rows)


def _passkeys(context: Context, web: Web) -> None:
    """What a browser is given before it shows whose passkeys it has: the same for everybody."""
    answer = Visitor(web.url).get("/accounts/2fa/webauthn/login/", X_Requested_With="XMLHttpRequest")
    allowed = re.search(rb'"allowCredentials":\s*\[[^\]]', answer.body)
    context.expect(answer.status == 200 and b'"challenge"' in answer.body, f"passkeys: {answer.status}")
    context.expect(allowed is None, "the options of a log-in by passkey name passkeys before anybody is known")


# --- Work ---


def _work(context: Context, web: Web) -> None:
    """The processor's time is no shorter where there is no account: a clock on the wall would need a quiet machine."""
    from trust import world

    for name in ("API: log-in", "API: sign-up"):
        spent = {}
        for group, addresses in (("known", world.make_people(WORK_SAMPLES)), ("unknown", _addresses(WORK_SAMPLES))):
            before = _seconds_of(web)
            for email in addresses:
                DOORS[name](web.url, email)
            spent[group] = _seconds_of(web) - before
        apart = max(spent.values()) / max(min(spent.values()), 0.001)
        context.worst("times_more_work", apart)
        context.expect(apart < 2, f"{name}: {spent['known']:.2f} s of work for accounts, {spent['unknown']:.2f} s else")


def _seconds_of(web: Web) -> float:
    """Of the processor, that the process has used so far."""
    fields = Path(f"/proc/{web.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- Guessing ---


def _guess(context: Context) -> None:
    """Many wrong passwords and codes, each from a network of its own, at three processes; then the right one, by a
    stranger and by the owner."""
    from trust import world

    webs = context.ground.start_webs(PROCESSES, TRUSTED_PROXIES="1")
    for code_every in (0, 2):  # passwords alone; and codes of the mail in between
        user = world.make_person()
        owner = Visitor(webs[0].url, email=user.email, password=world.PASSWORD)
        owner.log_in()
        owner.cookies = {name: value for name, value in owner.cookies.items() if "session" not in name}
        through = 0
        for begin in range(0, GUESSES_FULL if context.is_full else GUESSES, BURST):
            guesses = [
                _wrong(webs[n % PROCESSES].url, user.email, context.random, by_code=bool(code_every and n % code_every))
                for n in range(begin, begin + BURST)
            ]
            through += sum(answer.status != 429 for answer in burst(guesses))
        context.worst("guesses_that_get_through", through)
        context.expect(through <= GUESSES_ALLOWED, f"{through} guesses at one account got through")
        context.expect(through > 0, "no guess got through at all, which proves nothing")
        right = burst([_wrong(webs[1].url, user.email, context.random, password=world.PASSWORD)])[0]
        context.expect(right.status == 429, f"whoever guessed too often is told a right password with {right.status}")
        answer = owner.submit("/accounts/login/", login=user.email, password=world.PASSWORD)
        context.expect(answer.status == 302, f"the owner is locked out of a known device: {answer.status}")


def _wrong(url: str, email: str, random: Random, *, password: str = "", by_code: bool = False) -> Request:
    network = ".".join(str(random.randint(1, 250)) for _ in range(4))
    headers = {"X-Forwarded-For": network}
    if by_code:
        return Request("POST", f"{url}/api/auth/login/code/confirm", {"email": email, "code": CODE}, headers=headers)
    body = {"email": email, "password": password or f"guess {random.getrandbits(64)}"}
    return Request("POST", f"{url}/api/auth/login", body, headers=headers)


# --- Time ---


def _time(context: Context, url: str) -> None:
    from trust import world

    count = SAMPLES_FULL if context.is_full else SAMPLES
    for name in ("API: log-in", "API: sign-up", "API: reset", "API: code"):
        groups = {"known": world.make_people(count), "unknown": _addresses(count), "control": _addresses(count)}
        taken: dict[str, list[float]] = {group: [] for group in groups}
        for position in range(count):
            order = list(groups)
            context.random.shuffle(order)
            for group in order:
                began = time.perf_counter()
                DOORS[name](url, groups[group][position])
                taken[group].append(time.perf_counter() - began)
        median = {group: statistics.median(values) for group, values in taken.items()}
        noise = abs(median["unknown"] - median["control"])
        apart = abs(median["known"] - median["unknown"])
        context.worst(f"{name.partition(': ')[2].replace('-', '_')}_ms_apart", apart * 1000)
        allowed = max(SLOWER_SECONDS, CONTROL_TIMES * noise)
        context.expect(apart <= allowed, f"{name}: {apart * 1000:.1f} ms tell who has an account")
