"""What the database itself refuses, and keeps as it was."""

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from common import clock
from marketplace.models import AIModel, ModelVersion, Price
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("ai_model_slug_shape", {"slug": "-x"}),
        ("ai_model_name_not_empty", {"name": ""}),
        ("ai_model_description_not_empty", {"description": ""}),
        ("ai_model_category", {"category": "astrology"}),
        ("ai_model_status", {"status": "lost"}),
        ("ai_model_public_has_a_version_and_a_date", {"status": "published"}),
        ("ai_model_rating_within_1_and_5", {"rating_sum": 11, "rating_count": 2}),
        ("ai_model_rating_within_1_and_5", {"rating_sum": 1, "rating_count": 2}),
    ],
)
def test_every_constraint_of_a_model(constraint, values):
    ai_model = make_model()
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        AIModel.objects.filter(pk=ai_model.pk).update(**values)


def test_a_slug_is_there_once_per_publisher():
    ai_model = make_model()
    other = make_model(publisher=ai_model.publisher)
    with pytest.raises(IntegrityError, match="ai_model_slug_once_per_publisher"), transaction.atomic():
        AIModel.objects.filter(pk=other.pk).update(slug=ai_model.slug)


def test_a_version_is_semver_and_there_once():
    ai_model = make_model()
    for version in ("1.0", "01.0.0", "v1.0.0", "1.0.0-beta"):
        with pytest.raises(IntegrityError, match="model_version_is_semver"), transaction.atomic():
            ModelVersion.objects.filter(ai_model=ai_model).update(version=version)
    with pytest.raises(IntegrityError, match="model_version_once_per_model"), transaction.atomic():
        ai_model.versions.create(version="1.0.0")


def test_a_published_version_never_changes():
    version = make_model(status="published").current_version
    for change in (
        lambda: ModelVersion.objects.filter(pk=version.pk).update(input_schema={}),
        lambda: ModelVersion.objects.filter(pk=version.pk).update(version="1.0.1"),
        lambda: ModelVersion.objects.filter(pk=version.pk)._raw_delete("default"),
    ):
        with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
            change()


PRICE = {"type": "paid", "currency": "USD", "per_call_nano": 1}


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("price_type", {"type": "gift", "per_call_nano": None}),
        ("price_free_costs_nothing", {"type": "free"}),
        ("price_amount_has_a_period", {"amount_nano": 1}),
        ("price_amount_has_a_period", {"period": "monthly"}),
        ("price_period", {"amount_nano": 1, "period": "weekly"}),
        ("price_amount_positive", {"amount_nano": 0, "period": "monthly"}),
        ("price_rates_not_negative", {"input_nano_per_million": -1}),
        ("price_currency", {"currency": "usd"}),
    ],
)
def test_every_constraint_of_a_price(constraint, values):
    ai_model = make_model()
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        ai_model.prices.create(**(PRICE | values), effective_from=clock.now())


def test_a_model_has_one_price_for_an_instant():
    ai_model = make_model()
    with pytest.raises(IntegrityError, match="price_once_per_instant"), transaction.atomic():
        ai_model.prices.create(**PRICE, effective_from=ai_model.price.effective_from)


def test_a_price_never_changes():
    ai_model = make_model()
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        Price.objects.filter(ai_model=ai_model).update(currency="EUR")
