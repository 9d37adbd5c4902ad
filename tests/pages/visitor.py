"""People who look at the pages, over plain HTTP: sessions, and the objects that their pages are about."""

from __future__ import annotations

import base64
import hmac
import json
import re
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from tests import client
from tests.pages.html import Element, Page
from tests.pages.passkey import make_passkey

PASSWORD = "a long way to Tipperary"
ROLES = ("anonymous", "consumer", "developer", "staff")
WRITTEN_SECONDS = 30  # some rows are written a little later, several at once
FRESH_SECONDS = 150  # the password that was confirmed counts for 300


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes
    path: str

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    @property
    def is_html(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/html") and bool(self.body)

    @property
    def page(self) -> Page:
        return Page(self.text)


@dataclass
class Visitor:
    """Somebody with a cookie jar."""

    url: str
    role: str = "anonymous"
    email: str = ""
    password: str = ""
    agent: str = ""
    cookies: dict[str, str] = field(default_factory=dict)
    logged_in_at: float = 0

    def send(self, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> Answer:
        """Header names are written with underscores. Redirects are not followed."""
        address = urlsplit(self.url)
        sent = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Host": address.netloc}
        if self.agent:
            sent["User-Agent"] = self.agent
        sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if form is not None:
            sent |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.url, "Referer": self.url}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
        try:
            connection.request(method, path, None if form is None else urlencode(form), sent)
            response = connection.getresponse()
            for cookie in response.headers.get_all("Set-Cookie") or ():
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies.pop(name, None)
                if value not in ("", '""'):
                    self.cookies[name] = value
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read(), path)
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, **headers)

    def submit(self, path: str, **fields: str) -> Answer:
        """Open the page and send its form that has these fields."""
        return self.fill(self.get(path), **fields)

    def fill(self, shown: Answer, **fields: str) -> Answer:
        """Send the form of a page that was shown, the rest of it as it stands there."""
        assert shown.is_html, (shown.path, shown.status, shown.headers)
        form = form_with(shown.page, *fields)
        values = values_of(form) | fields
        target = urljoin(shown.path, form.get("action") or shown.path)
        if form.get("method").lower() == "post":
            return self.send("POST", target, values)
        return self.get(f"{target.partition('?')[0]}?{urlencode(values)}")

    def log_in(self) -> Answer:
        answer = self.submit("/accounts/login/", login=self.email, password=self.password)
        assert answer.status == 302, answer.text[:2000]
        return answer

    def confirm(self) -> None:
        """Type the password once more, as pages about the account's safety ask everybody to."""
        answer = self.submit("/accounts/reauthenticate/", password=self.password)
        assert answer.status == 302, answer.text[:2000]
        self.logged_in_at = time.monotonic()


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def token_in(shown: Answer) -> dict[str, str]:
    """What the forms of a page prove with that they are its own."""
    name = "csrfmiddlewaretoken"
    return {name: next(one.get("value") for one in shown.page.find("input") if one.get("name") == name)}


def form_with(page: Page, *names: str) -> Element:
    """The first form that has fields of all these names."""
    for form in page.find("form"):
        if set(names) <= {one.get("name") for one in form.descendants()}:
            return form
    raise AssertionError(f"no form has the fields {names}")


def values_of(form: Element) -> dict[str, str]:
    """What a browser would send of an untouched form."""
    values = {}
    for one in form.descendants():
        name, kind = one.get("name"), one.get("type").lower()
        if not name or "disabled" in one.attributes:
            continue
        if one.tag == "textarea":
            values[name] = one.text
        elif one.tag == "select":
            options = [each for each in one.descendants() if each.tag == "option"]
            chosen = next((each for each in options if "selected" in each.attributes), options[0] if options else None)
            if chosen is not None:
                values[name] = chosen.get("value") if "value" in chosen.attributes else chosen.text
        elif one.tag == "input" and kind in ("checkbox", "radio"):
            if "checked" in one.attributes:
                values[name] = one.get("value") or "on"
        elif one.tag == "input" and kind not in ("submit", "button", "reset", "image", "file"):
            values[name] = one.get("value")
    return values


def one_time_code(secret: str) -> str:
    """RFC 6238, as an authenticator app shows it now."""
    digest = hmac.new(base64.b32decode(secret), struct.pack(">Q", int(time.time()) // 30), "sha1").digest()
    offset = digest[-1] & 15
    return f"{(int.from_bytes(digest[offset : offset + 4]) & 0x7FFFFFFF) % 10**6:06d}"


class Visitors:
    """Everyone whom the checks need, made when first asked for."""

    def __init__(self, stack: Any) -> None:
        self.stack, self.unique = stack, secrets.token_hex(4)
        self.known: dict[str, Visitor] = {}
        self.objects: dict[tuple[str, str], str] = {}
        self.totp_secret = self.organization = ""
        self._counted = 0
        self._debug_url = ""
        self.spent_codes: set[str] = set()

    def get(self, role: str) -> Visitor:
        """In a session that is fresh enough for pages which ask who is there. `url` may be changed in a copy only."""
        if role == "colleague" and not self.organization:
            self.get("owner")  # who invites them
        visitor = self.known.get(role)
        if visitor is None:
            visitor = self.known[role] = self._make(role)
        elif visitor.email and time.monotonic() - visitor.logged_in_at > FRESH_SECONDS:
            visitor.cookies.clear()
            self._enter(visitor)
        return visitor

    def count(self) -> int:
        """One more each time, for names that must not collide."""
        self._counted += 1
        return self._counted

    @property
    def debug_url(self) -> str:
        """A process of the same instance with DEBUG, which has a style guide; staff decides there who may publish."""
        self._debug_url = self._debug_url or self.stack.start_gateway(DEBUG="true", DEVELOPER_APPROVAL="staff")
        return self._debug_url

    def _make(self, role: str) -> Visitor:
        if role in ("newcomer", "guarded", "owner", "colleague", "invitee", "asking", "refused"):
            visitor = Visitor(self.stack.url, role, f"{role}-{self.unique}@example.org", PASSWORD)
            client.sign_up(self.stack, visitor.email, password=PASSWORD, name="Nora Newcomer")
        elif role == "anonymous":
            return Visitor(self.stack.url)
        else:
            person = self.stack.demo["users"][role]
            visitor = Visitor(self.stack.url, role, person["email"], person["password"])
        self._enter(visitor)
        if role == "guarded":
            self._guard(visitor)
        if role == "owner":
            self._start_organization(visitor)
        return visitor

    def _enter(self, visitor: Visitor) -> None:
        visitor.log_in()
        if visitor.role == "guarded" and self.totp_secret:
            answer = visitor.submit("/accounts/2fa/authenticate/", code=self.next_code())
            assert answer.status == 302, answer.text[:2000]
        visitor.confirm()
        if visitor.role in ("owner", "colleague") and visitor.role in self.known:  # not for the first time
            answer = visitor.submit("/", organization=self.organization)
            assert answer.status == 302, answer.text[:2000]

    def _start_organization(self, owner: Visitor) -> None:
        """One that two people share and a third is invited to, for which the owner acts from now on."""
        answer = owner.submit("/organizations/new", name=f"Shared {self.unique}")
        assert answer.status == 302, answer.text[:2000]
        shown = owner.get("/settings/members").page
        self.organization = next(
            one.get("value")
            for one in shown.find("button")
            if one.get("name") == "organization" and one.get("aria-current")
        )
        colleague = self.get("colleague")
        path = self.invite(owner, colleague.email)
        answer = colleague.send("POST", path, {"act": "accept"} | token_in(colleague.get(path)))
        assert answer.status == 302, answer.text[:2000]
        self.objects["owner", "invitation"] = self.invite(owner, f"invited-{self.unique}@example.org")
        listed = owner.get("/settings/members").text
        self.objects["owner", "mbr"] = re.findall(r"/settings/members/(mbr_\w+)", listed)[-1]

    def invite(self, owner: Visitor, email: str) -> str:
        """The path of the link in the mail."""
        mails = len(self.stack.mails(email))
        assert owner.submit("/settings/members", email=email).status == 302
        found = re.search(r"/invitations/\S+", text_of(self.stack.wait_for_mail(email, after=mails)))
        assert found is not None
        return found[0]

    def _guard(self, visitor: Visitor) -> None:
        """Switch the second factor on, and add a passkey."""
        shown = visitor.get("/accounts/2fa/totp/activate/")  # with a new secret each time
        found = re.search(r"\b[A-Z2-7]{32}\b", shown.text)
        assert found is not None, shown.text
        self.totp_secret = found[0]
        answer = visitor.fill(shown, code=self.next_code())
        assert answer.status == 302, answer.text[:2000]
        shown = visitor.get("/accounts/2fa/webauthn/add/")
        options = re.search(r'<script id="passkey-options" type="application/json">(.*?)</script>', shown.text)
        assert options is not None, shown.text
        credential = make_passkey(json.loads(options[1])["creation_options"], visitor.url)
        answer = visitor.fill(shown, credential=credential, name="Blue security key")
        assert answer.status == 302, answer.text[:2000]
        found = re.search(r"/webauthn/keys/(\d+)/edit/", visitor.get("/accounts/2fa/webauthn/").text)
        assert found is not None
        self.objects["guarded", "passkey"] = found[1]

    def next_code(self) -> str:
        """A code of now that was not used before: each is good for one use."""
        while (code := one_time_code(self.totp_secret)) in self.spent_codes:
            time.sleep(1)
        self.spent_codes.add(code)
        return code

    # --- Objects that addresses name ---

    def object(self, role: str, kind: str) -> str:
        """The id of an object of this kind that the role may see; for the anonymous, somebody's."""
        role = "staff" if "/" in kind else "consumer" if role == "anonymous" else role
        if (role, kind) not in self.objects:
            find: Callable[[str], None] = getattr(self, f"_find_{kind}", self._find_in_admin(kind))
            find(role)
        return self.objects[role, kind]

    def _find_mdl(self, role: str) -> None:
        """A draft of the developer's, whose endpoint nobody answers at."""
        make_check(self)

    def _find_dep(self, role: str) -> None:
        make_deployment(self)

    def _find_key(self, role: str) -> None:
        """A key, and a call that was made with it."""
        visitor = self.get(role)
        api = client.Client(self.stack.url)
        login = api.post("/api/auth/login", {"email": visitor.email, "password": visitor.password})
        assert login.status == 200, login
        person = client.Client(self.stack.url, login.json["access"])
        made = person.post("/api/keys", {"name": f"Checks of the pages {self.unique}"})
        assert made.status == 201, made
        self.objects[role, "key"] = made.json["id"]
        called = client.Client(self.stack.url, made.json["key"]).post(
            "/v1/chat/completions", {"model": "demo/eliza", "messages": [{"role": "user", "content": "I feel fine."}]}
        )
        assert called.status == 200, called
        self.objects[role, "req"] = called.headers["x-request-id"]

    _find_req = _find_key

    def _find_rev(self, role: str) -> None:
        """The consumer's, which others have found helpful and reported."""
        if role != "consumer":
            self.objects[role, "rev"] = self.object("consumer", "rev")
            return
        self.object("consumer", "key")
        person, reader = (self.program(self.get(name)) for name in ("consumer", "colleague"))
        made = person.post(
            "/api/models/demo:eliza/reviews", {"rating": 4, "title": "Good company", "content": "It listens."}
        )
        id = made.json["id"] if made.status == 201 else made.json["review_id"]
        self.objects["consumer", "rev"] = id
        one = f"/api/models/demo:eliza/reviews/{id}"
        assert person.put(one, {"rating": 5, "title": "Good company", "content": "It listens well."}).status == 200
        assert reader.post(f"{one}/helpful", {}).status == 200
        assert reader.post(f"{one}/report", {"reason": "off_topic"}).status in (201, 409)

    def program(self, visitor: Visitor) -> client.Client:
        api = client.Client(self.stack.url)
        login = api.post("/api/auth/login", {"email": visitor.email, "password": visitor.password})
        assert login.status == 200, login
        return client.Client(self.stack.url, login.json["access"])

    def _find_mbr(self, role: str) -> None:
        """Made with the organization."""
        self.get("owner")

    _find_invitation = _find_mbr

    def _find_passkey(self, role: str) -> None:
        """Made with the second factor."""
        self.get("guarded")

    def _find_mail(self, role: str) -> None:
        self.get("newcomer")
        self.objects[role, "mail"] = max(path.name for path in self.stack.mail_dir.glob("*.eml"))

    def _find_reset(self, role: str) -> None:
        """The address in a mail that lets somebody set a new password; to log in would make it worthless."""
        email = f"forgetful-{self.unique}-{self.count()}@example.org"
        client.sign_up(self.stack, email, password=PASSWORD)
        mails = len(self.stack.mails(email))
        Visitor(self.stack.url).submit("/accounts/password/reset/", email=email)
        mail = self.stack.wait_for_mail(email, after=mails)
        found = re.search(r"/accounts/password/reset/key/\S+", mail.get_body(("plain",)).get_content())
        assert found is not None
        self.objects[role, "reset"] = found[0]

    def _find_in_admin(self, kind: str) -> Callable[[str], None]:
        """`app/model`: the first object that the admin lists."""

        def find(role: str) -> None:
            if make := MAKERS.get(kind):
                make(self)
            deadline = time.monotonic() + (WRITTEN_SECONDS if make else 0)
            while not (found := re.findall(rf'href="/admin/{kind}/([^/"]+)/change/', self._admin_list(kind))):
                assert time.monotonic() < deadline, f"The admin lists no {kind}: say in MAKERS how one comes about."
                time.sleep(0.5)
            self.objects[role, kind] = found[0]

        return find

    def _admin_list(self, kind: str) -> str:
        return self.get("staff").get(f"/admin/{kind}/{CHOSEN.get(kind, '')}").text


def make_group(visitors: Visitors) -> None:
    visitors.get("staff").submit("/admin/auth/group/add/", name=f"Group {visitors.unique}")


def make_authenticator(visitors: Visitors) -> None:
    visitors.get("guarded")


def make_email_code(visitors: Visitors) -> None:
    """Somebody who signed up and has not yet confirmed."""
    body = {"email": f"pending-{visitors.unique}@example.org", "password": PASSWORD, "name": "Pending"}
    assert client.Client(visitors.stack.url).post("/api/auth/register", body).status == 202


def make_call(visitors: Visitors) -> None:
    """By somebody who logs in with the API, and makes a key there."""
    visitors.object("consumer", "key")


def make_organization(visitors: Visitors) -> None:
    visitors.get("owner")


def make_deployment(visitors: Visitors) -> None:
    visitor = visitors.get("consumer")
    api = client.Client(visitors.stack.url)
    login = api.post("/api/auth/login", {"email": visitor.email, "password": visitor.password})
    person = client.Client(visitors.stack.url, login.json["access"])
    model = api.get("/api/models/demo:eliza").json["id"]
    made = person.post("/api/deployments", {"name": f"support-{visitors.count()}-{visitors.unique}", "model_id": model})
    assert made.status == 201, made
    visitors.objects["consumer", "dep"] = made.json["id"]


def make_check(visitors: Visitors) -> None:
    """Of an endpoint that nobody answers at."""
    visitor, api = visitors.get("developer"), client.Client(visitors.stack.url)
    login = api.post("/api/auth/login", {"email": visitor.email, "password": visitor.password})
    person = client.Client(visitors.stack.url, login.json["access"])
    spec = {"input": {"type": "object"}, "output": {}}
    listing = {"description": "Tells it.", "version": "1.0.0", "category": "other", "api_spec": spec}
    listing |= {"name": f"Checked {visitors.unique}", "pricing": {"type": "free"}}
    model = person.post("/api/models", listing).json["id"]
    endpoint = {"url": "https://models.example.org/v1", "protocol": "json"}
    assert person.put(f"/api/models/{model}/endpoint", endpoint).status == 200
    assert person.post(f"/api/models/{model}/check", {}).status == 202
    visitors.objects["developer", "mdl"] = model


def make_file(visitors: Visitors) -> None:
    """Which is still to come."""
    body = {"kind": "logo", "name": "logo.png", "media_type": "image/png", "size": 1000}
    assert visitors.program(visitors.get("developer")).post("/api/files", body).status == 201


def make_prediction(visitors: Visitors) -> None:
    """And what its webhook, its secret and its idempotency key are. The address is that of the demo's models, which
    takes no events."""
    visitors.object("consumer", "key")  # so that there is somebody with credit
    visitor, api = visitors.get("consumer"), client.Client(visitors.stack.url)
    login = api.post("/api/auth/login", {"email": visitor.email, "password": visitor.password})
    person = client.Client(visitors.stack.url, login.json["access"])
    key = person.post("/api/keys", {"name": f"Long work {visitors.unique}-{visitors.count()}"}).json["key"]
    port = visitors.stack.environment["OUTBOUND_ALLOWED_NETWORKS"].rpartition(":")[2]
    body = {"model": "demo/sentiment", "input": {"text": "Fine."}, "webhook": f"http://127.0.0.1:{port}/hook"}
    again = {"Idempotency_Key": f"work-{visitors.unique}-{visitors.count()}"}
    made = client.Client(visitors.stack.url, key).post("/v1/predictions", body, **again)
    assert made.status == 202, made
    assert person.get("/api/webhooks/secret").status == 200


def make_developer_request(visitors: Visitors) -> None:
    visitors.get("colleague").submit("/settings/developer", reason="A model that counts trains.")


def make_saved(visitors: Visitors) -> None:
    assert visitors.program(visitors.get("consumer")).put("/api/models/demo:eliza/saved", {}).status == 204


def make_review(visitors: Visitors) -> None:
    visitors.object("consumer", "rev")


def make_charge(visitors: Visitors) -> None:
    """A call that costs something; it is posted some seconds later."""
    person = visitors.program(visitors.get("consumer"))
    key = person.post("/api/keys", {"name": f"Paid work {visitors.unique}-{visitors.count()}"}).json["key"]
    body = {"model": "demo/eliza", "messages": [{"role": "user", "content": "Hello."}]}
    assert client.Client(visitors.stack.url, key).post("/v1/chat/completions", body).status == 200


# How the objects come about that the demo does not hold.
MAKERS: dict[str, Callable[[Visitors], None]] = {
    "auth/group": make_group,
    "admin/logentry": make_group,
    "mfa/authenticator": make_authenticator,
    "accounts/emailcode": make_email_code,
    "notifications/message": make_email_code,
    "accounts/budget": make_call,
    "accounts/refreshfamily": make_call,
    "billing/usageevent": make_call,
    **dict.fromkeys(("billing/charge", "billing/creditgrant", "billing/ledgeraccount"), make_charge),
    "billing/ledgertransaction": make_charge,
    "observability/requestlog": make_call,
    "accounts/invitation": make_organization,
    "accounts/organization": make_organization,
    "gateway/contractcheck": make_check,
    "marketplace/savedmodel": make_saved,
    "media/file": make_file,
    "reviews/review": make_review,
    "reviews/vote": make_review,
    "reviews/report": make_review,
    "reviews/ratingsummary": make_review,
    "gateway/deployment": make_deployment,
    "accounts/developerrequest": make_developer_request,
    "gateway/prediction": make_prediction,
    "observability/idempotencykey": make_prediction,
    "notifications/webhookdelivery": make_prediction,
    "notifications/webhookreceiver": make_prediction,
    "notifications/webhooksecret": make_prediction,
}
# Which row to take where they differ: an organization of one has no list of members.
CHOSEN = {"accounts/organization": "?q=Shared"}
