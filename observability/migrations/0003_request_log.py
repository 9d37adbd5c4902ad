"""The request log, partitioned by day."""

from django.db import migrations, models

from common.partitions import CreatePartitionedModel

PARTITIONS = """
CREATE FUNCTION request_log_create_partitions(first_day date, days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- Day partitions of the request log, whose bounds are the lowest UUIDv7 of each day (UTC); returns how many it made.
DECLARE
  day date;
  name text;
  bounds uuid[];
  made integer := 0;
BEGIN
  IF days > 400 THEN
    RAISE EXCEPTION 'at most 400 days at once';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('request_log_partitions'));
  FOR day IN SELECT first_day + n FROM generate_series(0, days - 1) n LOOP
    name := 'observability_requestlog_' || to_char(day, 'YYYYMMDD');
    CONTINUE WHEN to_regclass(name) IS NOT NULL;
    bounds := ARRAY(SELECT rpad(lpad(to_hex((extract(epoch FROM (day + n)::timestamp) * 1000)::bigint), 12, '0'), 32, '0')::uuid
                      FROM generate_series(0, 1) n);
    EXECUTE format('CREATE TABLE %I PARTITION OF observability_requestlog FOR VALUES FROM (%L) TO (%L)',
                   name, bounds[1], bounds[2]);
    made := made + 1;
  END LOOP;
  RETURN made;
END $$;

CREATE FUNCTION request_log_drop_partitions(before date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '3s' AS $$
-- Drops the partitions of the days before that one; returns how many. Whoever reads them now is not waited for long:
-- the next run takes what this one could not.
DECLARE
  name text;
  dropped integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('request_log_partitions'));
  FOR name IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'observability_requestlog'::regclass
       AND c.relname < 'observability_requestlog_' || to_char(before, 'YYYYMMDD') ORDER BY 1
  LOOP
    BEGIN
      EXECUTE format('DROP TABLE %I', name);
      dropped := dropped + 1;
    EXCEPTION WHEN lock_not_available THEN
      EXIT;
    END;
  END LOOP;
  RETURN dropped;
END $$;
"""
REVERSE = """
DROP FUNCTION request_log_drop_partitions(date);
DROP FUNCTION request_log_create_partitions(date, integer);
"""


class Migration(migrations.Migration):
    dependencies = [("observability", "0002_audit_chain")]

    operations = [
        CreatePartitionedModel(
            name="RequestLog",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("actor_user_id", models.UUIDField(null=True)),
                ("actor_key_id", models.UUIDField(null=True)),
                ("organization_id", models.UUIDField(null=True)),
                ("method", models.CharField(max_length=10)),
                ("route", models.CharField(blank=True, max_length=60)),
                ("status", models.PositiveSmallIntegerField()),
                ("ms", models.PositiveIntegerField()),
                ("error_code", models.CharField(blank=True, max_length=40)),
                ("address", models.CharField(blank=True, max_length=45)),
                ("client", models.CharField(blank=True, max_length=200)),
            ],
            options={
                "verbose_name": "API request",
                "indexes": [
                    models.Index(fields=["organization_id", "-id"], name="request_of_organization"),
                    models.Index(fields=["organization_id", "route", "-id"], name="request_of_organization_route"),
                    models.Index(
                        condition=models.Q(("status__gte", 400)),
                        fields=["organization_id", "-id"],
                        name="request_failed_of_organization",
                    ),
                    models.Index(fields=["actor_key_id", "-id"], name="request_of_key"),
                ],
            },
        ),
        migrations.RunSQL(PARTITIONS, REVERSE),
        migrations.RunSQL(
            "SELECT request_log_create_partitions((clock_now() AT TIME ZONE 'UTC')::date - 1, 9)",
            migrations.RunSQL.noop,
        ),
    ]
