"""T22 writes what it should not, and reads all that it may. To be imported in `run`."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from django.apps import apps
from django.contrib import admin

from accounts.models import role_may
from common.policy import SAFE_METHODS
from trust.cases import Case, cases_of
from trust.door import Door, Reply, Rows, differences
from trust.fields import Form, all_fields, as_form, by_relation, fields_of, flattened, hostile_in
from trust.harness import Context
from trust.parallel import share
from trust.people import EVERYTHING, Caller, Town
from trust.places import Place, places
from trust.shapes import Shapes

WRITERS = ("anonymous", "owner", "member", "consumer A", EVERYTHING)
FIRST = ("anonymous", "owner")  # who writes each field by itself in the fast lane, too
READERS = ("anonymous", "owner", "billing", "member", "consumer A", "support", "superuser", EVERYTHING)
#: Columns that a page changes for some roles alone, and the right that it takes.
LESSER: Mapping[str, tuple[str, str, str]] = {
    "profile": ("accounts_organization", "name", "organization.change"),
    "preferences": ("accounts_organization", "time_zone", "organization.change"),
}
#: What staff may change on the pages of a table, and what superusers may beside it.
STAFF_MAY: Mapping[str, tuple[set[str], set[str]]] = {
    "accounts_user": ({"name", "is_active"}, {"is_staff", "is_superuser"}),
    "accounts_organization": ({"rate_limit"}, {"name", "slug"}),
    "accounts_budget": ({"limit"}, set()),
    "accounts_developerrequest": ({"decision", "decision_reason", "decided_by_id", "decided_at"}, set()),
}
BY_ITSELF = {"updated_at", "session_version", "last_login"}
#: Tables that no page of staff changes in passing.
HELD = {*STAFF_MAY, "accounts_membership", "accounts_user_groups", "accounts_user_user_permissions", "apikeys_apikey"}
Columns = dict[tuple[str, str], list[str]]


class Fields:
    def __init__(self, context: Context, town: Town) -> None:
        self.context, self.town = context, town
        self.door = Door(context.ground)
        self.before: Rows = {}

    def run(self) -> None:
        self.door.warm(self.town)
        known = [place for _name, place in places() if place is not None]
        tasks: list[Callable[[], None]] = [self._staff_write]
        tasks += [lambda place=place: self._try_place(place) for place in known if not place.is_admins]  # type: ignore[misc]
        share(self.context, tasks)

    # --- What is sent ---

    @cached_property
    def shapes(self) -> Shapes:
        return Shapes()

    @cached_property
    def everything(self) -> dict[str, Any]:
        return all_fields(self.town.theirs)

    @cached_property
    def relations(self) -> dict[str, Any]:
        return by_relation(self.town.theirs)

    @cached_property
    def forms(self) -> dict[str, Any]:
        return as_form(self.everything | flattened(self.town.theirs))

    @cached_property
    def secrets(self) -> list[bytes]:
        """What is stored of secrets, as it might be shown: bytes in hexadecimal digits and in base64, and hashes."""
        found = []
        for (table, _key), row in self.before.items():
            for column, value in row.items():
                if isinstance(value, str) and value.startswith("\\x") and len(value) >= 34:
                    found += [value[2:].encode(), b64encode(bytes.fromhex(value[2:]))]
                elif (table, column) == ("accounts_user", "password") and value:
                    found.append(value.encode())
        return found

    # --- One address ---

    def _try_place(self, place: Place) -> None:
        self.before = self.door.begin()
        _ = self.secrets
        for case in cases_of(place, self.town):
            if not isinstance(case, Case) or case.is_live or (case.thing and case.thing.house is not self.town.ours):
                continue
            if case.method in SAFE_METHODS and case.caller.name in READERS:
                self._look(case)
            elif case.method not in SAFE_METHODS and case.is_open and case.caller.name in WRITERS:
                self._write(case)

    def _look(self, case: Case) -> None:
        with self.door.undone():
            reply = self._send(case, case.body)
        self._read(case, reply)

    def _read(self, case: Case, reply: Reply) -> None:
        found = [secret for secret in self.secrets if secret in reply.body]
        self.context.expect(not found, f"{case}: the answer holds what is stored of a secret")
        if not case.place.is_api or reply.status >= 300 or "json" not in reply.headers.get("content-type", ""):
            return
        beyond = self.shapes.undeclared(case.place, case.method, reply.status, json.loads(reply.body or b"{}"))
        self.context.expect(not beyond, f"{case}: the answer holds {', '.join(beyond[:5])}, which is not described")

    # --- Writing ---

    def _write(self, case: Case) -> None:
        body = dict(case.body or {})
        first, control = self._changes(case, body)
        if first.status == 401:  # a report that nobody has signed
            return
        _again, other = self._changes(case, body)
        volatile = {
            column for column in control if control[column] != other.get(column)
        } | other.keys() - control.keys()
        self._read(case, first)
        self._look_at_role(case, control)
        control = {**other, **control}
        if case.place.is_api:
            self._write_json(case, body, control, volatile)
        else:
            names = {*self._names(case), *body}
            more = {name: value for name, value in self.forms.items() if name not in names}
            self._judge(case, "every field", self._changes(case, {**body, **more}), control, volatile)

    def _write_json(self, case: Case, body: dict[str, Any], control: Columns, volatile: set[tuple[str, str]]) -> None:
        takes = self.shapes.takes(case.place, case.method)
        own = set(takes or ()) | set(body)
        tables = {table for table, _column in control}
        one_by_one: dict[str, Any] = {}
        for model in apps.get_models() if self.context.is_full or case.caller.name in FIRST else ():
            if model._meta.db_table in tables and model._meta.app_label not in ("observability", "notifications"):
                one_by_one |= fields_of(model, self.town.theirs)
        for what, more in (
            ("every field", self.everything),
            ("every relation", self.relations),
            *((f"{name} = {value}", {name: value}) for name, value in one_by_one.items()),
        ):
            more = {name: value for name, value in more.items() if name not in own}
            if more:
                tried = self._changes(case, {**body, **more})
                if takes is not None:
                    self._all_unknown(case, what, tried[0], {f"/{name}" for name in more})
                self._judge(case, what, tried, control, volatile)
        for name, inner in body.items():
            if isinstance(inner, dict) and name != "api_spec":
                self._write_inside(case, body, name, control, volatile)

    def _write_inside(
        self, case: Case, body: dict[str, Any], name: str, control: Columns, volatile: set[tuple[str, str]]
    ) -> None:
        """An object in the body, with fields that are not its own."""
        names = {"amount", "currency", "window", "type", "period", "rates", "effective_from"}
        more = {one: value for one, value in self.everything.items() if one not in names}
        tried = self._changes(case, {**body, name: {**body[name], **more}})
        self._all_unknown(case, f"every field in {name}", tried[0], {f"/{name}/{one}" for one in more})
        self._judge(case, f"every field in {name}", tried, control, volatile)

    def _all_unknown(self, case: Case, what: str, reply: Reply, pointers: set[str]) -> None:
        """Each of them is refused by its name."""
        told = reply.json if reply.status == 422 else {}
        refused = {error["pointer"] for error in told.get("errors", ()) if error["code"] == "unknown_field"}
        taken = sorted(pointers - refused)
        self.context.expect(not taken, f"{case} with {what}: {reply.status}, and takes {', '.join(taken[:6])}")

    def _judge(
        self, case: Case, what: str, tried: tuple[Reply, Columns], control: Columns, volatile: set[tuple[str, str]]
    ) -> None:
        reply, changed = tried
        expect = self.context.expect
        expect(reply.status < 500, f"{case} with {what}: {reply.status} {reply.fault}")
        for (table, column), values in changed.items():
            name = f"{table}.{column}"
            expect((table, column) in control, f"{case} with {what} changes {name}, and does not without")
            marks = [mark for mark in map(hostile_in, values) if mark]
            expect(not marks, f"{case} with {what} writes {', '.join(marks[:3])} into {name}")
            if (table, column) not in volatile and (table, column) in control:
                expect(
                    values == control[table, column], f"{case} with {what} writes otherwise into {name} than without"
                )

    def _look_at_role(self, case: Case, control: Columns) -> None:
        if case.place.name in LESSER:
            table, column, right = LESSER[case.place.name]
            may = role_may(case.caller.role, right)
            self.context.expect(
                may or (table, column) not in control, f"{case} changes {table}.{column}, which takes {right}"
            )

    def _changes(self, case: Case, body: dict[str, Any]) -> tuple[Reply, Columns]:
        """The answer, and the values of every column that is another one afterwards, in some order."""
        found: Columns = defaultdict(list)
        with self.door.undone():
            reply = self._send(case, body)
            rows = self.door.rows() if reply.has_written else self.before
        for (table, column, _key), value in differences(self.before, rows).items():
            found[table, column].append(json.dumps(value, sort_keys=True))
        return reply, {name: sorted(values) for name, values in found.items()}

    def _send(self, case: Case, body: Any) -> Reply:
        self.context.count()
        self.door.forget_limits()
        return self.door.send(case.method, case.path, case.caller, is_api=case.place.is_api, body=body)

    def _names(self, case: Case) -> set[str]:
        """Of the fields that the page itself offers."""
        with self.door.undone():
            page = self.door.send("GET", case.path, case.caller, is_api=False)
        return Form(page.body.decode()).names

    # --- Staff ---

    def _staff_write(self) -> None:
        """On the page of each table that staff may change: what it offers, and every other field beside it."""
        self.before = self.door.begin()
        user = self.town["consumer A"].user
        assert user is not None
        rows = {"accounts_user": user, "accounts_organization": self.town.ours.organization}
        for model in admin.site._registry:
            row = rows.get(model._meta.db_table) or model._default_manager.order_by("pk").first()
            for caller in (*self.town.staff.values(), self.town["superuser"]):
                if row is not None:
                    self._write_as_staff(caller, row)

    def _write_as_staff(self, caller: Caller, row: Any) -> None:
        """Where the page saves what it offers, each of the table's own fields by itself: one that is wrong would keep
        the others from being saved."""
        meta = row._meta
        path = f"/admin/{meta.app_label}/{meta.model_name}/{row.pk}/change/"
        with self.door.undone():
            page = self.door.send("GET", path, caller, is_api=False)
        form = Form(page.body.decode(), of=f"{meta.model_name}_form") if page.status == 200 else Form("")
        more = {name: value for name, value in self.forms.items() if name not in form.values}
        self._post_as_staff(caller, path, {**form.values, **more})
        if "_save" not in form.names:
            return
        reply = self._post_as_staff(caller, path, form.values)
        self.context.expect(reply.status == 302, f"POST {path} as {caller.name}: {reply.status} for what it offers")
        for name, value in as_form(fields_of(type(row), self.town.theirs)).items():
            if name not in form.values:
                self._post_as_staff(caller, path, {**form.values, name: value})

    def _post_as_staff(self, caller: Caller, path: str, sent: dict[str, Any]) -> Reply:
        self.context.count()
        with self.door.undone():
            reply = self.door.send("POST", path, caller, is_api=False, body=sent)
            rows = self.door.rows() if reply.has_written else self.before
        self.context.expect(reply.status < 500, f"POST {path} as {caller.name}: {reply.status} {reply.fault}")
        is_superuser = caller.user is not None and caller.user.is_superuser
        for table, column, _key in differences(self.before, rows):
            usual, more = STAFF_MAY.get(table, (set(), set()))
            may = column in usual or column in BY_ITSELF or (is_superuser and column in more)
            may = may or table not in HELD or (is_superuser and table not in STAFF_MAY)
            self.context.expect(may, f"POST {path} as {caller.name} changes {table}.{column}")
        return reply
