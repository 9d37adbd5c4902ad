"""The batch, in fewer statements: what a caller knows, or what another statement finds, is not looked up again. A call
says by which deployment it came."""

from importlib import import_module

from django.db import migrations

BEFORE = import_module("gateway.migrations.0002_gateway_batch").BATCH.partition("CREATE FUNCTION gateway_beat")[0]

BATCH = """
DROP FUNCTION gateway_batch;
CREATE FUNCTION gateway_batch(
  -- Reserves, one position each: the call, and where its budgets stand in r_budget (r_first to r_last, 1-based).
  r_id uuid[], r_organization uuid[], r_user uuid[], r_key uuid[], r_publisher uuid[], r_model uuid[], r_version uuid[],
  r_price uuid[], r_deployment uuid[], r_kind text[], r_mode text[], r_streamed boolean[], r_hold bigint[],
  r_first integer[], r_last integer[], r_budget uuid[], r_amount bigint[],
  -- Settles, one position each.
  s_id uuid[], s_rule text[], s_cost bigint[], s_input bigint[], s_output bigint[], s_source text[], s_status integer[],
  s_error text[], s_latency integer[], s_first_token integer[],
  -- Of all these calls the lowest and the highest id; and whether any of the reserves may be here already.
  oldest uuid, newest uuid, is_repeat boolean,
  -- Positions of refused reserves and the budget that refused each; positions of settles that found no started call.
  OUT refused integer[], OUT refused_by uuid[], OUT unsettled integer[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
-- Everything that waits in a gateway process, as one transaction. A reserve writes the call and its hold, all budgets
-- or none; a settle moves the hold to spent once, guarded by the state. A refusal is a position in the answer, never an
-- exception. A repeated reserve (the answer of the first was lost) changes nothing and is not refused.
-- Locks: calls by id, then the union of budgets by id.
DECLARE
  at timestamptz := clock_now();
  known integer[] := '{}';
  d_budget uuid[]; d_add bigint[]; d_free bigint[]; d_spend bigint[];
  fits boolean;
  room jsonb;
  one record;
  blocker uuid;
  n integer;
  ended uuid[];
BEGIN
  refused := '{}'; refused_by := '{}'; unsettled := '{}';

  -- 1. Budgets whose window has turned are replaced by their successors.
  IF EXISTS (SELECT FROM accounts_budget b WHERE b.id = ANY (r_budget) AND b.ends_at <= at) THEN
    PERFORM budget_in_force(b.id, at) FROM accounts_budget b
      WHERE b.id = ANY (r_budget) AND b.ends_at <= at ORDER BY b.subject_id, b.id;
    r_budget := ARRAY(SELECT budget_in_force(x.id, at) FROM unnest(r_budget) WITH ORDINALITY x(id, n) ORDER BY x.n);
  END IF;

  -- 2. Reserves that are here already ask for nothing more.
  IF is_repeat THEN
    known := ARRAY(SELECT i.n FROM unnest(r_id) WITH ORDINALITY i(id, n) WHERE EXISTS
                    (SELECT FROM gateway_invocation c WHERE c.id = i.id AND c.id BETWEEN oldest AND newest));
    FOREACH n IN ARRAY known LOOP
      FOR j IN r_first[n] .. r_last[n] LOOP r_amount[j] := 0; END LOOP;
    END LOOP;
  END IF;

  -- 3. Settle, each call once, and add up what this batch moves on each budget: to hold, to free, to spend. The rows are
  -- found one by one in the order of s_id, which is that of the ids, and so they are locked in it.
  WITH settled AS (
    UPDATE gateway_invocation c
       SET state = 'final', settled_at = at, rule = s.rule, cost_nano = least(s.cost, c.hold_nano),
           overrun_nano = greatest(s.cost - c.hold_nano, 0), input_tokens = s.input, output_tokens = s.output,
           usage_source = s.source, http_status = s.status, error_code = s.error, latency_ms = s.latency,
           first_token_ms = s.first_token
      FROM unnest(s_id, s_rule, s_cost, s_input, s_output, s_source, s_status, s_error, s_latency, s_first_token)
           s(id, rule, cost, input, output, source, status, error, latency, first_token)
     WHERE c.id = s.id AND c.id BETWEEN oldest AND newest AND c.state = 'started'
    RETURNING c.*
  ), metered AS (
    INSERT INTO billing_usageevent (id, organization_id, publisher_id, ai_model_id, version_id, price_id, mode,
                                    input_tokens, output_tokens, cost_nano, occurred_at)
    SELECT id, organization_id, publisher_id, ai_model_id, version_id, price_id, mode, input_tokens, output_tokens,
           cost_nano, at FROM settled
  ), moves AS (
    SELECT x.budget, 0::bigint AS adds, u.hold_nano AS frees, u.cost_nano AS spends
      FROM settled u CROSS JOIN LATERAL unnest(u.budget_ids) x(budget)
     UNION ALL
    SELECT x.budget, x.amount, 0, 0 FROM unnest(r_budget, r_amount) x(budget, amount)
  ), sums AS (
    SELECT budget, sum(adds)::bigint AS adds, sum(frees)::bigint AS frees, sum(spends)::bigint AS spends
      FROM moves GROUP BY budget
  )
  SELECT array_agg(budget ORDER BY budget), array_agg(adds ORDER BY budget), array_agg(frees ORDER BY budget),
         array_agg(spends ORDER BY budget), (SELECT array_agg(id) FROM settled)
    INTO d_budget, d_add, d_free, d_spend, ended FROM sums;
  IF cardinality(s_id) > coalesce(cardinality(ended), 0) THEN
    unsettled := ARRAY(SELECT i.n FROM unnest(s_id) WITH ORDINALITY i(id, n)
                        WHERE i.id <> ALL (coalesce(ended, '{}')) ORDER BY i.n);
  END IF;

  IF d_budget IS NOT NULL THEN
    -- 4. All budgets of the batch are locked in id order, then tested.
    SELECT bool_and(x.fits) INTO fits FROM (
      SELECT d.adds = 0 OR b.spent + b.held + d.adds - d.frees + d.spends <= b."limit" AS fits
        FROM unnest(d_budget, d_add, d_free, d_spend) d(budget, adds, frees, spends)
        JOIN accounts_budget b ON b.id = d.budget ORDER BY b.id FOR NO KEY UPDATE OF b) x;

    IF NOT fits THEN
      -- 5. Rare: somebody is at a limit. Decide one by one, exactly, in order of arrival; the rows are locked.
      SELECT jsonb_object_agg(b.id, b."limit" - b.spent - b.held + d.frees - d.spends) INTO room
        FROM unnest(d_budget, d_free, d_spend) d(budget, frees, spends) JOIN accounts_budget b ON b.id = d.budget;
      FOR one IN
        SELECT i.n::integer AS n, i.hold, i.first, i.last
          FROM unnest(r_hold, r_first, r_last) WITH ORDINALITY i(hold, first, last, n)
         WHERE i.hold > 0 AND i.n <> ALL (known) ORDER BY i.n
      LOOP
        blocker := NULL;
        FOR j IN one.first .. one.last LOOP
          IF (room ->> r_budget[j]::text)::bigint < one.hold THEN
            blocker := r_budget[j];
            EXIT;
          END IF;
        END LOOP;
        FOR j IN one.first .. one.last LOOP
          IF blocker IS NULL THEN
            room := jsonb_set(room, ARRAY[r_budget[j]::text],
                              to_jsonb((room ->> r_budget[j]::text)::bigint - one.hold));
          ELSE
            r_amount[j] := 0;
          END IF;
        END LOOP;
        IF blocker IS NOT NULL THEN
          refused := refused || one.n;
          refused_by := refused_by || blocker;
        END IF;
      END LOOP;
      SELECT array_agg(coalesce(x.adds, 0) ORDER BY d.budget) INTO d_add
        FROM unnest(d_budget) d(budget)
        LEFT JOIN (SELECT y.budget, sum(y.amount)::bigint AS adds FROM unnest(r_budget, r_amount) y(budget, amount)
                    GROUP BY y.budget) x ON x.budget = d.budget;
    END IF;

    -- 6. One update per budget, whatever the number of calls.
    UPDATE accounts_budget b SET held = b.held + d.adds - d.frees, spent = b.spent + d.spends
      FROM unnest(d_budget, d_add, d_free, d_spend) d(budget, adds, frees, spends)
     WHERE b.id = d.budget AND (d.adds <> d.frees OR d.spends <> 0);
  END IF;

  IF cardinality(r_id) > 0 THEN
    INSERT INTO gateway_invocation (id, state, organization_id, user_id, api_key_id, publisher_id, ai_model_id,
      version_id, price_id, deployment_id, kind, mode, is_streamed, is_demo, budget_ids, hold_nano, started_at, beat_at,
      rule, cost_nano, overrun_nano, input_tokens, output_tokens, usage_source, error_code)
    SELECT i.id, 'started', i.organization, i.caller, i.key, i.publisher, i.model, i.version, i.price, i.deployment,
           i.kind, i.mode, i.streamed, false, coalesce(r_budget[i.first:i.last], '{}'), i.hold, at, at,
           '', 0, 0, 0, 0, '', ''
      FROM unnest(r_id, r_organization, r_user, r_key, r_publisher, r_model, r_version, r_price, r_deployment,
                  r_kind, r_mode, r_streamed, r_hold, r_first, r_last) WITH ORDINALITY
           i(id, organization, caller, key, publisher, model, version, price, deployment, kind, mode, streamed, hold,
             first, last, n)
     WHERE i.n <> ALL (refused) AND i.n <> ALL (known);
  END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("gateway", "0009_predictions")]

    operations = [migrations.RunSQL(BATCH, "DROP FUNCTION gateway_batch;" + BEFORE)]
