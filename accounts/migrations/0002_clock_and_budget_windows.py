"""The clock that rules read, and the windows of budgets."""

from django.db import migrations

CLOCK = """
CREATE FUNCTION clock_now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
  -- Every rule about time asks this function. `agorai.clock_offset` (an interval) shifts it, for tests alone.
  SELECT statement_timestamp()
       + coalesce(nullif(current_setting('agorai.clock_offset', true), '')::interval, interval '0')
$$;

CREATE FUNCTION uuid7_now() RETURNS uuid LANGUAGE sql VOLATILE AS $$
  -- A UUIDv7 for rows that SQL functions make; PostgreSQL has one of its own from version 18 on.
  SELECT encode(
    set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
      PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6
    ), 52, 1), 53, 1), 'hex')::uuid
$$;
"""

WINDOWS = """
CREATE FUNCTION budget_window(kind text, zone text, at timestamptz, OUT starts_at timestamptz, OUT ends_at timestamptz)
LANGUAGE plpgsql STABLE AS $$
-- The calendar window of `kind` that holds `at`, in the organization's time zone: [starts_at, ends_at).
BEGIN
  IF kind = 'lifetime' THEN
    starts_at := timestamptz '1970-01-01 00:00:00+00';
    RETURN;
  END IF;
  starts_at := date_trunc(kind, at, zone);
  ends_at := ((starts_at AT TIME ZONE zone) + ('1 ' || kind)::interval) AT TIME ZONE zone;
END $$;

CREATE FUNCTION budget_in_force(given uuid, at timestamptz) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- The row that counts at `at` for the limit that `given` belongs to: itself, or the successor whose window holds `at`,
-- made now if nobody has made it yet. The successor takes the newest row's limit.
DECLARE
  was accounts_budget;
  turn record;
  successor uuid;
BEGIN
  SELECT * INTO was FROM accounts_budget WHERE id = given;
  IF was.id IS NULL OR was.ends_at IS NULL OR was.ends_at > at THEN
    RETURN given;
  END IF;
  SELECT * INTO turn FROM budget_window(was."window", was.time_zone, at);
  INSERT INTO accounts_budget (id, subject_kind, subject_id, purpose, "window", time_zone, starts_at, ends_at, "limit", spent, held)
  SELECT uuid7_now(), b.subject_kind, b.subject_id, b.purpose, b."window", b.time_zone, turn.starts_at, turn.ends_at, b."limit", 0, 0
    FROM accounts_budget b
   WHERE b.subject_id = was.subject_id AND b.purpose = was.purpose AND b."window" = was."window" AND b.closed_at IS NULL
   ORDER BY b.starts_at DESC LIMIT 1
  ON CONFLICT (subject_id, purpose, "window", starts_at) WHERE closed_at IS NULL DO NOTHING;
  SELECT b.id INTO successor FROM accounts_budget b
   WHERE b.subject_id = was.subject_id AND b.purpose = was.purpose AND b."window" = was."window"
     AND b.starts_at = turn.starts_at AND b.closed_at IS NULL;
  RETURN coalesce(successor, given);
END $$;

-- spent and held change with every call; room on the page keeps those updates off the indexes.
ALTER TABLE accounts_budget SET (fillfactor = 50);
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [
        migrations.RunSQL(CLOCK, "DROP FUNCTION uuid7_now(); DROP FUNCTION clock_now();"),
        migrations.RunSQL(
            WINDOWS,
            "DROP FUNCTION budget_in_force(uuid, timestamptz); DROP FUNCTION budget_window(text, text, timestamptz);",
        ),
    ]
