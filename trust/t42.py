"""The audit log: whoever edits, deletes, inserts, reorders or cuts is found out by the command that verifies it; the
application's role can only add; and every act at every address that changes something is in it, with who did it, to
what, and before and after, without a secret.

A trial is one tampering, by somebody with every right in the database or with an export.
"""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import psycopg

from trust.harness import Context, Result, Trial
from trust.registry import Sabotage
from trust.tampering import FORBIDDEN, FORGED, FORGERY, TABLE, TAMPERINGS, as_intruder, cut_to, with_export

EVENTS, KEPT_HEADS = 60, 3  # in a database of their own
FILE_EVERY = 5  # of so many tamperings, one is with an export

SABOTAGES = (
    Sabotage(
        "hash without the previous hash",
        "observability/migrations/0002_audit_chain.py",
        "convert_to(e.previous_hash || jsonb_build_array(",
        "convert_to(repeat('0', 64) || jsonb_build_array(",
    ),
    Sabotage(
        "verification without the previous hash",
        "observability/services/chain.py",
        "    if link.previous_hash != hash:\n",
        "    if False:\n",
    ),
    Sabotage(
        "verification trusts the stored hash",
        "observability/services/chain.py",
        "    if link.hash != link.right_hash:\n",
        "    if len(link.hash) != 64:\n",
    ),
    Sabotage(
        "a field that the hash does not cover",
        "observability/migrations/0002_audit_chain.py",
        "e.before, e.after, e.address, e.client,",
        "e.before, NULL::jsonb, e.address, e.client,",
    ),
    Sabotage(
        "a cut end goes unnoticed",
        "observability/services/chain.py",
        "    if expected and (last := expected[max(expected)]).seq > events:\n",
        "    if expected and (last := expected[max(expected)]).seq > events + 1000:\n",
    ),
    Sabotage(
        "a log written anew goes unnoticed",
        "observability/services/chain.py",
        "and anchor.hash != link.hash:",
        "and len(anchor.hash) != 64:",
    ),
    Sabotage(
        "events past the chain are not looked for",
        "observability/services/chain.py",
        "WHERE seq <= 0 LIMIT 1000",
        "WHERE seq = 0 LIMIT 1000",
    ),
    Sabotage(
        "the application's role may change it",
        "config/roles.py",
        '                rights = "SELECT, INSERT"\n',
        '                rights = "SELECT, INSERT, UPDATE"\n',
    ),
    Sabotage(
        "an address that records nothing",
        "accounts/services/organizations.py",
        '    record(\n        "organization.rate_limit_changed",\n',
        '    dict(\n        action="organization.rate_limit_changed",\n',
    ),
    Sabotage(
        "the administration records nothing",
        "config/staff_log.py",
        '        _record("staff.changed", obj, *vars(request).get("staff_changes", ({}, {})))\n',
        "",
    ),
    Sabotage(
        "a secret in what was there after",
        "accounts/services/passwords.py",
        '    record_about("password_changed", user)\n',
        '    record_about("password_changed", user, after={"note": password})\n',
    ),
    Sabotage(
        "an event without its actor",
        "observability/services/audit.py",
        "        actor_user_id=actor_user_id or caller.user_id,\n",
        "        actor_user_id=actor_user_id,\n",
    ),
    Sabotage(
        "an act without what was there before",
        "accounts/services/members.py",
        "        before=None if before is None else who | before,\n",
        "        before=None,\n",
    ),
)


def run(context: Context) -> Result:
    if context.shard[0] == 1:
        _acts(context)
    with context.ground.another_database():
        _rights(context)
        _tamper(context)
    return context.result()


# --- What must be written ---


def _acts(context: Context) -> None:
    from observability.services import verify_chain
    from trust import audited_api, audited_media, audited_pages, audited_reviews, audited_staff
    from trust.audited import Deeds
    from trust.t30 import Signer

    partner = Signer()
    web = context.ground.start_web(
        LEAK_REPORT_KEYS=f"{audited_api.PARTNER}:{partner.public}", DEVELOPER_APPROVAL="staff"
    )
    deeds = Deeds(context, web)
    audited_api.walk(deeds, partner)
    audited_pages.walk(deeds)
    audited_staff.walk(deeds)
    audited_reviews.walk(deeds)
    audited_media.walk(deeds)
    deeds.finish()
    fault = verify_chain().fault
    context.expect(not fault, f"nobody touched the log, and yet: {fault}")


# --- Who may write ---


def _rights(context: Context) -> None:
    ground = context.ground
    _write(1)
    refused = psycopg.errors.InsufficientPrivilege
    for statement in FORBIDDEN:
        try:
            with psycopg.connect(ground.database_url) as connection:
                connection.execute(statement.encode())
        except refused:
            continue
        except psycopg.Error as error:
            context.violation(f"the application's role is stopped by {type(error).__name__} alone from: {statement}")
        else:
            context.violation(f"the application's role may do this: {statement}")
    for statement in FORBIDDEN[:3]:
        try:
            ground.execute(statement)
        except psycopg.errors.RestrictViolation:
            continue
        context.violation(f"the owner of the table may do this without a word: {statement}")
    with psycopg.connect(
        ground.database_url
    ) as connection:  # what it says of its place and its time counts for nothing
        connection.execute(FORGED.encode())
    [(seq, is_now)] = ground.execute(FORGERY)
    context.expect(seq == 2 and is_now, f"the application chose number {seq} or the time of an event")


# --- Who changed what was written ---


def _write(number: int) -> None:
    from common.ids import uuid7
    from observability.services import record

    for position in range(number):
        record(
            "thing.done",
            target_type="thing",
            target_id=uuid7(),
            organization_id=uuid7() if position % 2 else None,
            actor_user_id=uuid7(),
            before={"number": position},
            after={"number": position + 1, "text": 'q"\\\n\u2028é', "list": [1, None, True, {"a": "=1"}]},
        )


def _tamper(context: Context) -> None:
    from django.test import override_settings

    from config.roles import as_owner
    from observability.services import export_audit_head

    kept = context.ground.directory / "anchors.jsonl"
    kept.unlink(missing_ok=True)
    export = context.ground.directory / "audit.jsonl"
    with override_settings(AUDIT_ANCHOR_FILE=kept):
        for _ in range(KEPT_HEADS):
            _write(EVENTS // KEPT_HEADS)
            last = export_audit_head()
        _call("export_audit", output=str(export))
        context.expect(not _verify(), f"an untouched log is found wrong: {_verify()}")
        context.expect(not _verify(file=str(export)), "an untouched export is found wrong")
        lines = export.read_text().split("\n")[:-1]
        with as_owner():
            for trial in context.each():
                _try(context, trial, last, export, lines)
        if context.shard[0] == 1:
            _by_hand(context, kept, last)


def _try(context: Context, trial: Trial, last: int, export: Path, lines: list[str]) -> None:
    if trial.number % FILE_EVERY == FILE_EVERY - 1:
        what = with_export(export, list(lines), trial.random)
        fault = _verify(file=str(export))
    else:
        kinds = sorted(TAMPERINGS)
        what = kinds[(trial.number - trial.number // FILE_EVERY) % len(kinds)]
        with as_intruder() as execute:
            for statement in TAMPERINGS[what](trial.random, last):
                execute(statement)
            fault = _verify()
    context.expect(bool(fault), f"nobody finds: {what}")


def _by_hand(context: Context, kept: Path, last: int) -> None:
    """As an operator does it, from a process of its own."""
    ground = context.ground
    said = ground.run_manage("verify_audit", AUDIT_ANCHOR_FILE=str(kept))
    context.expect(f"{last} events are as they were written" in said, f"verify_audit says {said!r}")
    ground.execute(f"ALTER TABLE {TABLE} DISABLE TRIGGER USER; {cut_to(last - 1)}")
    try:
        said = ground.run_manage("verify_audit", AUDIT_ANCHOR_FILE=str(kept))
    except CalledProcessError as error:
        context.expect(f"event {last} was its head" in error.stderr, f"verify_audit says {error.stderr[-200:]!r}")
    else:
        context.violation(f"verify_audit does not notice a cut end: {said!r}")


def _verify(**options: Any) -> str:
    """What the command finds; nothing where all is as it was written."""
    from django.core.management import CommandError

    try:
        _call("verify_audit", **options)
    except CommandError as error:
        return str(error)
    return ""


def _call(command: str, **options: Any) -> None:
    from django.core.management import call_command

    with redirect_stderr(StringIO()):
        call_command(command, stdout=StringIO(), **options)
