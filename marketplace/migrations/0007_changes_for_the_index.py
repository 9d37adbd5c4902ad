"""What was changed in the catalogue, until a sweep has told the search index."""

from django.db import migrations

CHANGES = """
CREATE TABLE marketplace_listingchange (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  ai_model_id uuid NOT NULL
);

CREATE FUNCTION marketplace_note_change() RETURNS trigger LANGUAGE plpgsql AS $$
-- A row for each change, not for each listing: nobody waits for a sweep that is under way.
BEGIN
  INSERT INTO marketplace_listingchange (ai_model_id) VALUES (CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END);
  RETURN NULL;
END $$;

CREATE TRIGGER ai_model_created AFTER INSERT OR DELETE ON marketplace_aimodel
  FOR EACH ROW EXECUTE FUNCTION marketplace_note_change();
CREATE TRIGGER ai_model_changed AFTER UPDATE ON marketplace_aimodel
  FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION marketplace_note_change();
"""
NO_CHANGES = """
DROP TRIGGER ai_model_changed ON marketplace_aimodel; DROP TRIGGER ai_model_created ON marketplace_aimodel;
DROP FUNCTION marketplace_note_change(); DROP TABLE marketplace_listingchange;
"""


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0006_checks_sunsets_and_reviews")]

    operations = [migrations.RunSQL(CHANGES, NO_CHANGES)]
