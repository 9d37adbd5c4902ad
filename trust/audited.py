"""Every address at which something is changed, by the access table, and what a deed there must leave in the audit
log.

The deeds themselves are in `audited_api.py`, `audited_pages.py` and `audited_staff.py`.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from django.contrib import admin
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts import services as accounts
from accounts.models import User
from common.ids import decode
from common.policy import find_policy
from observability.models import AuditEvent
from observability.services.words import ACTIONS
from tests.pages.visitor import Answer as Page
from tests.pages.visitor import Visitor
from trust import world
from trust.ground import Web
from trust.harness import Context
from trust.http import Answer, Client

CHANGING = ("POST", "PUT", "PATCH", "DELETE")
CALL = "a call of a model: it leaves a receipt and a row of the request log"
ASKS = "anybody may ask, about anybody, and nothing changes before what was mailed is used, which is recorded"
SHOWS = "shows once more who is there, and changes nothing"
DEVICE = "takes a device, which the browser tests have; signing in, adding and removing are recorded as everywhere"
PROVIDER = "takes a provider, which tests/test_oidc.py has; what it connects is recorded"
VOTE = "a vote by somebody who read something, which they see and take back themselves"
BROWSER = "a choice of this browser or session"

#: Deeds without an event, and why.
EXCUSED = {
    "POST api:model-invoke": CALL,
    "POST api:v1-chat-completions": CALL,
    "POST api:v1-completions": CALL,
    "POST api:v1-embeddings": CALL,
    "POST api:v1-predictions": CALL,
    "POST api:v1-prediction-cancel": "the end of a call that one made oneself, which its receipt tells",
    "POST api:v1-messages": CALL,
    "POST playground": CALL,
    "POST api:usage-confirmations": "a row of its own, signed by the publisher, which changes nothing but an orphan",
    "POST api:refresh": "every five minutes of every program; a second use of a token is recorded (T26)",
    "POST api:login-code": ASKS,
    "POST api:password-reset": ASKS,
    "POST account_request_login_code": ASKS,
    "POST account_reset_password": ASKS,
    "POST account_reauthenticate": SHOWS,
    "POST mfa_reauthenticate": SHOWS,
    "POST mfa_reauthenticate_webauthn": SHOWS,
    "POST mfa_add_webauthn": DEVICE,
    "POST mfa_edit_webauthn": "the name under which somebody finds their own passkey again",
    "POST mfa_login_webauthn": DEVICE,
    "POST socialaccount_connections": PROVIDER,
    "POST socialaccount_signup": PROVIDER,
    "POST openid_connect_callback": PROVIDER,
    "POST openid_connect_login": PROVIDER,
    "POST api:review-helpful": VOTE,
    "DELETE api:review-helpful": VOTE,
    "POST review-helpful": VOTE,
    "PUT api:model-saved": "a list of one's own, which nobody else sees",
    "DELETE api:model-saved": "a list of one's own, which nobody else sees",
    "POST model-save": "a list of one's own, which nobody else sees",
    "POST api:files": "a promise of room; that the file came is recorded",
    "POST api:upload": "by a signature alone; that the file came is recorded by the same act as its completion",
    "POST checklist": BROWSER,
    "POST organization-switch": BROWSER,
    "POST admin:login": "leads to the site's own log-in",
    "POST admin:logout": "the site's own log-out, which is recorded",
}


# --- Which there are ---


def all_deeds() -> set[str]:
    """`METHOD name` of each address, `admin:app_model act` of the administration."""
    found = set(_staff_deeds())
    for name, _pattern, view in addresses():
        if find_policy(name) is None:
            raise LookupError(f"{name} has no access policy")
        if name in ("admin:login", "admin:logout") or not name.startswith("admin:"):
            found |= {f"{method} {name}" for method in methods_of(view)}
    return found


def addresses() -> Iterator[tuple[str, str, Any]]:
    """Name, pattern and view of every address."""
    return _walk(get_resolver(), "/", "")


def _walk(resolver: URLResolver, before: str, namespace: str) -> Iterator[tuple[str, str, Any]]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            inner = f"{namespace}{entry.namespace}:" if entry.namespace else namespace
            yield from _walk(entry, before + str(entry.pattern), inner)
        elif isinstance(entry, URLPattern):
            yield f"{namespace}{entry.name or entry.lookup_str}", before + str(entry.pattern), entry.callback


def methods_of(view: Any) -> set[str]:
    """The methods by which a view changes something. One that does not say is taken to."""
    if (of_rest := getattr(view, "cls", None)) is not None:
        names = of_rest.http_method_names
        return {method for method in CHANGING if hasattr(of_rest, method.lower()) and method.lower() in names}
    if (of_class := getattr(view, "view_class", None)) is not None:
        return {"POST"} if hasattr(of_class, "post") else set()
    function: Any = view
    while function is not None:
        held = inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}
        if "request_method_list" in held:
            return {"POST"} & set(held["request_method_list"])
        function = getattr(function, "__wrapped__", None)
    return {"POST"}


def _staff_deeds() -> Iterator[str]:
    """What a superuser may do on each page of the administration."""
    request: Any = SimpleNamespace(user=User(is_staff=True, is_superuser=True, is_active=True), GET={})
    for model, page in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        for act in ("add", "change", "delete"):
            if getattr(page, f"has_{act}_permission")(request):
                yield f"{name} {act}"
        for act in page.get_actions(request):
            if act != "delete_selected" or page.has_delete_permission(request):
                yield f"{name} {act}"


# --- Doing them ---


@dataclass(frozen=True, slots=True)
class Trace:
    """The event that a deed must leave. says: which of before and after it tells.

    by: the actor, by their address where they had no account before; None: nobody whom the site knows.
    """

    act: str
    says: str = ""
    by: User | str | None = None


class Person:
    """Somebody with an account, at a browser and with a program."""

    def __init__(self, url: str, **fields: Any) -> None:
        self.user = world.make_person(**fields)
        pair = accounts.open_family(user=self.user, client="trust")
        self.secrets = [world.PASSWORD, pair.access, pair.refresh]
        self.api = Client(url, pair.access)
        self._visitor = Visitor(url, email=self.user.email, password=world.PASSWORD)

    @property
    def browser(self) -> Visitor:
        """Logged in, with the password shown once more just now."""
        if not self._visitor.logged_in_at:
            self._visitor.log_in()
            self._visitor.confirm()
        return self._visitor


class Deeds:
    """Does one after the other, and looks at what each has left in the log."""

    def __init__(self, context: Context, web: Web) -> None:
        self.context, self.web = context, web
        self.done: set[str] = set()
        self.secrets: set[str] = set()

    def person(self, **fields: Any) -> Person:
        person = Person(self.web.url, **fields)
        self.secrets.update(person.secrets)
        return person

    def api(
        self,
        who: Person | None,
        method: str,
        name: str,
        *args: Any,
        body: Any = None,
        act: str,
        says: str = "",
        by: User | str | None = None,
    ) -> Answer:
        """By a program. act, says, by: of a Trace; by: where it is not `who`."""
        client = Client(self.web.url) if who is None else who.api
        answer = client(method, reverse(name, args=args), body)
        self.look(f"{method} {name}", answer, Trace(act, says, who.user if who is not None else by))
        return answer

    def page(
        self,
        visitor: Visitor,
        name: str,
        /,
        *args: Any,
        leaves: Trace,
        at: str = "",
        **fields: str,
    ) -> Page:
        """The form of a page with these fields, the rest of it as it stands there."""
        answer = visitor.submit(at or reverse(name, args=args), **fields)
        self.look(f"POST {name}", answer, leaves)
        return answer

    def press(
        self,
        visitor: Visitor,
        name: str,
        /,
        *args: Any,
        leaves: Trace,
        at: str = "",
        **fields: str,
    ) -> Page:
        """A form of nothing but buttons and hidden fields."""
        answer = self.send(visitor, at or reverse(name, args=args), **fields)
        self.look(f"POST {name}", answer, leaves)
        return answer

    @staticmethod
    def send(visitor: Visitor, path: str, **fields: str) -> Page:
        token = None
        for page in ("/settings/profile", "/accounts/login/"):
            token = token or re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', visitor.get(page).text)
        return visitor.send("POST", path, {"csrfmiddlewaretoken": token[1] if token else "", **fields})

    def look(self, deed: str, answer: Answer | Page, leaves: Trace) -> None:
        act, by = leaves.act, leaves.by
        self.done.add(deed)
        expect = self.context.expect
        if not expect(answer.status < 400, f"{deed} is answered {answer.status} {answer.body[-300:]!r}"):
            return
        events = list(AuditEvent.objects.filter(request_id=decode("req", answer.headers["x-request-id"])))
        acts = sorted(event.action for event in events)
        for event in events:
            expect(event.action in ACTIONS, f"{event.action} has no words")
            expect(event.seq > 0 and bool(event.address), f"{deed} leaves an event without number or address")
        if not expect(act in acts, f"{deed} does not record {act}, but {acts}"):
            return
        event = next(event for event in events if event.action == act)
        if isinstance(by, str):
            by = User.objects.get(email=by)
        actor = by.pk if by is not None else None
        expect(event.actor_user_id == actor, f"{deed} records as actor {event.actor_user_id}, not {actor}")
        expect(bool(event.target_type) and event.target_id is not None, f"{deed} records no target")
        for side in ("before", "after"):
            if side in leaves.says:
                expect(bool(getattr(event, side)), f"{deed} does not record what was there {side}")

    def finish(self) -> None:
        """What was left out; and whether a secret stands in what was written."""
        expect, wanted = self.context.expect, all_deeds()
        for deed in sorted(wanted - self.done - EXCUSED.keys()):
            self.context.violation(f"nobody tries {deed}: does it record what it does?")
        for deed in sorted((EXCUSED.keys() | self.done) - wanted):
            self.context.violation(f"{deed} is excused or tried, and there is no such address")
        rows = AuditEvent.objects.values_list("action", "target_type", "before", "after", "address", "client")
        written = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        for secret in self.secrets:
            expect(len(secret) < 6 or secret not in written, f"a secret stands in the log: {secret[:4]}…")
        self.context.worst("privileged_acts", len(self.done))
        self.context.worst("secrets_searched_for", len(self.secrets))
