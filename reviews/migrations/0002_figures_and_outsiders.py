"""Figures that are always those of the rows, and reviews that are never the publisher's own."""

from django.db import migrations

FIGURES = """
CREATE FUNCTION reviews_keep_figures() RETURNS trigger LANGUAGE plpgsql AS $$
-- Whatever writes a review moves the summary and the listing with it, in the same transaction. The summary's row is
-- locked by the first who moves it, so that those at once add up. Nothing is made anew where a listing goes.
DECLARE
  was integer := 0;
  is_now integer := 0;
  model uuid;
BEGIN
  IF TG_OP <> 'INSERT' THEN
    model := OLD.ai_model_id;
    IF OLD.hidden_at IS NULL THEN was := OLD.rating; END IF;
  END IF;
  IF TG_OP <> 'DELETE' THEN
    model := NEW.ai_model_id;
    IF NEW.hidden_at IS NULL THEN is_now := NEW.rating; END IF;
  END IF;
  IF was = is_now THEN
    RETURN NULL;
  END IF;
  IF is_now > 0 THEN
    INSERT INTO reviews_ratingsummary (id, ai_model_id, stars) VALUES (model, model, '{0,0,0,0,0}')
      ON CONFLICT (id) DO NOTHING;
  END IF;
  UPDATE reviews_ratingsummary s
     SET stars = (SELECT array_agg(u.many + (u.star = is_now)::integer - (u.star = was)::integer ORDER BY u.star)
                    FROM unnest(s.stars) WITH ORDINALITY u(many, star))
   WHERE s.id = model;
  UPDATE marketplace_aimodel m
     SET rating_count = s.stars[1] + s.stars[2] + s.stars[3] + s.stars[4] + s.stars[5],
         rating_sum = s.stars[1] + 2 * s.stars[2] + 3 * s.stars[3] + 4 * s.stars[4] + 5 * s.stars[5]
    FROM reviews_ratingsummary s WHERE s.id = model AND m.id = model;
  RETURN NULL;
END $$;

CREATE TRIGGER review_figures AFTER INSERT OR DELETE OR UPDATE OF rating, hidden_at ON reviews_review
  FOR EACH ROW EXECUTE FUNCTION reviews_keep_figures();

CREATE FUNCTION reviews_count_votes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    UPDATE reviews_review SET helpful_count = helpful_count + 1 WHERE id = NEW.review_id;
  ELSE
    UPDATE reviews_review SET helpful_count = helpful_count - 1 WHERE id = OLD.review_id;
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER review_votes AFTER INSERT OR DELETE ON reviews_vote
  FOR EACH ROW EXECUTE FUNCTION reviews_count_votes();
"""
NO_FIGURES = """
DROP TRIGGER review_votes ON reviews_vote; DROP FUNCTION reviews_count_votes();
DROP TRIGGER review_figures ON reviews_review; DROP FUNCTION reviews_keep_figures();
"""

OUTSIDERS = """
CREATE FUNCTION reviews_refuse_own() RETURNS trigger LANGUAGE plpgsql AS $$
-- Of whom a review is, and of what, stands; and whoever publishes a model does not review it.
BEGIN
  IF TG_OP = 'UPDATE' THEN
    RAISE EXCEPTION 'a review stays that of its author, organization and model' USING ERRCODE = 'check_violation';
  END IF;
  IF EXISTS (SELECT FROM marketplace_aimodel m
              WHERE m.id = NEW.ai_model_id
                AND (m.publisher_id = NEW.organization_id
                     OR EXISTS (SELECT FROM accounts_membership p
                                 WHERE p.organization_id = m.publisher_id AND p.user_id = NEW.author_id))) THEN
    RAISE EXCEPTION 'nobody reviews a model of their own organization' USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER review_of_an_outsider BEFORE INSERT ON reviews_review
  FOR EACH ROW EXECUTE FUNCTION reviews_refuse_own();
CREATE TRIGGER review_stays BEFORE UPDATE ON reviews_review
  FOR EACH ROW WHEN ((OLD.ai_model_id, OLD.author_id, OLD.organization_id)
                     IS DISTINCT FROM (NEW.ai_model_id, NEW.author_id, NEW.organization_id))
  EXECUTE FUNCTION reviews_refuse_own();
"""
NO_OUTSIDERS = """
DROP TRIGGER review_stays ON reviews_review; DROP TRIGGER review_of_an_outsider ON reviews_review;
DROP FUNCTION reviews_refuse_own();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("marketplace", "0005_orders_of_the_catalogue"),
        ("reviews", "0001_initial"),
    ]

    operations = [migrations.RunSQL(FIGURES, NO_FIGURES), migrations.RunSQL(OUTSIDERS, NO_OUTSIDERS)]
