"""Words that people type become words that the catalogue knows."""

from django.db import migrations, models
from django.db.models import Q

QUERY = """
CREATE FUNCTION marketplace_search_query(words text[]) RETURNS tsquery LANGUAGE plpgsql STABLE AS $$
-- All words must match, each as it stands or by its English stem, the last one as a beginning too. Words too common to
-- be indexed are passed over; NULL if nothing is left.
DECLARE
  word text;
  ending text;
  found tsquery;
  one tsquery;
BEGIN
  FOR i IN 1 .. coalesce(cardinality(words), 0) LOOP
    word := replace(replace(unaccent(lower(words[i])), '\\', ''), '''', '');
    CONTINUE WHEN numnode(plainto_tsquery('english', word)) = 0;
    ending := CASE WHEN i = cardinality(words) THEN ''':*' ELSE '''' END;
    one := to_tsquery('english', '''' || word || ending) || to_tsquery('simple', '''' || word || ending);
    found := coalesce(found && one, one);
  END LOOP;
  RETURN found;
END $$;
"""

WORDS = """
CREATE TABLE marketplace_searchword (word text COLLATE "C" PRIMARY KEY);
CREATE INDEX marketplace_searchword_trigram ON marketplace_searchword USING gin (word gin_trgm_ops);

CREATE FUNCTION marketplace_words(ai_model marketplace_aimodel) RETURNS SETOF text LANGUAGE sql STABLE AS $$
  -- The distinct words of a listing, as people would type them.
  SELECT DISTINCT lexeme FROM unnest(to_tsvector('simple', unaccent(concat_ws(' ',
      ai_model.name, translate(ai_model.slug, '-.', '  '), translate(ai_model.category, '-', ' '),
      array_to_string(ai_model.capabilities, ' '), ai_model.description,
      (SELECT o.name || ' ' || o.slug FROM accounts_organization o WHERE o.id = ai_model.publisher_id)))))
   WHERE lexeme ~ '^[a-z][a-z0-9]{2,39}$'
$$;

CREATE FUNCTION marketplace_learn_words() RETURNS trigger LANGUAGE plpgsql AS $$
-- In one order, so that two listings published at once do not wait for each other's words in a circle.
BEGIN
  INSERT INTO marketplace_searchword (word) SELECT word FROM marketplace_words(NEW) word ORDER BY word ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;

CREATE TRIGGER ai_model_search_words
  AFTER INSERT OR UPDATE OF name, slug, description, category, capabilities, status ON marketplace_aimodel
  FOR EACH ROW WHEN (NEW.status IN ('published', 'deprecated')) EXECUTE FUNCTION marketplace_learn_words();

INSERT INTO marketplace_searchword (word)
  SELECT DISTINCT word FROM marketplace_aimodel m, marketplace_words(m) word WHERE m.status IN ('published', 'deprecated');
"""


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0002_immutability_and_search")]

    operations = [
        migrations.RunSQL(QUERY, "DROP FUNCTION marketplace_search_query(text[]);"),
        migrations.RunSQL(
            WORDS,
            """
            DROP TRIGGER ai_model_search_words ON marketplace_aimodel; DROP FUNCTION marketplace_learn_words();
            DROP FUNCTION marketplace_words(marketplace_aimodel); DROP TABLE marketplace_searchword;
            """,
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=models.Index(
                fields=["-is_callable", "-popularity", "-id"],
                condition=Q(status__in=["published", "deprecated"]),
                name="ai_model_browse",
            ),
        ),
        migrations.AddIndex(
            model_name="price",
            index=models.Index(fields=["ai_model", "-effective_from", "-id"], name="price_in_force"),
        ),
    ]
