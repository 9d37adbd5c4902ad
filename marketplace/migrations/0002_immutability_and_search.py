"""What is published stays as it was, and every listing can be found."""

from django.db import migrations

IMMUTABLE = """
CREATE FUNCTION marketplace_version_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.published_at IS NULL THEN
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
  END IF;
  IF TG_OP = 'UPDATE' AND (NEW.ai_model_id, NEW.version, NEW.input_schema, NEW.output_schema, NEW.changelog, NEW.published_at)
     IS NOT DISTINCT FROM (OLD.ai_model_id, OLD.version, OLD.input_schema, OLD.output_schema, OLD.changelog, OLD.published_at) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'a published version is immutable' USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER model_version_immutable BEFORE UPDATE OR DELETE ON marketplace_modelversion
  FOR EACH ROW EXECUTE FUNCTION marketplace_version_is_immutable();

CREATE FUNCTION marketplace_price_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a price is never changed: add one with its own effective date' USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER price_final BEFORE UPDATE ON marketplace_price
  FOR EACH ROW EXECUTE FUNCTION marketplace_price_is_final();
"""

SEARCH = """
CREATE FUNCTION marketplace_search_vector() RETURNS trigger LANGUAGE plpgsql AS $$
-- Weights: A name and slug, B publisher and task, C capabilities, D description.
DECLARE
  publisher accounts_organization;
BEGIN
  SELECT * INTO publisher FROM accounts_organization WHERE id = NEW.publisher_id;
  NEW.search_vector :=
      setweight(to_tsvector('english', unaccent(NEW.name || ' ' || translate(NEW.slug, '-.', '  '))), 'A')
   || setweight(to_tsvector('simple', unaccent(NEW.name || ' ' || translate(NEW.slug, '-.', '  '))), 'A')
   || setweight(to_tsvector('simple', unaccent(publisher.name || ' ' || translate(publisher.slug, '-', ' '))), 'B')
   || setweight(to_tsvector('english', translate(NEW.category, '-', ' ')), 'B')
   || setweight(to_tsvector('english', unaccent(array_to_string(NEW.capabilities, ' '))), 'C')
   || setweight(to_tsvector('english', unaccent(NEW.description)), 'D');
  RETURN NEW;
END $$;

CREATE TRIGGER ai_model_search_vector
  BEFORE INSERT OR UPDATE OF name, slug, description, category, capabilities, publisher_id ON marketplace_aimodel
  FOR EACH ROW EXECUTE FUNCTION marketplace_search_vector();
"""


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0001_initial")]

    operations = [
        migrations.RunSQL(
            IMMUTABLE,
            """
            DROP TRIGGER price_final ON marketplace_price; DROP FUNCTION marketplace_price_is_final();
            DROP TRIGGER model_version_immutable ON marketplace_modelversion;
            DROP FUNCTION marketplace_version_is_immutable();
            """,
        ),
        migrations.RunSQL(
            SEARCH,
            "DROP TRIGGER ai_model_search_vector ON marketplace_aimodel; DROP FUNCTION marketplace_search_vector();",
        ),
    ]
