"""What the catalogue knows of calls, and what is called knows of the catalogue."""

import pytest

from accounts.models import Organization
from common.ids import uuid7
from gateway.models import Rule
from gateway.services.calls import Reserve, Settle, move
from marketplace import services
from marketplace.models import AIModel
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db


def call(ai_model, caller: Organization) -> None:
    """One call of the model that was answered, free of charge."""
    id = uuid7()
    reserve = Reserve.of(
        id=id,
        organization_id=caller.pk,
        user_id=None,
        api_key_id=None,
        publisher_id=ai_model.publisher_id,
        ai_model_id=ai_model.pk,
        version_id=ai_model.current_version_id,
        price_id=ai_model.price.pk,
        kind="invoke",
        mode="live",
        is_streamed=False,
        hold_nano=0,
        budget_ids=(),
    )
    settle = Settle(
        id=id,
        rule=Rule.FREE,
        cost_nano=0,
        input_tokens=0,
        output_tokens=0,
        usage_source="",
        http_status=200,
        error_code="",
        latency_ms=1,
        first_token_ms=None,
    )
    move(reserves=[reserve])
    move(settles=[settle])


def test_a_draft_that_was_called_is_archived_so_that_its_receipts_keep_their_model():
    ai_model = make_model()
    call(ai_model, ai_model.publisher)
    kept = services.delete_model(ai_model=ai_model)
    assert kept is not None
    assert kept.status == "archived"
    assert AIModel.objects.filter(pk=ai_model.pk, current_version__isnull=False).exists()
