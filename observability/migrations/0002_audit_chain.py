"""The chain of the audit log: rows are sealed by the database, and stand."""

from django.db import migrations

FUNCTIONS = """
CREATE SEQUENCE observability_audit_draft;

CREATE FUNCTION audit_hash(e observability_auditevent) RETURNS text LANGUAGE sql STABLE AS $$
  -- SHA-256 over the previous link's hash and everything that this row says, as one JSON array. jsonb writes it in one
  -- way only, which `manage.py verify_audit --file` repeats without a database.
  SELECT encode(sha256(convert_to(e.previous_hash || jsonb_build_array(
    e.seq, e.id, to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), e.actor_user_id, e.actor_key_id,
    e.organization_id, e.subject_user_id, e.action, e.target_type, e.target_id, e.before, e.after, e.address, e.client,
    e.request_id)::text, 'UTF8')), 'hex')
$$;

CREATE FUNCTION audit_draft() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- What the writer sends as time, number and hash counts for nothing. A draft's number is negative.
BEGIN
  NEW.seq := -nextval('observability_audit_draft');
  NEW.at := clock_now();
  NEW.previous_hash := '';
  NEW.hash := '';
  RETURN NEW;
END $$;

CREATE FUNCTION audit_seal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- Runs at the commit: the lock of the chain is then held for microseconds and after all others, so that a service may
-- record first and lock rows later without a deadlock, and nobody waits for somebody else's slow transaction.
DECLARE
  sealed observability_auditevent;
  last record;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('observability_audit'));
  SELECT seq, hash INTO last FROM observability_auditevent WHERE seq > 0 ORDER BY seq DESC LIMIT 1;
  sealed := NEW;
  sealed.seq := coalesce(last.seq, 0) + 1;
  sealed.previous_hash := coalesce(last.hash, repeat('0', 64));
  UPDATE observability_auditevent
     SET seq = sealed.seq, previous_hash = sealed.previous_hash, hash = audit_hash(sealed)
   WHERE id = NEW.id;
  RETURN NULL;
END $$;

CREATE FUNCTION audit_stands() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
-- The one change there is: a draft is sealed.
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF OLD.seq < 0 AND NEW.seq > 0 AND to_jsonb(NEW) - '{seq,previous_hash,hash}'::text[]
                                     = to_jsonb(OLD) - '{seq,previous_hash,hash}'::text[] THEN
      RETURN NEW;
    END IF;
  END IF;
  RAISE EXCEPTION 'the audit log stands as it was written' USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER audit_draft BEFORE INSERT ON observability_auditevent
  FOR EACH ROW EXECUTE FUNCTION audit_draft();
CREATE CONSTRAINT TRIGGER audit_seal AFTER INSERT ON observability_auditevent
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_seal();
CREATE TRIGGER audit_stands BEFORE UPDATE OR DELETE ON observability_auditevent
  FOR EACH ROW EXECUTE FUNCTION audit_stands();
CREATE TRIGGER audit_stands_whole BEFORE TRUNCATE ON observability_auditevent
  FOR EACH STATEMENT EXECUTE FUNCTION audit_stands();
"""

REVERSE = """
DROP TRIGGER audit_stands_whole ON observability_auditevent;
DROP TRIGGER audit_stands ON observability_auditevent;
DROP TRIGGER audit_seal ON observability_auditevent;
DROP TRIGGER audit_draft ON observability_auditevent;
DROP FUNCTION audit_stands();
DROP FUNCTION audit_seal();
DROP FUNCTION audit_draft();
DROP FUNCTION audit_hash(observability_auditevent);
DROP SEQUENCE observability_audit_draft;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("observability", "0001_audit_log"),
        ("accounts", "0002_clock_and_budget_windows"),  # clock_now()
    ]

    operations = [migrations.RunSQL(FUNCTIONS, REVERSE)]
