"""The life of a listing."""

import pytest

from common.money import NANO
from common.problems import NotFound, RoleRequired, ValidationFailed
from marketplace import services
from marketplace.errors import NotReadyToPublish, NotYourModel, VersionNotHigher, WrongStatus
from marketplace.models import AIModel
from marketplace.services import Terms
from marketplace.services.listings import free_slug
from marketplace.tests.factories import LABEL_OUT, TEXT_IN, make_model, make_organization

pytestmark = pytest.mark.django_db

OTHER_IN = {"type": "object", "required": ["words"], "properties": {"words": {"type": "string"}}}
STATES = ("draft", "in_review", "rejected", "published", "deprecated", "suspended", "archived")


def update(ai_model, **values):
    current = {
        "name": ai_model.name,
        "description": ai_model.description,
        "version": ai_model.current_version.version,
        "category": ai_model.category,
        "api_spec": {"input": TEXT_IN, "output": LABEL_OUT},
        "pricing": Terms(type="free"),
    }
    return services.update_model(ai_model=ai_model, **(current | values))


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Aurora 3.5 (beta)", "aurora-3.5-beta"),
        ("Ärger über Öl", "arger-uber-ol"),
        ("日本語", "model"),
        ("..a.-.b..", "a-b"),
        ("x" * 100, "x" * 54),
    ],
)
def test_a_slug_comes_from_the_name(name, slug):
    ai_model = make_model(name=name)
    assert ai_model.slug == slug
    again = make_model(name=name, publisher=ai_model.publisher)
    assert again.slug == f"{slug}-2"
    assert make_model(name=name, publisher=ai_model.publisher).slug == f"{slug}-3"
    assert make_model(name=name).slug == slug, "another publisher's names are its own"


def test_a_slug_taken_meanwhile_makes_the_next_one(monkeypatch):
    first = make_model()
    given = iter([first.slug, first.slug, "sentiment-9"])
    monkeypatch.setattr("marketplace.services.listings.free_slug", lambda **_: next(given))
    assert make_model(publisher=first.publisher).slug == "sentiment-9"
    assert free_slug(publisher=first.publisher, name="Sentiment") == "sentiment-2"


def test_a_draft_is_changed_in_place():
    ai_model = make_model()
    update(ai_model, name="Mood", version="0.9.0", api_spec={"input": OTHER_IN, "output": LABEL_OUT})
    ai_model = AIModel.objects.get(pk=ai_model.pk)
    assert (ai_model.name, ai_model.slug, ai_model.status) == ("Mood", "sentiment", "draft")
    assert [version.version for version in ai_model.versions.all()] == ["0.9.0"]
    assert ai_model.current_version.input_schema == OTHER_IN


def test_what_was_looked_at_is_what_is_published():
    ai_model = make_model(status="in_review")
    assert update(ai_model, name="Something else").status == "draft"


@pytest.mark.parametrize("status", ["published", "deprecated"])
def test_a_changed_interface_of_a_published_model_needs_a_higher_version(status):
    ai_model = make_model(status=status)
    changed = {"input": OTHER_IN, "output": LABEL_OUT}
    for version in ("1.0.0", "0.9.9"):
        with pytest.raises(VersionNotHigher) as refused:
            update(ai_model, api_spec=changed, version=version)
        assert refused.value.extra["highest_version"] == "1.0.0"
    with pytest.raises(VersionNotHigher):
        update(ai_model, version="0.9.9")
    updated = update(ai_model, api_spec=changed, version="1.0.10")
    assert updated.current_version.version == "1.0.10"
    assert updated.current_version.published_at is not None
    assert updated.status == status
    with pytest.raises(VersionNotHigher):
        services.add_version(ai_model=updated, version="1.0.9", api_spec=changed)
    assert update(updated, name="Same spec", api_spec=changed).current_version.version == "1.0.10"


@pytest.mark.parametrize("status", ["suspended", "archived"])
def test_what_is_out_of_the_catalogue_cannot_be_changed(status):
    with pytest.raises(WrongStatus):
        update(make_model(status=status))


def test_a_changed_price_is_a_new_row_and_an_unchanged_one_is_not():
    ai_model = make_model(status="published")
    update(ai_model)
    assert ai_model.prices.count() == 1
    update(ai_model, pricing=Terms(type="paid", per_call_nano=NANO // 1000))
    update(ai_model, pricing=Terms(type="paid", per_call_nano=NANO // 1000))
    assert ai_model.prices.count() == 2
    assert AIModel.objects.detailed().get(pk=ai_model.pk).price.per_call_nano == NANO // 1000
    assert AIModel.objects.get(pk=ai_model.pk).price.per_call_nano == NANO // 1000


@pytest.mark.parametrize(
    ("terms", "pointer", "code"),
    [
        (Terms(type="free", per_call_nano=0), "/pricing/rates/per_call", "free_with_price"),
        (Terms(type="free", amount_nano=1, period="monthly"), "/pricing/amount", "free_with_price"),
        (Terms(type="paid", amount_nano=1), "/pricing/period", "required"),
        (Terms(type="paid", period="yearly"), "/pricing/amount", "required"),
        (Terms(type="paid", amount_nano=0, period="yearly"), "/pricing/amount", "too_small"),
        (Terms(type="paid", per_call_nano=-1), "/pricing/rates/per_call", "out_of_range"),
        (Terms(type="paid", input_nano_per_million=10**16), "/pricing/rates/input_tokens_per_million", "out_of_range"),
        (Terms(type="paid", included_calls=1), "/pricing/rates/included_calls", "not_available"),
    ],
)
def test_pricing_that_does_not_fit_together(terms, pointer, code):
    with pytest.raises(ValidationFailed) as refused:
        make_model(pricing=terms)
    assert (pointer, code) in {(fault["pointer"], fault["code"]) for fault in refused.value.errors}


def test_the_way_to_publication_by_staff():
    ai_model = make_model()
    assert ai_model.current_version.published_at is None
    with pytest.raises(WrongStatus):
        services.publish(ai_model=ai_model, by_staff=True)
    ai_model = services.submit(ai_model=ai_model)
    with pytest.raises(RoleRequired):
        services.publish(ai_model=ai_model, by_staff=False)
    ai_model = services.reject(ai_model=ai_model)
    ai_model = services.submit(ai_model=ai_model)
    ai_model = services.publish(ai_model=ai_model, by_staff=True)
    assert ai_model.published_at is not None
    assert ai_model.current_version.published_at is not None
    first_published = ai_model.published_at
    ai_model = services.publish(ai_model=services.suspend(ai_model=ai_model), by_staff=True)
    assert ai_model.published_at == first_published


def test_the_way_to_publication_where_the_site_approves_automatically(settings):
    settings.PUBLISH_APPROVAL = "automatic"
    ai_model = make_model()
    with pytest.raises(NotReadyToPublish):
        services.publish(ai_model=ai_model, by_staff=False)
    services.record_callable(ai_model_id=ai_model.id, callable=True)
    ai_model.refresh_from_db()
    assert services.publish(ai_model=ai_model, by_staff=False).status == "published"
    with pytest.raises(WrongStatus):
        services.publish(ai_model=AIModel.objects.get(pk=ai_model.pk), by_staff=False)
    suspended = services.suspend(ai_model=ai_model)
    with pytest.raises(WrongStatus):
        services.publish(ai_model=suspended, by_staff=False)


def test_a_paid_model_says_what_it_costs_before_it_is_submitted():
    with pytest.raises(NotReadyToPublish):
        services.submit(ai_model=make_model(pricing=Terms(type="paid")))


STEPS = {
    "submit": ("draft", "rejected"),
    "reject": ("in_review",),
    "deprecate": ("published",),
    "suspend": ("published", "deprecated"),
    "archive": ("published", "deprecated", "suspended"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("status", STATES)
def test_each_step_begins_in_its_states_alone(step, status):
    ai_model = make_model(status=status)
    if status in STEPS[step]:
        assert getattr(services, step)(ai_model=ai_model).status != status
    else:
        with pytest.raises(WrongStatus) as refused:
            getattr(services, step)(ai_model=ai_model)
        assert refused.value.extra["model_status"] == status


def test_deleting_a_draft_removes_it_and_a_published_model_is_archived():
    draft = make_model()
    assert services.delete_model(ai_model=draft) is None
    assert not AIModel.objects.filter(pk=draft.pk).exists()
    published = make_model(status="published")
    for _ in range(2):
        assert services.delete_model(ai_model=published).status == "archived"


def test_a_hidden_model_is_as_good_as_missing():
    ai_model = make_model()
    ref = f"{ai_model.publisher.slug}:{ai_model.slug}"
    for name in (ref, ref.replace(":", "/"), ai_model.public_id):
        assert services.find_model(name, organization=ai_model.publisher) == ai_model
        assert services.find_model(name, organization=None, sees_all=True) == ai_model
        for stranger in (None, make_organization()):
            with pytest.raises(NotFound):
                services.find_model(name, organization=stranger)
    with pytest.raises(NotFound):
        services.find_model("nothing", organization=None)


def test_only_the_publisher_may_change_a_model():
    ai_model = make_model(status="published")
    services.require_publisher(ai_model=ai_model, organization=ai_model.publisher)
    for stranger in (None, make_organization()):
        with pytest.raises(NotYourModel):
            services.require_publisher(ai_model=ai_model, organization=stranger)


def test_schemas_are_checked_wherever_they_come_from():
    with pytest.raises(ValidationFailed) as refused:
        make_model(api_spec={"input": {"type": "string"}, "output": {"$ref": "https://example.org"}})
    assert [(fault["pointer"], fault["code"]) for fault in refused.value.errors] == [
        ("/api_spec/input/type", "not_an_object"),
        ("/api_spec/output/$ref", "remote_reference"),
    ]
