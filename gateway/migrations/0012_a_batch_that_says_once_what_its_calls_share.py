"""The batch again: what many of its calls have in common is sent once, its budgets are locked, tested and moved by one
statement, and a call is found by its id however much lies between the oldest and the newest."""

from importlib import import_module

from django.db import migrations

BEFORE = import_module("gateway.migrations.0010_a_leaner_batch").BATCH.replace("DROP FUNCTION gateway_batch;", "", 1)

BATCH = """
CREATE FUNCTION gateway_batch(
  -- What calls are: who makes them, of what, at which price. A position for each different one; its budgets stand in
  -- w_budget (w_first to w_last, 1-based).
  w_organization uuid[], w_user uuid[], w_key uuid[], w_publisher uuid[], w_model uuid[], w_version uuid[],
  w_price uuid[], w_deployment uuid[], w_kind text[], w_mode text[], w_streamed boolean[], w_first integer[],
  w_last integer[], w_budget uuid[],
  -- Reserves, one position each: the call, the position of what it is, and the most it may cost.
  r_id uuid[], r_what integer[], r_hold bigint[],
  -- How calls ended: a position for each different way.
  e_rule text[], e_source text[], e_status integer[], e_error text[],
  -- Settles, one position each: the call, the position of how it ended, and its quantities.
  s_id uuid[], s_end integer[], s_cost bigint[], s_input bigint[], s_output bigint[], s_latency integer[],
  s_first_token integer[],
  -- Of all these calls the lowest and the highest id; and whether any of the reserves may be here already.
  oldest uuid, newest uuid, is_repeat boolean,
  -- Positions of refused reserves and the budget that refused each; positions of settles that found no started call.
  OUT refused integer[], OUT refused_by uuid[], OUT unsettled integer[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_material = off AS $$
-- Everything that waits in a gateway process, as one transaction. A reserve writes the call and its hold, in all its
-- budgets or in none, and in none when it holds nothing; a settle moves the hold to spent once, guarded by the state. A
-- refusal is a position in the answer, never an exception. A repeated reserve (the answer of the first was lost) changes
-- nothing and is not refused.
-- Locks: calls by id, then the union of budgets by id.
DECLARE
  at timestamptz := clock_now();
  known integer[] := '{}';
  ended uuid[];
  fits boolean;
  room jsonb;
  one record;
  blocker uuid;
BEGIN
  refused := '{}'; refused_by := '{}'; unsettled := '{}';

  -- 1. Budgets whose window has turned are replaced by their successors.
  IF EXISTS (SELECT FROM accounts_budget b WHERE b.id = ANY (w_budget) AND b.ends_at <= at) THEN
    PERFORM budget_in_force(b.id, at) FROM accounts_budget b
      WHERE b.id = ANY (w_budget) AND b.ends_at <= at ORDER BY b.subject_id, b.id;
    w_budget := ARRAY(SELECT budget_in_force(x.id, at) FROM unnest(w_budget) WITH ORDINALITY x(id, n) ORDER BY x.n);
  END IF;

  -- 2. Reserves that are here already ask for nothing more.
  IF is_repeat THEN
    known := ARRAY(SELECT i.n FROM unnest(r_id) WITH ORDINALITY i(id, n) WHERE EXISTS
                    (SELECT FROM gateway_invocation c WHERE c.id = i.id AND c.id BETWEEN oldest AND newest));
  END IF;

  -- 3. Settle, each call once; add up what this batch moves on each budget: to hold, to free, to spend; and move it. The
  -- calls are read from the index and so locked in the order of their ids, then the budgets one by one in that of
  -- theirs. Where one holds too much now, somebody is at a limit.
  WITH settled AS (
    UPDATE gateway_invocation c
       SET (state, settled_at, rule, cost_nano, overrun_nano, input_tokens, output_tokens, usage_source, http_status,
            error_code, latency_ms, first_token_ms) = (
             SELECT 'final', at, e_rule[s_end[n]], least(s_cost[n], c.hold_nano), greatest(s_cost[n] - c.hold_nano, 0),
                    s_input[n], s_output[n], e_source[s_end[n]], e_status[s_end[n]], e_error[s_end[n]], s_latency[n],
                    s_first_token[n]
               FROM (SELECT array_position(s_id, c.id) AS n OFFSET 0) s)
     WHERE c.id = ANY (s_id) AND c.id BETWEEN oldest AND newest AND c.state = 'started'
    RETURNING c.id, c.organization_id, c.publisher_id, c.ai_model_id, c.version_id, c.price_id, c.mode, c.input_tokens,
              c.output_tokens, c.cost_nano, c.hold_nano, c.budget_ids
  ), metered AS (
    INSERT INTO billing_usageevent (id, organization_id, publisher_id, ai_model_id, version_id, price_id, mode,
                                    input_tokens, output_tokens, cost_nano, occurred_at)
    SELECT id, organization_id, publisher_id, ai_model_id, version_id, price_id, mode, input_tokens, output_tokens,
           cost_nano, at FROM settled
  ), moves AS (
    SELECT unnest(u.budget_ids) AS budget, 0::bigint AS adds, u.hold_nano AS frees, u.cost_nano AS spends FROM settled u
     UNION ALL
    SELECT unnest(w_budget[w_first[r_what[n]]:w_last[r_what[n]]]), r_hold[n], 0, 0
      FROM generate_series(1, cardinality(r_id)) n WHERE r_hold[n] > 0 AND n <> ALL (known)
  ), moved AS (
    UPDATE accounts_budget b SET held = b.held + d.adds - d.frees, spent = b.spent + d.spends
      FROM (SELECT budget, sum(adds)::bigint AS adds, sum(frees)::bigint AS frees, sum(spends)::bigint AS spends
              FROM moves GROUP BY budget ORDER BY budget) d
     WHERE b.id = d.budget
    RETURNING d.adds = 0 OR b.spent + b.held <= b."limit" AS fits
  )
  SELECT (SELECT array_agg(u.id) FROM settled u), (SELECT bool_and(m.fits) FROM moved m) INTO ended, fits;
  IF cardinality(s_id) > coalesce(cardinality(ended), 0) THEN
    unsettled := ARRAY(SELECT i.n FROM unnest(s_id) WITH ORDINALITY i(id, n)
                        WHERE i.id <> ALL (coalesce(ended, '{}')) ORDER BY i.n);
  END IF;

  IF NOT fits THEN
    -- 4. Rare: decide one by one, exactly, in order of arrival, from what there was without these reserves. The budgets
    -- are locked; what was refused is given back.
    SELECT jsonb_object_agg(b.id, b."limit" - b.spent - b.held + d.adds) INTO room
      FROM (SELECT x.budget, sum(r_hold[i])::bigint AS adds
              FROM generate_series(1, cardinality(r_id)) i
             CROSS JOIN LATERAL unnest(w_budget[w_first[r_what[i]]:w_last[r_what[i]]]) x(budget)
             WHERE r_hold[i] > 0 AND i <> ALL (known) GROUP BY x.budget) d
      JOIN accounts_budget b ON b.id = d.budget;
    FOR one IN
      SELECT i AS n, r_hold[i] AS hold, w_first[r_what[i]] AS first, w_last[r_what[i]] AS last
        FROM generate_series(1, cardinality(r_id)) i WHERE r_hold[i] > 0 AND i <> ALL (known) ORDER BY i
    LOOP
      blocker := NULL;
      FOR j IN one.first .. one.last LOOP
        IF (room ->> w_budget[j]::text)::bigint < one.hold THEN
          blocker := w_budget[j];
          EXIT;
        END IF;
      END LOOP;
      IF blocker IS NOT NULL THEN
        refused := refused || one.n;
        refused_by := refused_by || blocker;
        CONTINUE;
      END IF;
      FOR j IN one.first .. one.last LOOP
        room := jsonb_set(room, ARRAY[w_budget[j]::text], to_jsonb((room ->> w_budget[j]::text)::bigint - one.hold));
      END LOOP;
    END LOOP;
    UPDATE accounts_budget b SET held = b.held - d.refused
      FROM (SELECT x.budget, sum(r_hold[i])::bigint AS refused FROM unnest(refused) i
             CROSS JOIN LATERAL unnest(w_budget[w_first[r_what[i]]:w_last[r_what[i]]]) x(budget) GROUP BY x.budget) d
     WHERE b.id = d.budget;
  END IF;

  IF cardinality(r_id) > 0 THEN
    INSERT INTO gateway_invocation (id, state, organization_id, user_id, api_key_id, publisher_id, ai_model_id,
      version_id, price_id, deployment_id, kind, mode, is_streamed, is_demo, budget_ids, hold_nano, started_at, beat_at,
      rule, cost_nano, overrun_nano, input_tokens, output_tokens, usage_source, error_code)
    SELECT r_id[n], 'started', w_organization[w], w_user[w], w_key[w], w_publisher[w], w_model[w], w_version[w],
           w_price[w], w_deployment[w], w_kind[w], w_mode[w], w_streamed[w], false,
           CASE WHEN r_hold[n] > 0 THEN w_budget[w_first[w]:w_last[w]] ELSE '{}' END, r_hold[n], at, at,
           '', 0, 0, 0, 0, '', ''
      FROM (SELECT n, r_what[n] AS w FROM generate_series(1, cardinality(r_id)) n OFFSET 0) i
     WHERE n <> ALL (refused) AND n <> ALL (known);
  END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("gateway", "0011_contract_checks")]

    operations = [
        migrations.RunSQL(
            "DROP FUNCTION gateway_batch;" + BATCH,
            "DROP FUNCTION gateway_batch;" + BEFORE,
        )
    ]
