"""The last owner of an organization cannot go, and a personal one stays its person's, whoever writes the rows."""

from django.db import migrations

KEEP = """
CREATE FUNCTION accounts_keep_an_owner() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  concerned uuid;
  found accounts_organization;
BEGIN
  IF TG_TABLE_NAME = 'accounts_organization' THEN
    concerned := NEW.id;
  ELSE
    concerned := OLD.organization_id;
  END IF;
  -- Locked, so that of two owners who go at once the second sees that the first has gone.
  SELECT * INTO found FROM accounts_organization WHERE id = concerned FOR NO KEY UPDATE;
  IF found.id IS NULL OR found.closed_at IS NOT NULL THEN
    RETURN NULL;
  END IF;
  IF NOT EXISTS (SELECT 1 FROM accounts_membership WHERE organization_id = concerned AND role = 'owner') THEN
    RAISE EXCEPTION 'organization % would be without an owner', concerned
      USING ERRCODE = 'check_violation', CONSTRAINT = 'organization_has_an_owner';
  END IF;
  IF found.personal_owner_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM accounts_membership
     WHERE organization_id = concerned AND role = 'owner' AND user_id = found.personal_owner_id
  ) THEN
    RAISE EXCEPTION 'personal organization % would not be its person''s', concerned
      USING ERRCODE = 'check_violation', CONSTRAINT = 'organization_is_of_its_person';
  END IF;
  RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER organization_has_an_owner
  AFTER UPDATE OF role, user_id, organization_id OR DELETE ON accounts_membership
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.role = 'owner')
  EXECUTE FUNCTION accounts_keep_an_owner();

CREATE CONSTRAINT TRIGGER organization_has_an_owner
  AFTER UPDATE OF closed_at, personal_owner_id ON accounts_organization
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.closed_at IS NULL)
  EXECUTE FUNCTION accounts_keep_an_owner();
"""

FORGET = """
DROP TRIGGER organization_has_an_owner ON accounts_organization;
DROP TRIGGER organization_has_an_owner ON accounts_membership;
DROP FUNCTION accounts_keep_an_owner();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_invitations")]

    operations = [migrations.RunSQL(KEEP, FORGET)]
