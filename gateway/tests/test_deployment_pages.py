"""The pages of deployments: make, pin, limit, set a fallback, pause, delete."""

from __future__ import annotations

import html
import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.models import Membership
from accounts.tests.factories import make_user
from common import clock
from common.money import NANO
from common.problems import ValidationFailed
from common.sealing import open_sealed
from gateway import services
from gateway.models import Deployment
from gateway.tests.factories import make_endpoint
from marketplace import services as marketplace
from marketplace.tests.factories import LABEL_OUT, TEXT_IN, make_model
from notifications.models import Message, payload_context

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


# --- A version that ends ----------------------------------------------------------------------------------------------


def in_days(days):
    return (clock.now() + timedelta(days=days)).date()


def shift(days):
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('agorai.clock_offset', %s, true)", [f"{days} days"])


def test_who_is_pinned_to_a_version_that_ends_hears_it_twice(person):
    ai_model = make_model(status="published")
    spec = {"input": TEXT_IN, "output": LABEL_OUT}
    marketplace.add_version(ai_model=ai_model, version="1.1.0", api_spec=spec)
    own, other = person.personal_organization, make_user().personal_organization
    for organization, name, version in (
        (own, "one", "1.0.0"),
        (own, "two", "1.0.0"),
        (own, "new", "1.1.0"),
        (own, "free", None),
        (other, "theirs", "1.0.0"),
    ):
        services.create_deployment(organization=organization, name=name, ai_model_id=ai_model.pk, version=version)
    told = Message.objects.filter(kind="marketplace.version_ends")
    assert services.warn_pinned() == 0
    marketplace.set_version_sunset(ai_model=ai_model, version="1.0.0", sunset_on=in_days(30))
    for _again in range(2):
        assert services.warn_pinned() == 1
    assert told.count() == 2
    mail = told.get(to_address=person.email)
    said = json.loads(open_sealed(bytes(mail.payload), payload_context(mail.pk)))
    assert (said["deployments"], said["version"]) == ("one, two", "1.0.0")
    shift(10)
    assert services.warn_pinned() == 0, "three weeks before there is nothing new to say"
    services.delete_deployment(deployment=Deployment.objects.live().get(name="theirs"))
    shift(24)
    for _again in range(2):
        assert services.warn_pinned() == 1
    assert told.count() == 3, "once more to whoever is still pinned"
    shift(31)
    assert services.warn_pinned() == 0


def test_nobody_is_pinned_anew_to_a_version_that_is_over(client, person):
    ai_model = make_model(status="published")
    marketplace.add_version(ai_model=ai_model, version="1.1.0", api_spec={"input": TEXT_IN, "output": LABEL_OUT})
    own = person.personal_organization
    pinned = services.create_deployment(organization=own, name="pinned", ai_model_id=ai_model.pk, version="1.0.0")
    loose = services.create_deployment(organization=own, name="loose", ai_model_id=ai_model.pk)
    marketplace.set_version_sunset(ai_model=ai_model, version="1.0.0", sunset_on=in_days(5))
    choice = f"1.0.0 (ends on {in_days(5)})"
    assert choice in client.get(reverse("deployment", args=[loose.pk])).content.decode()
    shift(5)
    assert "1.0.0" not in client.get(reverse("deployment", args=[loose.pk])).content.decode()
    assert choice in client.get(reverse("deployment", args=[pinned.pk])).content.decode()
    services.change_deployment(deployment=pinned, changes={"version": "1.0.0", "rate_limit": 5})
    for deed in (
        lambda: services.change_deployment(deployment=loose, changes={"version": "1.0.0"}),
        lambda: services.create_deployment(organization=own, name="x", ai_model_id=ai_model.pk, version="1.0.0"),
    ):
        with pytest.raises(ValidationFailed) as refused:
            deed()
        assert [fault["code"] for fault in refused.value.errors] == ["version_over"]


def test_the_pages_of_a_model_lead_to_deployments_and_say_what_is_pinned(client, person):
    ai_model = make_model(status="published")
    make_endpoint(ai_model)
    slug = f"{ai_model.publisher.slug}/{ai_model.slug}"
    marketplace.add_version(ai_model=ai_model, version="1.1.0", api_spec={"input": TEXT_IN, "output": LABEL_OUT})
    made = services.create_deployment(
        organization=person.personal_organization, name="mood", ai_model_id=ai_model.pk, version="1.0.0"
    )
    services.create_deployment(
        organization=make_user().personal_organization, name="theirs", ai_model_id=ai_model.pk, version="1.0.0"
    )
    page = client.get(f"/models/{slug}/versions").content.decode()
    assert page.count("pinned by you:") == 1
    assert f'href="{reverse("deployment", args=[made.pk])}"' in page[page.index('id="v1.0.0"') :]
    link = html.unescape(page).partition(">Deploy<")[0].rpartition('href="')[2].partition('"')[0]
    assert f'value="{slug}"' in client.get(link).content.decode()
    strangers = Client().get(f"/models/{slug}/versions").content.decode()
    assert ">Deploy<" not in strangers
    assert "pinned by you" not in strangers
