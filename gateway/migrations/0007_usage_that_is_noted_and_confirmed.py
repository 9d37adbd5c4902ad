"""Holds that grow with a stream, what was delivered of a call so far, and what publishers say that a call used."""

from importlib import import_module

from django.db import migrations, models

BEFORE = (
    "CREATE FUNCTION gateway_beat"
    + import_module("gateway.migrations.0002_gateway_batch").BATCH.partition("CREATE FUNCTION gateway_beat")[2]
)

RULES = [
    ("free", "The model is free."),
    ("test_mode", "The key is in test mode: nothing is charged."),
    ("usage_reported", "The usage that the upstream reported, at the price when the call began."),
    ("usage_counted", "The upstream reported no usage; what was delivered was counted here."),
    ("per_call", "One answered call, at the price when it began."),
    ("upstream_error", "The upstream failed or could not be reached: nothing is charged."),
    ("upstream_timeout", "The upstream did not answer in time: nothing is charged."),
    ("invalid_output", "The answer was empty or did not fit the model's schema: nothing is charged."),
    ("cancelled", "The caller left or cancelled before anything was delivered: nothing is charged."),
    ("not_sent", "The call ended before the upstream was contacted: nothing is charged."),
    (
        "orphan_confirmed",
        "The gateway stopped during the call; the usage that its publisher confirmed, at the price when it began.",
    ),
    (
        "orphan_progress",
        "The gateway stopped during the call; what it had noted as delivered, at the price when it began.",
    ),
    ("orphan_void", "The gateway stopped during the call and nothing proves delivery: nothing is charged."),
    ("demo", "Made-up usage of the demonstration."),
]

EXTEND = """
CREATE FUNCTION gateway_extend(call uuid, to_nano bigint, OUT is_held boolean, OUT refused_by uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- Raise the hold of a call that is under way to `to_nano`, in all of its budgets or in none. Not held and refused by
-- nobody: the call is not under way any more. Repeating it changes nothing.
-- Locks: the call, then its budgets by id.
DECLARE
  had record;
  step bigint;
BEGIN
  is_held := false;
  SELECT c.hold_nano, c.budget_ids INTO had FROM gateway_invocation c WHERE c.id = call AND c.state = 'started'
    FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  step := to_nano - had.hold_nano;
  IF step > 0 THEN
    PERFORM FROM accounts_budget b WHERE b.id = ANY (had.budget_ids) ORDER BY b.id FOR NO KEY UPDATE;
    SELECT b.id INTO refused_by FROM accounts_budget b
      WHERE b.id = ANY (had.budget_ids) AND b.closed_at IS NULL AND b.spent + b.held + step > b."limit"
      ORDER BY array_position(had.budget_ids, b.id) LIMIT 1;
    IF FOUND THEN
      RETURN;
    END IF;
    UPDATE accounts_budget b SET held = b.held + step WHERE b.id = ANY (had.budget_ids);
    UPDATE gateway_invocation c SET hold_nano = to_nano, extended_nano = c.extended_nano + step WHERE c.id = call;
  END IF;
  is_held := true;
END $$;
"""

BEAT = """
DROP FUNCTION gateway_beat(uuid[]);
CREATE FUNCTION gateway_beat(calls uuid[], inputs bigint[] DEFAULT '{}', outputs bigint[] DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- The process that makes these calls is alive: `settle_orphans` leaves them alone. What each has taken and delivered so
-- far, in tokens, is noted beside it; should the process die, that is what the call is charged.
-- Locks: the calls by id.
DECLARE
  oldest uuid := (SELECT id FROM unnest(calls) id ORDER BY id LIMIT 1);
  newest uuid := (SELECT id FROM unnest(calls) id ORDER BY id DESC LIMIT 1);
BEGIN
  PERFORM FROM gateway_invocation c
    WHERE c.id = ANY (calls) AND c.id BETWEEN oldest AND newest AND c.state = 'started' ORDER BY c.id FOR NO KEY UPDATE;
  UPDATE gateway_invocation c
     SET beat_at = clock_now(),
         input_tokens = CASE WHEN m.output > 0 THEN m.input ELSE c.input_tokens END,
         output_tokens = CASE WHEN m.output > 0 THEN m.output ELSE c.output_tokens END,
         usage_source = CASE WHEN m.output > 0 THEN 'counted' ELSE c.usage_source END
    FROM unnest(calls, inputs, outputs) m(id, input, output)
   WHERE c.id = m.id AND c.id BETWEEN oldest AND newest AND c.state = 'started';
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("gateway", "0006_deployments")]

    operations = [
        migrations.AddField("invocation", "extended_nano", models.BigIntegerField(default=0, db_default=0)),
        migrations.AlterField("invocation", "rule", models.CharField(blank=True, choices=RULES, max_length=24)),
        migrations.AddConstraint(
            "invocation",
            models.CheckConstraint(
                condition=models.Q(extended_nano__gte=0, extended_nano__lte=models.F("hold_nano")),
                name="invocation_extended_within_its_hold",
            ),
        ),
        migrations.CreateModel(
            name="UsageConfirmation",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("endpoint_id", models.UUIDField()),
                (
                    "publisher",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.DO_NOTHING,
                        related_name="+",
                        to="accounts.organization",
                    ),
                ),
                ("input_tokens", models.BigIntegerField()),
                ("output_tokens", models.BigIntegerField()),
                ("received_at", models.DateTimeField()),
                ("compared_at", models.DateTimeField(null=True)),
                ("gap_nano", models.BigIntegerField(null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(input_tokens__gte=0, output_tokens__gte=0),
                        name="usage_confirmation_tokens_not_negative",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(compared_at=None, gap_nano=None)
                        | models.Q(compared_at__isnull=False, gap_nano__isnull=False),
                        name="usage_confirmation_gap_once_compared",
                    ),
                ],
                "indexes": [
                    models.Index(
                        fields=["id"], condition=models.Q(compared_at=None), name="usage_confirmation_to_compare"
                    )
                ],
            },
        ),
        migrations.RunSQL(EXTEND, "DROP FUNCTION gateway_extend(uuid, bigint);"),
        migrations.RunSQL(BEAT, "DROP FUNCTION gateway_beat(uuid[], bigint[], bigint[]);" + BEFORE),
    ]
