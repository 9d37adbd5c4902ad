"""Refresh tokens work once. Whoever fires twice by accident stays in; when two hold one token, both are out.

A trial is one family that is refreshed by twenty at once, one that is stolen, and one that ends in another way and is
then tried again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random
from typing import Any

from trust.ground import Web
from trust.harness import Context, Result
from trust.http import Answer, Request, burst
from trust.registry import Sabotage

PROCESSES, AT_ONCE, PEOPLE = 3, 20, 5
GRACE_SECONDS = 10
TRIES = 5
OWN, OTHER = "own client", "other client"
ENDINGS = ("parent", "grandparent", "late double fire", "logout", "password")

SABOTAGES = (
    Sabotage(
        "read, then write",
        "accounts/services/tokens.py",
        '            "   AND t.used_at IS NULL AND t.expires_at > clock_now()"\n',
        '            "   AND (SELECT used_at FROM accounts_refreshtoken r WHERE r.id = t.id) IS NULL"\n'
        '            "   AND t.expires_at > clock_now()"\n',
    ),
    Sabotage(
        "no grace",
        "accounts/services/tokens.py",
        "GRACE = timedelta(seconds=10)",
        "GRACE = timedelta(seconds=0)",
    ),
    Sabotage(
        "grace for every client",
        "accounts/services/tokens.py",
        " and family.client == client and ",
        " and ",
    ),
    Sabotage(
        "grace without an end",
        "accounts/services/tokens.py",
        " and token.at < token.used_at + GRACE:",
        ":",
    ),
    Sabotage(
        "a second use is only refused",
        "accounts/services/tokens.py",
        '        if _revoke(family.pk, "reuse"):\n',
        "        if False:\n",
    ),
    Sabotage(
        "a new password leaves families alone",
        "accounts/services/tokens.py",
        "    RefreshFamily.objects.filter(user=user, revoked_at=None).update(revoked_at=ClockNow(), reason=reason)\n",
        "",
    ),
    Sabotage(
        "nobody is told",
        "accounts/services/tokens.py",
        '            mails.mail_notice(user=user, kind="session_ended")\n',
        "",
    ),
)


@dataclass(slots=True)
class Family:
    """A sign-in: its newest tokens. All are from the client `OWN`."""

    user: Any
    access: str
    refresh: str


class Attack:
    def __init__(self, context: Context, webs: list[Web]) -> None:
        self.context, self.webs = context, webs
        self.turn = 0
        self.notices: dict[Any, int] = {}  # by person: how many mails they must have

    def ask(self, refresh: str, agent: str = OWN) -> Request:
        self.turn += 1
        url = f"{self.webs[self.turn % len(self.webs)].url}/api/auth/refresh"
        return Request("POST", url, {"refresh": refresh}, headers={"User-Agent": agent})

    def refresh(self, refresh: str, agent: str = OWN) -> Answer:
        return burst([self.ask(refresh, agent)])[0]

    def open(self, user: Any) -> Family:
        """A sign-in of the client `OWN`, as the API's login makes it after the password was right."""
        from accounts import services as accounts

        user.refresh_from_db()
        client = accounts.fingerprint(address="127.0.0.1", user_agent=OWN)
        pair = accounts.open_family(user=user, client=client)
        return Family(user, pair.access, pair.refresh)

    def successors_of(self, refresh: str) -> int:
        from accounts.models import RefreshToken
        from accounts.services.digests import all_digests

        return RefreshToken.objects.filter(parent__digest__in=all_digests("refresh", refresh)).count()

    def is_in(self, access: str) -> bool:
        url = f"{self.webs[self.turn % len(self.webs)].url}/api/auth/me"
        return burst([Request("GET", url, credential=access)])[0].status == 200

    def expect_dead(self, family: Family, newest: str, access: str, what: str) -> None:
        began = time.monotonic()
        answer = self.refresh(newest)
        self.context.expect(answer.status == 401, f"{what}: the newest token still works: {answer}")
        self.context.expect(not self.is_in(access), f"{what}: the access token still works")
        self.context.worst("dead_after_seconds", time.monotonic() - began)

    def told(self, family: Family) -> None:
        self.notices[family.user.pk] = self.notices.get(family.user.pk, 0) + 1


def run(context: Context) -> Result:
    from trust import world

    attack = Attack(context, context.ground.webs(PROCESSES))
    people = [world.make_person() for _ in range(PEOPLE)]
    for trial in context.each():
        user = people[trial.number % PEOPLE]
        _double_fire(attack, user)
        _theft(attack, user, trial.random)
        _ending(attack, user, ENDINGS[trial.number % len(ENDINGS)], trial.random)
    _count_mails(attack, people)
    return context.result()


def _double_fire(attack: Attack, user: Any) -> None:
    """Twenty at once by the client itself: one successor, which all of them get, and nobody is logged out."""
    context = attack.context
    for _ in range(TRIES):
        family = attack.open(user)
        began = time.monotonic()
        answers = burst([attack.ask(family.refresh) for _ in range(AT_ONCE)])
        seconds = time.monotonic() - began
        count = attack.successors_of(family.refresh)
        context.expect(count == 1, f"{AT_ONCE} refreshes at once made {count} successors")
        context.worst("successors", count)
        if seconds < GRACE_SECONDS - 1:
            break
        attack.told(family)  # this machine was too slow for the grace, and the owner was told
    else:
        raise RuntimeError(f"{AT_ONCE} refreshes take longer than {GRACE_SECONDS} s here.")
    statuses = sorted({answer.status for answer in answers})
    if not context.expect(statuses == [200], f"a double fire is answered {statuses}"):
        return
    given = {answer.json["refresh"] for answer in answers}
    context.expect(len(given) == 1, f"a double fire is given {len(given)} tokens")
    again = attack.refresh(given.pop())
    context.expect(again.status == 200, f"after a double fire the client is out: {again}")
    context.expect(again.status != 200 or attack.is_in(again.json["access"]), "after a double fire access is refused")


def _theft(attack: Attack, user: Any, random: Random) -> None:
    """At once by many clients: one gets a successor, and then it is over for all of them."""
    context = attack.context
    family = attack.open(user)
    count = AT_ONCE if random.random() < 0.25 else 6
    agents = [OWN, *(f"thief {number}" for number in range(count - 1))]
    random.shuffle(agents)
    answers = burst([attack.ask(family.refresh, agent) for agent in agents])
    winners = [answer for answer in answers if answer.status == 200]
    context.expect(len(winners) == 1, f"of {count} clients with one token, {len(winners)} are given a successor")
    context.expect(attack.successors_of(family.refresh) == 1, "several clients with one token made several successors")
    attack.told(family)
    for winner in winners:
        attack.expect_dead(family, winner.json["refresh"], winner.json["access"], "stolen by many")


def _ending(attack: Attack, user: Any, ending: str, random: Random) -> None:
    """A family that lived for a while; then something happens, after which nothing of it works."""
    from accounts import services as accounts

    context = attack.context
    family = attack.open(user)
    chain = [family.refresh]
    access = family.access
    for _ in range(random.randint(2, 3)):
        answer = attack.refresh(chain[-1])
        if not context.expect(answer.status == 200, f"an honest refresh is refused: {answer}"):
            return
        chain.append(answer.json["refresh"])
        access = answer.json["access"]
    match ending:
        case "parent":
            replayed, agent = chain[-2], OTHER
        case "grandparent":
            replayed, agent = chain[-3], random.choice([OWN, OTHER])
        case "late double fire":
            replayed, agent = chain[-2], OWN
            late = f"{GRACE_SECONDS + 1} seconds"
            context.ground.execute(
                "UPDATE accounts_refreshtoken SET used_at = used_at - %s::interval WHERE family_id ="
                " (SELECT id FROM accounts_refreshfamily WHERE user_id = %s ORDER BY id DESC LIMIT 1)"
                " AND used_at IS NOT NULL",
                [late, user.pk],
            )
        case "logout":
            url = f"{attack.webs[0].url}/api/auth/logout"
            burst([Request("POST", url, {"refresh": random.choice(chain)})])
            attack.expect_dead(family, chain[-1], access, ending)
            return
        case _:
            accounts.change_password(user=user, password=f"another correct horse {random.getrandbits(40)}")
            attack.expect_dead(family, chain[-1], access, ending)
            return
    answer = attack.refresh(replayed, agent)
    context.expect(answer.status == 401, f"{ending}: a spent token is answered {answer}")
    attack.told(family)
    attack.expect_dead(family, chain[-1], access, ending)


def _count_mails(attack: Attack, people: list[Any]) -> None:
    """One notice for each family that was ended because two held it, and none for another reason."""
    from notifications.models import Message

    for user in people:
        sent = Message.objects.filter(kind="accounts.session_ended", recipient=user).count()
        wanted = attack.notices.get(user.pk, 0)
        attack.context.expect(sent == wanted, f"{wanted} families ended by a second use, and {sent} mails about it")
