"""The pages of deployments: make, pin, limit, set a fallback, pause, delete."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Membership
from accounts.tests.factories import make_user
from common import clock
from common.money import NANO
from gateway import services
from gateway.models import Deployment
from marketplace import services as marketplace
from marketplace.tests.factories import LABEL_OUT, TEXT_IN, make_model
from notifications.models import Message

pytestmark = pytest.mark.django_db


@pytest.fixture
def person():
    return make_user()


@pytest.fixture
def client(person):
    found = Client()
    found.force_login(person)
    return found


def ref(ai_model) -> str:
    return f"{ai_model.publisher.slug}/{ai_model.slug}"


def test_a_deployment_from_its_beginning_to_its_end(client, person):
    ai_model, other = make_model(status="published"), make_model(status="published")
    marketplace.add_version(ai_model=ai_model, version="1.1.0", api_spec={"input": TEXT_IN, "output": LABEL_OUT})
    assert b"No deployment yet" in client.get(reverse("deployments")).content
    shown = client.get(reverse("deployments"), {"new": "", "model": ref(ai_model)}).content.decode()
    assert f'value="{ref(ai_model)}"' in shown
    sent = {"name": "support", "model": ref(ai_model), "spend_limit": "5", "window": "day", "rate_limit": "60"}
    answer = client.post(reverse("deployments"), sent)
    made = Deployment.objects.get()
    page = reverse("deployment", args=[made.pk])
    assert answer.headers["Location"] == page
    assert (made.organization, made.ai_model, made.rate_limit) == (person.personal_organization, ai_model, 60)
    limit = services.spend_limits_of([made])[made.pk]
    assert (limit.limit, limit.window) == (5 * NANO, "day")
    assert b"support" in client.get(reverse("deployments")).content

    change = {"name": "support", "version": "1.0.0", "rate_limit": "", "spend_limit": "", "window": "month"}
    assert client.post(page, {**change, "fallback": ref(other)}).status_code == 302
    made.refresh_from_db()
    assert (made.version.version, made.fallback, made.rate_limit) == ("1.0.0", other, None)
    assert made.pk not in services.spend_limits_of([made])
    assert b'<option value="1.0.0" selected>' in client.get(page).content
    client.post(page, {"act": "pause"})
    made.refresh_from_db()
    assert made.status == "paused"
    client.post(page, {"act": "resume"})
    made.refresh_from_db()
    assert made.status == "active"
    assert client.post(page, {"act": "delete"}).headers["Location"] == reverse("deployments")
    assert client.get(page).status_code == 404
    ai_model.refresh_from_db()
    assert ai_model.deployment_count == 0


def test_what_is_wrong_is_said_beside_its_field(client, person):
    hidden, seen = make_model(), make_model(status="published")
    page = reverse("deployments")
    for sent, words in (
        ({"name": "Not so", "model": ref(seen)}, "At most 60 of a–z"),
        ({"name": "fine", "model": ref(hidden)}, "There is no such model"),
        ({"name": "fine", "model": ref(seen), "fallback": ref(seen)}, "no fallback for itself"),
        ({"name": "fine", "model": ref(seen), "spend_limit": "-1"}, "Enter an amount"),
    ):
        answer = client.post(page, {"window": "month", **sent})
        assert answer.status_code == 422
        assert words in answer.content.decode()
    assert not Deployment.objects.exists()


def test_who_may_look_and_who_may_change(client, person):
    made = services.create_deployment(
        organization=person.personal_organization, name="support", ai_model_id=make_model(status="published").pk
    )
    page, everybodys = reverse("deployment", args=[made.pk]), reverse("deployments")
    stranger = Client()
    stranger.force_login(make_user())
    assert stranger.get(page).status_code == 404
    assert stranger.post(page, {"act": "delete"}).status_code == 404
    assert b"support" not in stranger.get(everybodys).content
    reader = make_user()
    Membership.objects.create(organization=made.organization, user=reader, role=Membership.Role.MEMBER)
    of_reader = Client(headers={"Agorai-Organization": made.organization.public_id})
    of_reader.force_login(reader)
    assert b"Delete deployment" not in of_reader.get(page).content
    for path, sent in ((page, {"act": "delete"}), (page, {"name": "x"}), (everybodys, {"name": "x"})):
        assert of_reader.post(path, sent).status_code == 403
    assert Deployment.objects.live().get() == made


def test_who_deployed_a_model_hears_once_that_it_is_deprecated(person):
    going, staying = make_model(status="published"), make_model(status="published")
    for name, ai_model, fallback in (("one", going, None), ("two", staying, going.pk)):
        organization = make_user().personal_organization if fallback else person.personal_organization
        services.create_deployment(organization=organization, name=name, ai_model_id=ai_model.pk, fallback_id=fallback)
    day = (clock.now() + timedelta(days=30)).date()
    marketplace.deprecate(ai_model=going, sunset_on=day)
    assert services.warn_deployers() == 1
    assert services.warn_deployers() == 1
    told = Message.objects.filter(kind="marketplace.deprecated")
    assert told.count() == 2
    assert person.email in told.values_list("to_address", flat=True)
