"""Credit that organizations have already becomes a grant, and stands in the books from the beginning."""

from django.conf import settings
from django.db import migrations

# Calls settled before now are posted from it like those after; so the grant begins with all that was ever given.
GRANTS = """
INSERT INTO billing_creditgrant (id, organization_id, source, key, reason, amount_nano, remaining_nano, ended_nano,
                                 priority, granted_at)
SELECT uuid7_now(), o.id, CASE WHEN o.personal_owner_id IS NULL THEN 'given' ELSE 'welcome' END,
       CASE WHEN o.personal_owner_id IS NULL THEN 'opening:' ELSE 'welcome:' END || o.id, '', b."limit", b."limit", 0,
       100, b.created_at
  FROM accounts_budget b JOIN accounts_organization o ON o.id = b.subject_id
 WHERE b.purpose = 'credit' AND b.closed_at IS NULL AND b."limit" > 0
"""
ENTRIES = """
SELECT ledger_post('grant', 'grant:' || g.id, g.reason, g.granted_at,
         ARRAY[ledger_account('promotions', NULL, %(currency)s), ledger_account('credit', g.organization_id, %(currency)s)],
         ARRAY[-g.amount_nano, g.amount_nano])
  FROM billing_creditgrant g ORDER BY g.id
"""


def open_books(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(GRANTS)
        cursor.execute(ENTRIES, {"currency": settings.CURRENCY})


class Migration(migrations.Migration):
    dependencies = [("billing", "0004_money_moves_by_functions"), ("accounts", "0013_factors_and_clients_of_tokens")]

    operations = [migrations.RunPython(open_books, migrations.RunPython.noop)]
