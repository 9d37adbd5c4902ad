"""What the database itself refuses."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from apikeys.models import APIKey
from apikeys.tests.factories import make_key
from common import clock

pytestmark = pytest.mark.django_db


def refused_by(constraint, key, **values):
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        APIKey.objects.filter(pk=key.pk).update(**values)


def test_every_constraint_of_a_key():
    key, _ = make_key()
    later = clock.now() + timedelta(days=1)
    refused_by("api_key_name_not_empty", key, name="")
    refused_by("api_key_mode", key, mode="demo")
    refused_by("api_key_has_a_permission", key, permissions=[])
    refused_by("api_key_permissions_are_known", key, permissions=["models:fly"])
    refused_by("api_key_rate_limit", key, rate_limit=0)
    refused_by("api_key_overlap_has_an_end", key, previous_digest=b"x" * 32)
    refused_by("api_key_overlap_has_an_end", key, overlap_until=later)
    refused_by("api_key_rotation_changes_it", key, previous_digest=bytes(key.digest), overlap_until=later)


def test_a_digest_is_stored_once():
    key, _ = make_key()
    other, _ = make_key()
    refused_by("digest", other, digest=bytes(key.digest))
