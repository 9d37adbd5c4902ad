"""Other hosts: whatever a request calls the site, and wherever it asks to be led, nothing names or leads to another.

Parts of T29.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from random import Random
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from tests.pages.visitor import Visitor
from trust.ground import Web
from trust.harness import Context
from trust.http import Client

AT_ONCE = 4
HOSTS, REDIRECTS = 50, 100
EVIL = "evil.example"
SITE = "trust.example"
REDIRECTING = (
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/login/code/",
    "/theme/dark",
    "/accounts/reauthenticate/",
    "/organizations/switch",
)


def at_once(do: Callable[[Any], Any], cases: Iterable[Any]) -> list[Any]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(do, cases))


def person_at(web: Web) -> Visitor:
    from trust import world

    return Visitor(web.url, email=world.make_person().email, password=world.PASSWORD)


def case(context: Context, holds: bool, what: str) -> None:
    context.count()
    context.expect(holds, what)


def try_hosts(context: Context, webs: list[Web]) -> None:
    """The site names itself by its settings, whatever a request calls it."""
    from notifications.models import Message
    from trust import world

    real = urlsplit(webs[0].url).netloc
    cases = [(email, _poison(context.random, number, real)) for number, email in enumerate(world.make_people(HOSTS))]

    def ask(given: tuple[str, dict[str, str]]) -> tuple[str, dict[str, str], int, list[str]]:
        email, headers = given
        answer = Client(webs[0].url, **headers).post("/api/auth/password/reset", {"email": email})
        texts = []
        for path in ("/accounts/login/", "/settings/profile", "/accounts/password/reset/"):
            shown = Visitor(webs[0].url).get(path, **headers)
            texts.append(f"{shown.headers} {shown.text}")
        return email, headers, answer.status, texts

    for email, headers, status, texts in at_once(ask, cases):
        is_refused = "Host" in headers
        wanted = (400, 421) if is_refused else (202,)
        case(context, status in wanted, f"with {headers}, a reset is answered with {status}")
        case(context, not any(EVIL in text for text in texts), f"a page names {EVIL}, with {headers}")
        mails = Message.objects.filter(to_address=email).count()
        case(context, mails == (0 if is_refused else 1), f"{mails} mails are sent with {headers}")
        if mails:
            case(context, EVIL not in world.newest_mail(email), f"a mail names {EVIL}, with {headers}")


def _poison(random: Random, number: int, real: str) -> dict[str, str]:
    port = real.partition(":")[2]
    forms = (EVIL, f"{EVIL}:{port}", f"{real}.{EVIL}", f"{EVIL}#{real}", f"localhost.{EVIL}:80", f"{real}@{EVIL}")
    name = ("Host", "X-Forwarded-Host", "Forwarded", "X-Host", "X-Original-Host")[number % 5]
    host = random.choice(forms)
    return {name: f"host={host};proto=https" if name == "Forwarded" else host}


def try_redirects(context: Context, webs: list[Web]) -> None:
    """Nobody is led to another site: after a log-in, a second look at who is there, a log-out, a choice."""
    visitor = person_at(webs[0])
    visitor.log_in()
    cookies = dict(visitor.cookies)

    def follow(given: tuple[int, str]) -> tuple[str, str, str]:
        number, target = given
        copy = Visitor(webs[0].url, email=visitor.email, password=visitor.password, cookies=dict(cookies))
        path = REDIRECTING[number % len(REDIRECTING)]
        asked = f"{path}?next={quote(target, safe='')}"
        answer = copy.get(asked)
        if path == "/organizations/switch":
            answer = post(copy, path, organization=_own(copy), next=target)
        elif answer.status == 200 and path == "/accounts/reauthenticate/":
            answer = copy.fill(answer, password=visitor.password)
        return path, target, answer.headers.get("location", "")

    every = list(enumerate(islice(_targets(context.random), REDIRECTS)))
    led = 0
    for path, target, place in at_once(follow, every):
        led += bool(place)
        case(context, _stays(place), f"{path} with next={target!r} leads to {place!r}")
    case(context, led >= REDIRECTS // 2, f"only {led} of {REDIRECTS} are led anywhere, which proves little")
    for target in islice(_targets(context.random), 5):
        entering = Visitor(webs[0].url)
        shown = entering.get(f"/accounts/login/?next={quote(target, safe='')}")
        place = entering.fill(shown, login=visitor.email, password=visitor.password).headers.get("location", "")
        case(context, place != "" and _stays(place), f"the log-in with next={target!r} leads to {place!r}")


def post(visitor: Visitor, path: str, **fields: str) -> Any:
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', visitor.get("/settings/profile").text)
    return visitor.send("POST", path, {"csrfmiddlewaretoken": token[1] if token else "", **fields})


def _own(visitor: Visitor) -> str:
    from accounts.models import User

    return str(User.objects.get(email=visitor.email).personal_organization.public_id)


def _targets(random: Random) -> Iterator[str]:
    hosts = (EVIL, f"user@{EVIL}", f"{EVIL}:443", f"localhost.{EVIL}", "2130706433")
    shapes = (
        "https://{}",
        "//{}",
        "///{}",
        "////{}",
        "/\\{}",
        "\\\\{}",
        "\\/{}",
        "http:{}",
        "https:/{}",
        "HtTpS://{}",
        " https://{}",
        "\thttps://{}",
        "https:\\\\{}",
        "/\t/{}",
        "/\n/{}",
        "%2f%2f{}",
        "javascript:alert('{}')",
        "data:text/html,{}",
        "ftp://{}",
        "https://{}%2f@localhost",
    )
    every = [shape.format(host) for shape in shapes for host in hosts]
    random.shuffle(every)
    return iter(every)


def _stays(location: str) -> bool:
    """As a browser reads it: backslashes are slashes, and tabs and line ends are nothing."""
    text = re.sub(r"[\t\r\n]", "", location).strip().replace("\\", "/")
    there = urlsplit(urljoin(f"https://{SITE}/accounts/login/", text))
    return (there.scheme, there.netloc) == ("https", SITE)
