"""That no change of the audit log stays unnoticed, whoever made it."""

import hashlib
import json

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from common.ids import encode, uuid7
from config.roles import as_owner
from observability.models import AuditEvent
from observability.services import export_audit_head, read_anchors, record, verify_chain

pytestmark = pytest.mark.django_db(transaction=True)

ORGANIZATION = uuid7()
TABLE = "observability_auditevent"


@pytest.fixture(autouse=True)
def anchors(settings, tmp_path):
    settings.AUDIT_ANCHOR_FILE = tmp_path / "kept" / "anchors.jsonl"
    return settings.AUDIT_ANCHOR_FILE


@pytest.fixture
def ten_events():
    for number in range(10):
        record(
            "thing.done",
            target_type="thing",
            organization_id=ORGANIZATION if number % 2 else None,
            after={"number": number, "z": 'q"\\\n\u2028é', "aa": [1, None, True], "b": {"c": "=1"}},
        )
    return list(AuditEvent.objects.order_by("seq"))


def fault_after(*statements: str) -> str:
    """What is found after somebody with every right has done this."""
    with as_owner(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {TABLE} DISABLE TRIGGER USER")
        for statement in statements:
            cursor.execute(statement)
        fault = verify_chain(read_anchors_if_any()).fault
        transaction.set_rollback(True)
    return fault


def read_anchors_if_any():
    from django.conf import settings

    return read_anchors(settings.AUDIT_ANCHOR_FILE) if settings.AUDIT_ANCHOR_FILE.exists() else []


def test_what_was_written_is_found_right(ten_events):
    verdict = verify_chain()

    assert (verdict.events, verdict.head, verdict.fault) == (10, ten_events[-1].hash, "")


def test_an_empty_log_is_right():
    assert verify_chain() == verify_chain([])
    assert verify_chain().events == 0


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (f"UPDATE {TABLE} SET action = 'other.done' WHERE seq = 4", "Event 4 was changed"),
        (f"UPDATE {TABLE} SET after = jsonb_set(after, '{{number}}', '7') WHERE seq = 4", "Event 4 was changed"),
        (f"UPDATE {TABLE} SET after = NULL WHERE seq = 4", "Event 4 was changed"),
        (f"UPDATE {TABLE} SET at = at + interval '1 microsecond' WHERE seq = 4", "Event 4 was changed"),
        (f"UPDATE {TABLE} SET actor_user_id = id WHERE seq = 10", "Event 10 was changed"),
        (f"UPDATE {TABLE} SET hash = repeat('0', 64) WHERE seq = 1", "Event 1 was changed"),
        (f"UPDATE {TABLE} SET previous_hash = repeat('1', 64) WHERE seq = 1", "Event 1 does not follow event 0"),
        (f"DELETE FROM {TABLE} WHERE seq = 5", "Event 5 is missing"),
        (f"DELETE FROM {TABLE} WHERE seq = 1", "Event 1 is missing"),
        (
            f"UPDATE {TABLE} SET seq = CASE seq WHEN 3 THEN 30 ELSE 3 END WHERE seq IN (3);"
            f"UPDATE {TABLE} SET seq = 3 WHERE seq = 4; UPDATE {TABLE} SET seq = 4 WHERE seq = 30",
            "Event 3 does not follow event 2",
        ),
        (
            f"INSERT INTO {TABLE} SELECT (e).* FROM (SELECT jsonb_populate_record(e, jsonb_build_object('id',"
            f" gen_random_uuid(), 'seq', 11, 'previous_hash', e.hash)) e FROM {TABLE} e WHERE seq = 10) x",
            "Event 11 was changed",
        ),
        (
            f"INSERT INTO {TABLE} SELECT (e).* FROM (SELECT jsonb_populate_record(e, jsonb_build_object('id',"
            f" gen_random_uuid(), 'seq', -5)) e FROM {TABLE} e WHERE seq = 10) x",
            "1 events were written past the chain",
        ),
    ],
)
def test_a_change_is_found_and_named(ten_events, statement, words):
    assert words in fault_after(statement)


def test_a_cut_end_is_found_by_the_head_that_was_kept(ten_events):
    assert fault_after(f"DELETE FROM {TABLE} WHERE seq > 8") == ""  # a chain alone cannot know

    assert export_audit_head() == 10

    assert "ends with event 8, but event 10 was its head" in fault_after(f"DELETE FROM {TABLE} WHERE seq > 8")
    assert "ends with event 0" in fault_after(f"DELETE FROM {TABLE}")


def test_a_log_written_anew_is_found_by_the_head_that_was_kept(ten_events):
    rewrite = f"""DO $$ DECLARE e {TABLE}; last text := repeat('0', 64); BEGIN
      FOR e IN SELECT * FROM {TABLE} ORDER BY seq LOOP
        e.previous_hash := last; e.address := '192.0.2.1'; last := audit_hash(e);
        UPDATE {TABLE} SET previous_hash = e.previous_hash, address = e.address, hash = last WHERE id = e.id;
      END LOOP; END $$"""
    assert fault_after(rewrite) == ""

    export_audit_head()

    assert "Event 10 is not the one that was the head" in fault_after(rewrite)


def test_a_head_is_kept_once_and_for_its_owner_alone(ten_events, anchors):
    export_audit_head()
    export_audit_head()
    record("thing.done")
    export_audit_head()

    assert [anchor.seq for anchor in read_anchors(anchors)] == [10, 11]
    assert anchors.stat().st_mode & 0o777 == 0o600


def test_a_log_that_lost_its_head_is_said_to_at_once(ten_events, anchors, caplog):
    anchors.parent.mkdir()
    anchors.write_text(json.dumps({"seq": 12, "hash": "a" * 64, "at": "2026-01-01T00:00:00+00:00"}) + "\n")

    export_audit_head()

    assert any(entry.levelname == "CRITICAL" and "audit_log_was_cut" in str(entry.msg) for entry in caplog.records)
    assert len(anchors.read_text().splitlines()) == 1


def test_the_command_says_what_it_found(ten_events, capsys):
    export_audit_head()
    call_command("verify_audit")

    assert "10 events are as they were written; 1 kept heads agree." in capsys.readouterr().out


def test_an_export_is_verified_without_the_database(ten_events, tmp_path, anchors, capsys):
    export_audit_head()
    export = tmp_path / "audit.jsonl"
    call_command("export_audit", output=str(export))
    lines = export.read_text().split("\n")[:-1]
    assert json.loads(lines[3])["after"]["number"] == 3

    call_command("verify_audit", file=str(export))

    assert "10 events are as they were written" in capsys.readouterr().out
    lines[6] = lines[6].replace('"number": 6', '"number": 7')
    export.write_text("\n".join(lines))
    with pytest.raises(CommandError, match="Event 7 was changed"):
        call_command("verify_audit", file=str(export))
    export.write_text("\n".join(lines[:6]))
    with pytest.raises(CommandError, match="ends with event 6"):
        call_command("verify_audit", file=str(export))


def test_a_stranger_computes_the_hash_from_the_documentation(ten_events, tmp_path):
    """The recipe of docs/operations/audit.md, without a line of ours."""
    export = tmp_path / "audit.jsonl"
    call_command("export_audit", output=str(export))
    previous = "0" * 64
    for line in export.read_text().split("\n")[:-1]:
        event = json.loads(line)
        values = [value for name, value in event.items() if name not in ("previous_hash", "hash")]
        text = previous + json.dumps(values, ensure_ascii=False)
        assert hashlib.sha256(text.encode()).hexdigest() == event["hash"]
        previous = event["hash"]


def test_an_export_of_one_organization_as_a_table(ten_events, capsys):
    call_command("export_audit", format="csv", organization=encode("org", ORGANIZATION))

    rows = capsys.readouterr().out.split("\r\n")[:-1]
    assert rows[0].startswith("seq,id,at,actor_user_id")
    assert len(rows) == 6
    assert str(ORGANIZATION) in rows[1]


@pytest.mark.parametrize("option", [{"since": "2026-01-01"}, {"organization": "org_x"}])
def test_an_export_says_what_it_does_not_understand(option):
    with pytest.raises(CommandError):
        call_command("export_audit", **option)
