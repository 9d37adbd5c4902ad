"""What is stored of a file goes with its row, whoever deletes it: the names are noted here, and swept."""

from django.db import migrations

REMOVALS = """
CREATE TABLE media_removal (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  due_at timestamptz NOT NULL DEFAULT clock_now()
);
CREATE INDEX media_removal_due ON media_removal (due_at);
CREATE INDEX media_removal_name ON media_removal (name);

CREATE FUNCTION media_note_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO media_removal (name) SELECT OLD.stored_as || '/' || part FROM unnest(OLD.parts) part
   WHERE OLD.stored_as <> '';
  -- Once more when its address takes nothing any more, for what is sent there until then.
  IF OLD.status IN ('waiting', 'arrived') THEN
    INSERT INTO media_removal (name, due_at) VALUES
      ('quarantine/' || OLD.id, clock_now()),
      ('quarantine/' || OLD.id, greatest(clock_now(), OLD.upload_until) + interval '1 minute');
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER media_file_gone AFTER DELETE ON media_file FOR EACH ROW EXECUTE FUNCTION media_note_removal();
"""
NO_REMOVALS = """
DROP TRIGGER media_file_gone ON media_file; DROP FUNCTION media_note_removal(); DROP TABLE media_removal;
"""


class Migration(migrations.Migration):
    dependencies = [("media", "0001_initial")]

    operations = [migrations.RunSQL(REMOVALS, NO_REMOVALS)]
