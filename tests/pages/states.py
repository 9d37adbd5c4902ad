"""What is looked at: each page as whoever needs the fewest rights, and states that addresses do not show."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests import client
from tests.pages.shelf import on_shelf
from tests.pages.site import NOBODYS, addresses, expected_status
from tests.pages.visitor import PASSWORD, ROLES, Visitor, Visitors, make_saved, text_of, token_in

NOT_PAGES = {
    *("livez", "readyz", "mfa_download_recovery_codes", "admin:jsi18n", "admin:autocomplete"),
    *("model-api-markdown", "model-versions-markdown", "model-stats-markdown"),
}
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
LINK_OF_ALARM = re.compile(r"/accounts/not-me/\S+")
Prepared = tuple[Visitor, str]


@dataclass(frozen=True, slots=True)
class Sight:
    """A page in one state. `fields`: its form, filled in like that and sent, leads there."""

    name: str
    role: str = "anonymous"
    path: str | Callable[[Visitors], Prepared] = ""
    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.name

    def prepare(self, visitors: Visitors) -> Prepared:
        """Who goes where to see it."""
        if callable(self.path):
            return self.path(visitors)
        path = re.sub(r"{([\w/]+)}", lambda found: visitors.object(self.role, found[1]), self.path)
        return visitors.get(self.role), path


def after_sign_up(visitors: Visitors) -> Prepared:
    visitor = Visitor(visitors.stack.url)
    email = f"signing-up-{visitors.unique}-{visitors.count()}@example.org"
    answer = visitor.submit("/accounts/signup/", name="Ines", email=email, password1=PASSWORD)
    return visitor, answer.headers["location"]


def second_step(visitors: Visitors) -> Prepared:
    guarded = visitors.get("guarded")
    visitor = Visitor(guarded.url, email=guarded.email, password=guarded.password)
    return visitor, visitor.log_in().headers["location"]


def new_password(visitors: Visitors) -> Prepared:
    visitor = Visitor(visitors.stack.url)
    return visitor, visitor.get(visitors.object("anonymous", "reset")).headers["location"]


def invited(visitors: Visitors) -> Prepared:
    visitors.get("owner")
    return Visitor(visitors.stack.url), visitors.object("owner", "invitation")


def to_be_answered(visitors: Visitors) -> Prepared:
    """An invitation, for the account whose address it names."""
    guest = visitors.get("invitee")
    if ("invitee", "invitation") not in visitors.objects:
        visitors.objects["invitee", "invitation"] = visitors.invite(visitors.get("owner"), guest.email)
    return guest, visitors.objects["invitee", "invitation"]


def logged_in_again(visitors: Visitors) -> Prepared:
    newcomer = visitors.get("newcomer")
    visitor = Visitor(newcomer.url, email=newcomer.email, password=newcomer.password)
    visitor.log_in()
    return visitor, "/"


def sessions_of_two(visitors: Visitors) -> Prepared:
    """One of them a phone's, of which a mail tells."""
    newcomer = visitors.get("newcomer")
    phone = Visitor(newcomer.url, email=newcomer.email, password=newcomer.password, agent=IPHONE)
    phone.log_in()
    return newcomer, "/settings/sessions"


def alarm(visitors: Visitors) -> Prepared:
    newcomer, _path = sessions_of_two(visitors)
    deadline = time.monotonic() + 20
    while True:  # the worker sends it when it comes to it
        links = [LINK_OF_ALARM.search(text_of(mail)) for mail in visitors.stack.mails(newcomer.email)]
        if found := next(filter(None, links), None):
            return Visitor(newcomer.url), found[0]
        assert time.monotonic() < deadline, "no mail tells of the new device"
        time.sleep(0.05)


def mailed_login_code(visitors: Visitors) -> Prepared:
    visitor = Visitor(visitors.stack.url)
    answer = visitor.submit("/accounts/login/code/", email=visitors.get("newcomer").email)
    return visitor, answer.headers["location"]


def rotated(visitors: Visitors) -> Prepared:
    """A key to be rotated, that nothing else here needs."""
    return visitors.get("consumer"), f"/keys/{make_key(visitors)['id']}/rotate"


def revoked(visitors: Visitors) -> Prepared:
    visitor, key = visitors.get("consumer"), make_key(visitors)
    assert visitor.send("POST", f"/keys/{key['id']}/revoke", token_in(visitor.get("/keys"))).status == 302
    return visitor, f"/keys/{key['id']}"


def make_key(visitors: Visitors) -> dict[str, str]:
    person = visitors.get("consumer")
    api = client.Client(visitors.stack.url)
    login = api.post("/api/auth/login", {"email": person.email, "password": person.password})
    made = client.Client(api.url, login.json["access"]).post("/api/keys", {"name": f"State {visitors.count()}"})
    assert made.status == 201, made
    return dict(made.json)


def unsaved_price(visitors: Visitors) -> Prepared:
    """A step of publishing with what was typed and not saved: a price that was to hold since long ago."""
    path = f"/publish/{visitors.object('developer', 'mdl')}/price"
    typed = {"type": "paid", "per_call_nano": "0.002", "output_nano_per_million": "4", "period": ""}
    publisher = visitors.get("developer")
    assert publisher.submit(path, **typed, effective_from="2001-01-01T00:00").status == 422
    return publisher, path


def asking_publisher(visitors: Visitors, role: str = "asking") -> Prepared:
    """Somebody who asked, where staff decides."""
    asking = replace(visitors.get(role), url=visitors.debug_url)
    if (role, "request") not in visitors.objects:
        assert asking.submit("/settings/developer", reason="A model that counts trains.").status == 302
        visitors.objects[role, "request"] = ""
    return asking, "/settings/developer"


def refused_publisher(visitors: Visitors) -> Prepared:
    """Somebody asked, and staff said no."""
    asking, path = asking_publisher(visitors, "refused")
    if not visitors.objects["refused", "request"]:
        staff = visitors.get("staff")
        listed = staff.get(f"/admin/accounts/developerrequest/?q={asking.email}").text
        found = re.search(r'href="(/admin/accounts/developerrequest/[^/"]+/change/)', listed)
        assert found is not None, listed
        words = "Say which model you would like to list, and where it runs."
        assert staff.submit(found[1], decision="refused", decision_reason=words).status == 302
        visitors.objects["refused", "request"] = found[1]
    return asking, path


def closed_account(visitors: Visitors) -> Prepared:
    """The link in the mail about it, which is the way back."""
    email = f"leaving-{visitors.unique}-{visitors.count()}@example.org"
    client.sign_up(visitors.stack, email, password=PASSWORD)
    visitor = Visitor(visitors.stack.url, email=email, password=PASSWORD)
    visitor.log_in()
    visitor.confirm()
    mails = len(visitors.stack.mails(email))
    assert visitor.submit("/settings/delete", email=email).status == 302
    found = re.search(r"/accounts/reopen/\S+", text_of(visitors.stack.wait_for_mail(email, after=mails)))
    assert found is not None
    return Visitor(visitor.url), found[0]


def used_link(visitors: Visitors) -> Prepared:
    return Visitor(visitors.stack.url), "/accounts/password/reset/key/1-abcdef-0123456789abcdef/"


def style_guide(visitors: Visitors) -> Prepared:
    return Visitor(visitors.debug_url), "/_components/"


def with_theme(visitors: Visitors) -> Prepared:
    return Visitor(visitors.stack.url, cookies={"theme": "dark"}), "/models"


STEPS = ("basics", "endpoint", "test", "price", "review", "media")
TABS = ("", "/playground", "/api", "/versions", "/versions?compare=2.0.0", "/reviews", "/stats")
GUESS = (("input.text", "Wo ist der Bahnhof, bitte?"),)
MODELS = ("sentiment", "language-id", "embed", "aurora-70b", "lumen-image", "clarion", "cantor-voice")


def saved(visitors: Visitors) -> Prepared:
    make_saved(visitors)
    return visitors.get("consumer"), "/saved"


def reviewed(visitors: Visitors) -> Prepared:
    visitors.object("consumer", "rev")
    return visitors.get("anonymous"), "/models/demo/eliza/reviews?sort=helpful"


STATES = (
    Sight("style guide", path=style_guide),
    Sight("theme by cookie", path=with_theme),
    Sight("home of a consumer", "consumer", "/"),
    Sight("home of a newcomer", "newcomer", "/"),
    Sight("home of staff", "staff", "/"),
    *(Sight(f"model {slug}", "anonymous", f"/models/demo/{slug}") for slug in MODELS),
    *(Sight(f"API of {slug}", "anonymous", f"/models/demo/{slug}/api") for slug in MODELS),
    *(Sight(f"playground of {slug}", "consumer", f"/models/demo/{slug}/playground") for slug in MODELS),
    Sight("model for a consumer", "consumer", "/models/demo/eliza"),
    Sight("model for its publisher", "developer", "/models/demo/eliza"),
    Sight("saved models", "consumer", saved),
    Sight("models side by side", path="/compare?model=demo/eliza,demo/sentiment,demo/embed"),
    Sight("one model to compare", path="/compare?model=demo/eliza&model=demo/none&q=text"),
    Sight("reviews for a stranger", path=reviewed),
    Sight("reviews for the author", "consumer", "/models/demo/eliza/reviews"),
    Sight("reviews of nobody", "newcomer", "/models/demo/embed/reviews"),
    Sight("a review by oneself", "consumer", "/models/demo/eliza/reviews/{rev}"),
    Sight("a review for its publisher", "developer", "/models/demo/eliza/reviews/{rev}"),
    Sight("a report without a reason", "consumer", "/models/demo/eliza/report", status=422, fields=(("note", ""),)),
    Sight("models found", path="/models?q=text&category=text-classification"),
    Sight("no model found", path="/models?q=xyzzyx"),
    Sight("playground for the anonymous", path="/models/demo/eliza/playground"),
    Sight("models as a table", path="/models?view=table"),
    Sight("models for a consumer", "consumer", "/models?sort=newest"),
    Sight("no such page", path="/no/such/page", status=404),
    Sight("no such model", path="/models/demo/none", status=404),
    Sight("no such key", "consumer", "/keys/key_00000000000000000000000000", status=404),
    Sight("no keys yet", "newcomer", "/keys"),
    Sight("no usage yet", "newcomer", "/usage"),
    Sight("no requests yet", "newcomer", "/requests"),
    Sight("no such request", "consumer", "/requests/req_00000000000000000000000000", status=404),
    Sight("preferences of a newcomer", "newcomer", "/settings/preferences"),
    Sight("form for a new key", "consumer", "/keys?new"),
    Sight("keys of a developer", "developer", "/keys"),
    Sight(
        "log-in refused",
        path="/accounts/login/",
        status=422,
        fields=(("login", "nobody@example.org"), ("password", "wrong")),
    ),
    Sight(
        "sign-up refused", path="/accounts/signup/", status=422, fields=(("email", "no address"), ("password1", "1234"))
    ),
    Sight("code after sign-up", path=after_sign_up),
    Sight("code refused", path=after_sign_up, status=422, fields=(("code", "WRONG1"),)),
    Sight("second step of the log-in", path=second_step),
    Sight("second step refused", path=second_step, status=422, fields=(("code", "000000"),)),
    Sight("new password", path=new_password),
    Sight("new password refused", path=new_password, status=422, fields=(("password1", "short"),)),
    Sight("used reset link", path=used_link),
    Sight("second factor", "guarded", "/accounts/2fa/"),
    Sight("recovery codes", "guarded", "/accounts/2fa/recovery-codes/"),
    Sight("new recovery codes", "guarded", "/accounts/2fa/recovery-codes/generate/"),
    Sight("second factor off", "guarded", "/accounts/2fa/totp/deactivate/"),
    Sight("second factor again", "guarded", "/accounts/2fa/reauthenticate/"),
    Sight("organization", "owner", "/settings/organization"),
    Sight("organization to close", "owner", "/settings/organization/close"),
    Sight("organization refused", "owner", "/organizations/new", 422, (("name", ""),)),
    Sight("members", "owner", "/settings/members"),
    Sight("member", "owner", "/settings/members/{mbr}"),
    Sight("member to remove", "owner", "/settings/members/{mbr}/remove"),
    Sight("members to leave", "colleague", "/settings/members"),
    Sight("organization to transfer", "owner", "/settings/members/transfer"),
    Sight("invitation for the anonymous", path=invited),
    Sight("invitation of somebody else", "owner", "{invitation}"),
    Sight("organization of a member", "colleague", "/settings/organization"),
    Sight("members refused", "owner", "/settings/members", 422, (("email", "no address"),)),
    Sight("spend limit refused", "owner", "/settings/organization", 422, (("act", "limit"), ("amount", "-1"))),
    Sight("invitation to accept", path=to_be_answered),
    Sight("invitation that is over", path="/invitations/none", status=422),
    Sight("audit log for a member", "colleague", "/settings/audit", 403),
    Sight("audit log of several", "owner", "/settings/audit"),
    Sight("audit log without a hit", "consumer", f"/settings/audit?person=usr_{NOBODYS}"),
    Sight("API log of errors", "consumer", "/settings/api-log?status=5xx"),
    Sight("home of somebody who comes back", path=logged_in_again),
    Sight("sessions of two devices", path=sessions_of_two),
    Sight("security log of log-ins", "newcomer", "/settings/security-log?show=log-ins"),
    Sight("security log without a hit", "invitee", "/settings/security-log?show=failed"),
    Sight("this was not me", path=alarm),
    Sight("log-in code", path=mailed_login_code),
    Sight("log-in code refused", path=mailed_login_code, status=422, fields=(("code", "WRONG234"),)),
    Sight("passkeys", "guarded", "/accounts/2fa/webauthn/"),
    Sight("passkey to rename", "guarded", "/accounts/2fa/webauthn/keys/{passkey}/edit/"),
    Sight("passkey to remove", "guarded", "/accounts/2fa/webauthn/keys/{passkey}/remove/"),
    Sight("passkey to confirm with", "guarded", "/accounts/2fa/webauthn/reauthenticate/?next=/keys"),
    Sight("publishing asked for", path=asking_publisher),
    Sight("publishing refused", path=refused_publisher),
    Sight("publishing granted", "developer", "/settings/developer"),
    Sight("account of an owner to close", "owner", "/settings/delete"),
    Sight("account to close refused", "consumer", "/settings/delete", 422, (("email", "other@example.org"),)),
    Sight("account to open again", path=closed_account),
    *(Sight(f"publishing {step}", "developer", "/publish/{mdl}/" + step) for step in STEPS),
    Sight("a file refused", "developer", "/publish/{mdl}/media", 422, (("kind", "screenshot"),)),
    *(Sight(f"what is listed{tab}", path=on_shelf("{page}" + tab)) for tab in TABS),
    *(Sight(f"what one pinned{tab}", path=on_shelf("{page}" + tab, "consumer")) for tab in ("", "/versions")),
    *(Sight(f"publishing {step} anew", path=on_shelf("{publish}/" + step, "developer")) for step in STEPS),
    Sight("endpoint refused", "developer", "/publish/{mdl}/endpoint", 422, (("url", "ftp://models"),)),
    Sight("price refused", "developer", "/publish/{mdl}/price", 422, (("type", "paid"), ("per_call_nano", "much"))),
    Sight("deployment refused", "consumer", "/deployments?new", 422, (("name", "No Name"), ("model", "demo/none"))),
    Sight("what was deployed", path=on_shelf("/deployments", "consumer")),
    Sight("publishing price that is not saved", path=unsaved_price),
    Sight("a file refused", "developer", "/publish/{mdl}/media", 422, (("kind", "screenshot"),)),
    Sight("publishing refused by a form", "developer", "/publish/new", 422, (("name", ""), ("version", "one"))),
    Sight("my models", "developer", "/publish"),
    Sight("my models without any", "newcomer", "/publish"),
    Sight("deployment", "consumer", "/deployments/{dep}"),
    Sight("form for a new deployment", "consumer", "/deployments?new"),
    Sight("no deployments yet", "newcomer", "/deployments"),
    Sight("playground after a run", "consumer", "/models/demo/language-id/playground", fields=GUESS),
    Sight("playground refused", "consumer", "/models/demo/eliza/playground", 422, (("input.max_tokens", "999999"),)),
    Sight("key rotated", path=rotated, fields=(("overlap_seconds", "86400"),)),
    Sight("key revoked", path=revoked),
    Sight("key refused", "consumer", "/keys?new", 422, (("name", ""),)),
    Sight("key made", "consumer", "/keys?new", fields=(("name", "Checks of the pages"),)),
)


def sights() -> list[Sight]:
    """Everything that Chromium looks at."""
    found = []
    for address in addresses().values():
        if address.kind == "api" or address.name in NOT_PAGES:
            continue
        role = next((role for role in ROLES if expected_status(address, role) == 200), None)
        if role is not None:
            found.append(Sight(address.name, role, address.route or ""))
    return sorted(found, key=lambda sight: sight.name) + list(STATES)
