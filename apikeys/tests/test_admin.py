"""Keys as staff see them."""

import pytest
from django.test import Client

from accounts.models import User
from apikeys.tests.factories import make_key

pytestmark = pytest.mark.django_db


def test_staff_look_at_keys_and_revoke_them():
    user = User.objects.create_user("s@example.org", "a long password", name="S", is_staff=True, is_superuser=True)
    staff = Client()
    staff.force_login(user)
    key, _ = make_key(name="production")
    listed = staff.get("/admin/apikeys/apikey/?q=production").content.decode()
    assert f"{key.prefix}…{key.last_four}" in listed
    shown = staff.get(f"/admin/apikeys/apikey/{key.pk}/change/").content.decode()
    assert bytes(key.digest).hex() not in shown
    assert "digest" not in shown.lower()
    assert staff.get("/admin/apikeys/apikey/add/").status_code == 403
    body = {"action": "revoke", "_selected_action": [str(key.pk)]}
    answer = staff.post("/admin/apikeys/apikey/", body, follow=True)
    assert "1 key is revoked." in answer.content.decode()
    key.refresh_from_db()
    assert key.revoked_at is not None
