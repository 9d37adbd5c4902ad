"""An index for each order of the catalogue, and the price in force on the listing itself."""

import django.contrib.postgres.indexes
import django.db.models.expressions
import django.db.models.functions.comparison
from django.db import migrations, models

PRICES = """
CREATE FUNCTION marketplace_keep_price() RETURNS trigger LANGUAGE plpgsql AS $$
-- The price in force and its highest figure: what is saved with a listing cannot be older than that.
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

CREATE TRIGGER ai_model_price BEFORE INSERT OR UPDATE ON marketplace_aimodel
  FOR EACH ROW EXECUTE FUNCTION marketplace_keep_price();

CREATE FUNCTION marketplace_tell_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE marketplace_aimodel SET price_order = price_order WHERE id = NEW.ai_model_id;
  RETURN NULL;
END $$;

CREATE TRIGGER price_told AFTER INSERT ON marketplace_price
  FOR EACH ROW EXECUTE FUNCTION marketplace_tell_price();

UPDATE marketplace_aimodel SET price_order = price_order;
"""
NO_PRICES = """
DROP TRIGGER price_told ON marketplace_price; DROP FUNCTION marketplace_tell_price();
DROP TRIGGER ai_model_price ON marketplace_aimodel; DROP FUNCTION marketplace_keep_price();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0013_factors_and_clients_of_tokens"),
        ("marketplace", "0004_license_context_and_measurements"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="aimodel",
            name="ai_model_newest",
        ),
        migrations.RemoveIndex(
            model_name="aimodel",
            name="ai_model_popular",
        ),
        migrations.RemoveIndex(
            model_name="aimodel",
            name="ai_model_browse",
        ),
        migrations.AddField(
            model_name="aimodel",
            name="demand",
            field=models.BigIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="aimodel",
            name="price_order",
            field=models.BigIntegerField(default=9223372036854775807, editable=False),
        ),
        migrations.AddField(
            model_name="aimodel",
            name="price_type",
            field=models.CharField(blank=True, default="", editable=False, max_length=4),
        ),
        migrations.AddField(
            model_name="aimodel",
            name="rating_order",
            field=models.GeneratedField(
                db_persist=True,
                expression=django.db.models.expressions.CombinedExpression(
                    django.db.models.expressions.CombinedExpression(
                        django.db.models.expressions.CombinedExpression(
                            django.db.models.functions.comparison.Cast("rating_sum", models.BigIntegerField()),
                            "+",
                            models.Value(35),
                        ),
                        "*",
                        models.Value(1000),
                    ),
                    "/",
                    django.db.models.expressions.CombinedExpression(models.F("rating_count"), "+", models.Value(10)),
                ),
                output_field=models.BigIntegerField(),
            ),
        ),
        migrations.AddField(
            model_name="aimodel",
            name="rating_tenths",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Case(
                    models.When(
                        rating_count__gt=0,
                        then=django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                django.db.models.functions.comparison.Cast("rating_sum", models.BigIntegerField()),
                                "*",
                                models.Value(10),
                            ),
                            "/",
                            models.F("rating_count"),
                        ),
                    ),
                    default=models.Value(0),
                ),
                output_field=models.BigIntegerField(),
            ),
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=django.contrib.postgres.indexes.GinIndex(fields=["capabilities"], name="ai_model_capabilities"),
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=models.Index(
                condition=models.Q(("status__in", ("published", "deprecated"))),
                fields=["-is_callable", "-demand", "-id"],
                name="ai_model_browsed",
            ),
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=models.Index(
                condition=models.Q(("status__in", ("published", "deprecated"))),
                fields=["-demand", "-id"],
                name="ai_model_wanted",
            ),
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=models.Index(
                condition=models.Q(("status__in", ("published", "deprecated"))),
                fields=["-published_at", "-id"],
                name="ai_model_newest",
            ),
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=models.Index(
                condition=models.Q(("status__in", ("published", "deprecated"))),
                fields=["-rating_order", "-id"],
                name="ai_model_rated",
            ),
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=models.Index(
                condition=models.Q(("status__in", ("published", "deprecated"))),
                fields=["price_order", "-id"],
                name="ai_model_cheapest",
            ),
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=models.Index(
                condition=models.Q(("status__in", ("published", "deprecated"))),
                fields=["category"],
                include=("publisher", "capabilities", "price_type", "price_order", "rating_tenths", "latency_order"),
                name="ai_model_facets",
            ),
        ),
        migrations.AddIndex(model_name="price", index=models.Index(fields=["effective_from"], name="price_effective")),
        migrations.RunSQL(PRICES, NO_PRICES),
    ]
