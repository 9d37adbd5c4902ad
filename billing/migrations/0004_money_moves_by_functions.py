"""The laws of the ledger, which hold for every role: a transaction balances when it commits, nothing is edited, balances
are the sums of entries. And the functions that write money, the only way for the application's role."""

from django.db import migrations

LAWS = """
-- The database transaction that made it: nobody adds a leg to what has committed.
ALTER TABLE billing_ledgertransaction ADD COLUMN made_in xid8 NOT NULL DEFAULT pg_current_xact_id();
-- The order in which legs were written: the last one looks whether all of them balance.
ALTER TABLE billing_ledgerentry ADD COLUMN leg bigint GENERATED ALWAYS AS IDENTITY;
CREATE INDEX ledger_entry_of_transaction ON billing_ledgerentry (transaction_id, leg);

CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only: no % of %', lower(TG_OP), TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege', HINT = 'Post a transaction that reverses the wrong one.';
END $$;

CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON billing_ledgertransaction
  FOR EACH ROW EXECUTE FUNCTION ledger_refuse();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON billing_ledgertransaction
  FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON billing_ledgerentry
  FOR EACH ROW EXECUTE FUNCTION ledger_refuse();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON billing_ledgerentry
  FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
CREATE TRIGGER never_removed BEFORE DELETE ON billing_ledgeraccount
  FOR EACH ROW EXECUTE FUNCTION ledger_refuse();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON billing_ledgeraccount
  FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();

CREATE FUNCTION ledger_guard_account() RETURNS trigger LANGUAGE plpgsql AS $$
-- A balance is what the entries say: it begins at zero, and `ledger_keep_balances` alone moves it.
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.balance_nano <> 0 THEN
      RAISE EXCEPTION 'an account begins at zero' USING ERRCODE = 'check_violation';
    END IF;
  ELSIF (NEW.id, NEW.kind, NEW.organization_id, NEW.currency) IS DISTINCT FROM
        (OLD.id, OLD.kind, OLD.organization_id, OLD.currency)
     OR (NEW.balance_nano <> OLD.balance_nano AND pg_trigger_depth() < 2) THEN
    RAISE EXCEPTION 'an account is moved by entries alone' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER moved_by_entries_alone BEFORE INSERT OR UPDATE ON billing_ledgeraccount
  FOR EACH ROW EXECUTE FUNCTION ledger_guard_account();

CREATE FUNCTION ledger_guard_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM billing_ledgertransaction t
                  WHERE t.id = NEW.transaction_id AND t.made_in = pg_current_xact_id()) THEN
    RAISE EXCEPTION 'an entry is written together with its transaction' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER with_its_transaction BEFORE INSERT ON billing_ledgerentry
  FOR EACH ROW EXECUTE FUNCTION ledger_guard_entry();

CREATE FUNCTION ledger_keep_balances() RETURNS trigger LANGUAGE plpgsql AS $$
-- Accounts are locked in the order of their ids, whoever posts.
BEGIN
  PERFORM FROM billing_ledgeraccount WHERE id IN (SELECT account_id FROM added) ORDER BY id FOR NO KEY UPDATE;
  UPDATE billing_ledgeraccount a SET balance_nano = a.balance_nano + d.amount
    FROM (SELECT account_id, sum(amount_nano)::bigint AS amount FROM added GROUP BY account_id) d
   WHERE a.id = d.account_id;
  RETURN NULL;
END $$;
CREATE TRIGGER balances_follow AFTER INSERT ON billing_ledgerentry
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ledger_keep_balances();

CREATE FUNCTION ledger_check_entry() RETURNS trigger LANGUAGE plpgsql AS $$
-- The last leg of a transaction looks at all of them.
BEGIN
  IF EXISTS (SELECT FROM billing_ledgerentry WHERE transaction_id = NEW.transaction_id AND leg > NEW.leg) THEN
    RETURN NULL;
  END IF;
  IF EXISTS (SELECT FROM billing_ledgerentry e JOIN billing_ledgeraccount a ON a.id = e.account_id
              WHERE e.transaction_id = NEW.transaction_id
              GROUP BY a.currency HAVING sum(e.amount_nano) <> 0 OR count(*) < 2) THEN
    RAISE EXCEPTION 'transaction % does not balance', NEW.transaction_id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER balances_at_commit AFTER INSERT ON billing_ledgerentry
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_entry();

CREATE FUNCTION ledger_check_transaction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM billing_ledgerentry WHERE transaction_id = NEW.id) THEN
    RAISE EXCEPTION 'transaction % has no entries', NEW.id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER has_entries_at_commit AFTER INSERT ON billing_ledgertransaction
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_transaction();

CREATE FUNCTION usage_event_guard() RETURNS trigger LANGUAGE plpgsql AS $$
-- A call is posted once, into one charge; nothing else about it changes.
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.posted_at IS NULL AND NEW.posted_at IS NOT NULL AND NEW.charge_id IS NOT NULL
     AND (NEW.id, NEW.organization_id, NEW.publisher_id, NEW.ai_model_id, NEW.version_id, NEW.price_id, NEW.mode,
          NEW.input_tokens, NEW.output_tokens, NEW.cost_nano, NEW.occurred_at)
       = (OLD.id, OLD.organization_id, OLD.publisher_id, OLD.ai_model_id, OLD.version_id, OLD.price_id, OLD.mode,
          OLD.input_tokens, OLD.output_tokens, OLD.cost_nano, OLD.occurred_at) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'a usage event is posted once, and else never changed' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER posted_once BEFORE UPDATE OR DELETE ON billing_usageevent
  FOR EACH ROW EXECUTE FUNCTION usage_event_guard();

CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON billing_charge
  FOR EACH ROW EXECUTE FUNCTION ledger_refuse();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON billing_charge
  FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON billing_grantuse
  FOR EACH ROW EXECUTE FUNCTION ledger_refuse();
CREATE TRIGGER never_removed BEFORE DELETE ON billing_creditgrant
  FOR EACH ROW EXECUTE FUNCTION ledger_refuse();
"""

LAWLESS = """
DROP TRIGGER never_removed ON billing_creditgrant;
DROP TRIGGER never_changed ON billing_grantuse;
DROP TRIGGER never_emptied ON billing_charge;
DROP TRIGGER never_changed ON billing_charge;
DROP TRIGGER posted_once ON billing_usageevent;
DROP TRIGGER has_entries_at_commit ON billing_ledgertransaction;
DROP TRIGGER balances_at_commit ON billing_ledgerentry;
DROP TRIGGER balances_follow ON billing_ledgerentry;
DROP TRIGGER with_its_transaction ON billing_ledgerentry;
DROP TRIGGER moved_by_entries_alone ON billing_ledgeraccount;
DROP TRIGGER never_emptied ON billing_ledgeraccount;
DROP TRIGGER never_removed ON billing_ledgeraccount;
DROP TRIGGER never_emptied ON billing_ledgerentry;
DROP TRIGGER never_changed ON billing_ledgerentry;
DROP TRIGGER never_emptied ON billing_ledgertransaction;
DROP TRIGGER never_changed ON billing_ledgertransaction;
DROP FUNCTION usage_event_guard(), ledger_check_transaction(), ledger_check_entry(), ledger_keep_balances(),
  ledger_guard_entry(), ledger_guard_account(), ledger_refuse();
DROP INDEX ledger_entry_of_transaction;
ALTER TABLE billing_ledgerentry DROP COLUMN leg;
ALTER TABLE billing_ledgertransaction DROP COLUMN made_in;
"""

FUNCTIONS = """
CREATE FUNCTION ledger_account(p_kind text, p_organization uuid, p_currency text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- The account, opened now if nobody has opened it yet. Prepaid credit never goes below nothing.
DECLARE
  found uuid;
BEGIN
  LOOP
    SELECT id INTO found FROM billing_ledgeraccount
     WHERE kind = p_kind AND organization_id IS NOT DISTINCT FROM p_organization AND currency = p_currency;
    IF found IS NOT NULL THEN
      RETURN found;
    END IF;
    INSERT INTO billing_ledgeraccount (id, kind, organization_id, currency, balance_nano, floor_nano)
    VALUES (uuid7_now(), p_kind, p_organization, p_currency, 0, CASE p_kind WHEN 'credit' THEN 0 END)
    ON CONFLICT DO NOTHING;
  END LOOP;
END $$;

CREATE FUNCTION ledger_post(p_kind text, p_key text, p_memo text, p_at timestamptz, p_accounts uuid[],
                            p_amounts bigint[]) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- One transaction; each leg is an account and what enters it. The key says what happened: a second time nothing is
-- posted and the first one's id returned, unless its legs are others.
DECLARE
  made uuid;
BEGIN
  IF cardinality(p_accounts) IS DISTINCT FROM cardinality(p_amounts) THEN
    RAISE EXCEPTION 'each leg has an account and an amount' USING ERRCODE = 'check_violation';
  END IF;
  INSERT INTO billing_ledgertransaction (id, kind, key, memo, occurred_at)
  VALUES (uuid7_now(), p_kind, p_key, p_memo, p_at) ON CONFLICT (key) DO NOTHING RETURNING id INTO made;
  IF made IS NULL THEN
    SELECT id INTO made FROM billing_ledgertransaction WHERE key = p_key AND kind = p_kind;
    IF made IS NULL OR EXISTS (
         SELECT FROM (SELECT account_id, amount_nano FROM billing_ledgerentry WHERE transaction_id = made) was
           FULL JOIN (SELECT a, sum(n) AS n FROM unnest(p_accounts, p_amounts) x(a, n) GROUP BY a HAVING sum(n) <> 0) now
             ON now.a = was.account_id
          WHERE was.amount_nano IS DISTINCT FROM now.n) THEN
      RAISE EXCEPTION 'the key % stands for something else', p_key USING ERRCODE = 'unique_violation';
    END IF;
    RETURN made;
  END IF;
  INSERT INTO billing_ledgerentry (id, transaction_id, account_id, amount_nano)
  SELECT uuid7_now(), made, a, sum(n)::bigint FROM unnest(p_accounts, p_amounts) x(a, n) GROUP BY a HAVING sum(n) <> 0 ORDER BY a;
  RETURN made;
END $$;

CREATE FUNCTION ledger_reverse(p_transaction uuid, p_memo text, p_at timestamptz) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- The same legs the other way round, once. What has books of its own beside the ledger (calls, grants) is taken back by
-- its own function.
DECLARE
  made uuid;
BEGIN
  IF NOT EXISTS (SELECT FROM billing_ledgertransaction WHERE id = p_transaction AND kind = 'adjustment') THEN
    RAISE EXCEPTION 'transaction % is not one to be reversed', p_transaction USING ERRCODE = 'check_violation';
  END IF;
  INSERT INTO billing_ledgertransaction (id, kind, key, memo, occurred_at, reverses_id)
  VALUES (uuid7_now(), 'reversal', 'reversal:' || p_transaction, p_memo, p_at, p_transaction)
  ON CONFLICT (key) DO NOTHING RETURNING id INTO made;
  IF made IS NULL THEN
    SELECT id INTO made FROM billing_ledgertransaction WHERE key = 'reversal:' || p_transaction;
    RETURN made;
  END IF;
  INSERT INTO billing_ledgerentry (id, transaction_id, account_id, amount_nano)
  SELECT uuid7_now(), made, account_id, -amount_nano FROM billing_ledgerentry WHERE transaction_id = p_transaction ORDER BY account_id;
  RETURN made;
END $$;

CREATE FUNCTION billing_grant_credit(p_organization uuid, p_source text, p_key text, p_reason text, p_amount bigint,
                                     p_expires timestamptz, p_priority smallint, p_currency text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- Credit for an organization: a grant, its transaction, and as much more that its calls may cost. Once for each key.
DECLARE
  at timestamptz := clock_now();
  made uuid;
BEGIN
  INSERT INTO billing_creditgrant (id, organization_id, source, key, reason, amount_nano, remaining_nano, ended_nano,
                                   priority, granted_at, expires_at)
  VALUES (uuid7_now(), p_organization, p_source, p_key, p_reason, p_amount, p_amount, 0, p_priority, at, p_expires)
  ON CONFLICT (key) DO NOTHING RETURNING id INTO made;
  IF made IS NULL THEN
    SELECT id INTO made FROM billing_creditgrant WHERE key = p_key AND organization_id = p_organization;
    RETURN made;
  END IF;
  UPDATE accounts_budget SET "limit" = "limit" + p_amount
   WHERE subject_id = p_organization AND purpose = 'credit' AND closed_at IS NULL;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'organization % has no credit yet', p_organization USING ERRCODE = 'check_violation';
  END IF;
  PERFORM ledger_post('grant', 'grant:' || made, p_reason, at,
    ARRAY[ledger_account(CASE p_source WHEN 'purchased' THEN 'clearing' ELSE 'promotions' END, NULL, p_currency),
          ledger_account('credit', p_organization, p_currency)],
    ARRAY[-p_amount, p_amount]);
  RETURN made;
END $$;

CREATE FUNCTION billing_end_grant(p_grant uuid, p_reason text, p_currency text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- Take back what is left of a grant and not held by a call that runs. Returns how much; NULL while the organization has
-- calls that are not posted, which may have used it.
DECLARE
  given billing_creditgrant;
  free bigint;
  taken bigint;
  at timestamptz := clock_now();
BEGIN
  SELECT * INTO STRICT given FROM billing_creditgrant WHERE id = p_grant;
  SELECT b."limit" - b.spent - b.held INTO free FROM accounts_budget b
   WHERE b.subject_id = given.organization_id AND b.purpose = 'credit' AND b.closed_at IS NULL FOR NO KEY UPDATE;
  IF EXISTS (SELECT FROM billing_usageevent e WHERE e.organization_id = given.organization_id
                AND e.posted_at IS NULL AND e.mode = 'live' AND e.cost_nano > 0) THEN
    RETURN NULL;
  END IF;
  SELECT * INTO given FROM billing_creditgrant WHERE id = p_grant FOR NO KEY UPDATE;
  taken := greatest(least(given.remaining_nano, free), 0);
  IF taken = 0 THEN
    RETURN 0;
  END IF;
  UPDATE accounts_budget SET "limit" = "limit" - taken
   WHERE subject_id = given.organization_id AND purpose = 'credit' AND closed_at IS NULL;
  UPDATE billing_creditgrant
     SET remaining_nano = remaining_nano - taken, ended_nano = ended_nano + taken,
         ended_at = CASE WHEN remaining_nano = taken THEN at END
   WHERE id = p_grant;
  PERFORM ledger_post('grant_ended', 'grant_ended:' || p_grant || ':' || given.ended_nano + taken, p_reason, at,
    ARRAY[ledger_account('credit', given.organization_id, p_currency),
          ledger_account(CASE given.source WHEN 'purchased' THEN 'breakage' ELSE 'promotions' END, NULL, p_currency)],
    ARRAY[-taken, taken]);
  RETURN taken;
END $$;

CREATE FUNCTION billing_post_usage(p_most integer, p_fee_bp integer, p_without uuid[], p_currency text,
                                   OUT posted integer, OUT lacking uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- Settled calls become charges and one transaction: the customers' credit pays the publishers and the platform's fee,
-- which is rounded down call by call. One posting at a time. An organization whose credit does not cover its calls (it
-- cannot happen while budgets are kept) holds nobody else up: it is named and left out.
DECLARE
  at timestamptz := clock_now();
  ids uuid[];
  made uuid;
BEGIN
  posted := 0; lacking := '{}';
  IF NOT pg_try_advisory_xact_lock(hashtext('billing.post_usage')) THEN
    RETURN;
  END IF;
  ids := ARRAY(SELECT id FROM billing_usageevent
                WHERE posted_at IS NULL AND mode = 'live' AND cost_nano > 0 AND organization_id <> ALL (p_without)
                ORDER BY id LIMIT p_most);
  lacking := ARRAY(SELECT d.organization_id
                     FROM (SELECT organization_id, sum(cost_nano) AS due FROM billing_usageevent
                            WHERE id = ANY (ids) AND id BETWEEN ids[1] AND ids[cardinality(ids)] GROUP BY 1) d
                     LEFT JOIN billing_ledgeraccount a ON a.kind = 'credit' AND a.organization_id = d.organization_id
                                                      AND a.currency = p_currency
                    WHERE coalesce(a.balance_nano, 0) < d.due);
  IF cardinality(lacking) > 0 THEN
    ids := ARRAY(SELECT id FROM billing_usageevent
                  WHERE id = ANY (ids) AND id BETWEEN ids[1] AND ids[cardinality(ids)]
                    AND organization_id <> ALL (lacking) ORDER BY id);
  END IF;
  posted := cardinality(ids);
  IF posted = 0 THEN
    RETURN;
  END IF;

  made := uuid7_now();
  INSERT INTO billing_ledgertransaction (id, kind, key, memo, occurred_at) VALUES (made, 'usage', 'usage:' || ids[1], '', at);
  INSERT INTO billing_charge (id, transaction_id, organization_id, publisher_id, ai_model_id, version_id, price_id, day,
                              calls, input_tokens, output_tokens, amount_nano, fee_nano)
  SELECT (array_agg(id ORDER BY id))[1], made, organization_id, publisher_id, ai_model_id, version_id, price_id,
         (occurred_at AT TIME ZONE 'UTC')::date, count(*), sum(input_tokens), sum(output_tokens), sum(cost_nano),
         sum(cost_nano / 10000 * p_fee_bp + cost_nano % 10000 * p_fee_bp / 10000)
    FROM billing_usageevent WHERE id = ANY (ids) AND id BETWEEN ids[1] AND ids[posted]
   GROUP BY organization_id, publisher_id, ai_model_id, version_id, price_id, (occurred_at AT TIME ZONE 'UTC')::date;
  UPDATE billing_usageevent e SET posted_at = at, charge_id = c.id
    FROM billing_charge c
   WHERE c.transaction_id = made AND e.id = ANY (ids) AND e.id BETWEEN ids[1] AND ids[posted]
     AND (e.organization_id, e.publisher_id, e.ai_model_id, e.version_id, e.price_id, (e.occurred_at AT TIME ZONE 'UTC')::date)
       = (c.organization_id, c.publisher_id, c.ai_model_id, c.version_id, c.price_id, c.day);

  -- Grants are drawn on in their order; a row for each that was.
  PERFORM FROM billing_creditgrant
    WHERE remaining_nano > 0 AND organization_id IN (SELECT organization_id FROM billing_charge WHERE transaction_id = made)
    ORDER BY id FOR NO KEY UPDATE;
  WITH due AS (
    SELECT organization_id, sum(amount_nano) AS amount FROM billing_charge WHERE transaction_id = made GROUP BY 1
  ), drawn AS (
    SELECT g.id, least(g.remaining_nano, greatest(0, due.amount - coalesce(sum(g.remaining_nano) OVER (
             PARTITION BY g.organization_id ORDER BY g.priority, g.expires_at NULLS LAST, g.id
             ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)))::bigint AS amount
      FROM billing_creditgrant g JOIN due USING (organization_id) WHERE g.remaining_nano > 0
  ), used AS (
    INSERT INTO billing_grantuse (id, grant_id, transaction_id, amount_nano)
    SELECT uuid7_now(), id, made, amount FROM drawn WHERE amount > 0
  )
  UPDATE billing_creditgrant g SET remaining_nano = g.remaining_nano - d.amount,
         ended_at = CASE WHEN g.remaining_nano = d.amount THEN at END
    FROM drawn d WHERE g.id = d.id AND d.amount > 0;

  INSERT INTO billing_ledgerentry (id, transaction_id, account_id, amount_nano)
  SELECT uuid7_now(), made, account, sum(amount)::bigint FROM (
    SELECT ledger_account('credit', organization_id, p_currency) AS account, -sum(amount_nano) AS amount
      FROM billing_charge WHERE transaction_id = made GROUP BY organization_id
     UNION ALL
    SELECT ledger_account('payable', publisher_id, p_currency), sum(amount_nano - fee_nano)
      FROM billing_charge WHERE transaction_id = made GROUP BY publisher_id
     UNION ALL
    SELECT ledger_account('fees', NULL, p_currency), sum(fee_nano) FROM billing_charge WHERE transaction_id = made
  ) legs GROUP BY account HAVING sum(amount) <> 0 ORDER BY account;
END $$;
"""

NO_FUNCTIONS = """
DROP FUNCTION billing_post_usage(integer, integer, uuid[], text);
DROP FUNCTION billing_end_grant(uuid, text, text);
DROP FUNCTION billing_grant_credit(uuid, text, text, text, bigint, timestamptz, smallint, text);
DROP FUNCTION ledger_reverse(uuid, text, timestamptz);
DROP FUNCTION ledger_post(text, text, text, timestamptz, uuid[], bigint[]);
DROP FUNCTION ledger_account(text, uuid, text);
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0003_ledger"), ("accounts", "0002_clock_and_budget_windows")]

    operations = [migrations.RunSQL(LAWS, LAWLESS), migrations.RunSQL(FUNCTIONS, NO_FUNCTIONS)]
