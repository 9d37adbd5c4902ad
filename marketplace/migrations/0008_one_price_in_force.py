"""The price in force has one definition, which the catalogue, its triggers and the gateway ask."""

from django.db import migrations

IN_FORCE = """
CREATE FUNCTION marketplace_price_in_force(model uuid) RETURNS SETOF marketplace_price LANGUAGE sql STABLE ROWS 1 AS $$
  -- What is shown and billed now: the newest price whose instant has come. Plain enough to be inlined where it is asked.
  SELECT * FROM marketplace_price x WHERE x.ai_model_id = model AND x.effective_from <= clock_now()
   ORDER BY x.effective_from DESC, x.id DESC LIMIT 1
$$;

CREATE OR REPLACE FUNCTION marketplace_keep_price() RETURNS trigger LANGUAGE plpgsql AS $$
-- The price in force and its highest figure: what is saved with a listing cannot be older than that.
BEGIN
  SELECT type, greatest(coalesce(amount_nano, 0), coalesce(per_call_nano, 0), coalesce(input_nano_per_million, 0),
                        coalesce(output_nano_per_million, 0))
    INTO NEW.price_type, NEW.price_order
    FROM marketplace_price_in_force(NEW.id);
  NEW.price_type := coalesce(NEW.price_type, '');
  NEW.price_order := coalesce(NEW.price_order, 9223372036854775807);
  RETURN NEW;
END $$;
"""
BEFORE = """
CREATE OR REPLACE FUNCTION marketplace_keep_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  SELECT type, greatest(coalesce(amount_nano, 0), coalesce(per_call_nano, 0), coalesce(input_nano_per_million, 0),
                        coalesce(output_nano_per_million, 0))
    INTO NEW.price_type, NEW.price_order
    FROM marketplace_price
   WHERE ai_model_id = NEW.id AND effective_from <= clock_now() ORDER BY effective_from DESC, id DESC LIMIT 1;
  NEW.price_type := coalesce(NEW.price_type, '');
  NEW.price_order := coalesce(NEW.price_order, 9223372036854775807);
  RETURN NEW;
END $$;
DROP FUNCTION marketplace_price_in_force(uuid);
"""


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0007_changes_for_the_index")]

    operations = [migrations.RunSQL(IN_FORCE, BEFORE)]
