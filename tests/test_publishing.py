"""The steps that publish a model, as somebody without JavaScript takes them, and what htmx gets beside."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Membership
from accounts.tests.factories import make_user
from common import clock
from common.ids import encode
from common.money import NANO
from common.problems import ValidationFailed
from gateway import services as gateway
from gateway.models import ContractCheck, Endpoint
from gateway.services.contract import NAMES, Step
from marketplace import services
from marketplace.errors import NotReadyToPublish
from marketplace.models import AIModel, UnsavedStep
from marketplace.serializers import model_out
from marketplace.templatetags.words import price_words
from marketplace.tests.factories import LABEL_OUT, TEXT_IN, make_model

pytestmark = pytest.mark.django_db


@pytest.fixture
def person():
    return make_user(platform_role="developer")


@pytest.fixture
def client(person):
    found = Client()
    found.force_login(person)
    return found


def basics(**values: Any) -> dict[str, Any]:
    return {
        "name": "Mood",
        "category": "text-classification",
        "description": "Tells the mood of a sentence.",
        "capabilities": "tone, short",
        "license": "MIT",
        "context_tokens": "",
        "version": "1.0.0",
        "input_schema": json.dumps(TEXT_IN),
        "output_schema": json.dumps(LABEL_OUT),
        **values,
    }


def at(name: str, ai_model: AIModel) -> str:
    return reverse(f"publish-{name}", args=[ai_model.pk])


def own(person, **values: Any) -> AIModel:
    return make_model(publisher=person.personal_organization, **values)


def test_five_steps_lead_into_the_catalogue(client, person, settings):
    settings.PUBLISH_APPROVAL = "checked"
    assert client.get(reverse("publish")).status_code == 200
    assert b"How it will look" in client.get(reverse("publish-new")).content
    answer = client.post(reverse("publish-new"), basics())
    ai_model = AIModel.objects.get(publisher=person.personal_organization)
    assert answer.headers["Location"] == at("endpoint", ai_model)
    assert (ai_model.status, ai_model.capabilities) == ("draft", ["tone", "short"])
    assert ai_model.current_version.input_schema == TEXT_IN

    assert b"No endpoint yet" in client.get(at("test", ai_model)).content
    endpoint = {"url": "https://models.example.org/mood", "protocol": "json", "timeout_seconds": "30"}
    answer = client.post(at("endpoint", ai_model), {**endpoint, "secret": "K7RT2M-secret"})
    assert answer.headers["Location"] == at("test", ai_model)
    kept = Endpoint.objects.get()
    assert (kept.url, kept.timeout_seconds) == (endpoint["url"], 30)
    assert b"K7RT2M" not in client.get(at("endpoint", ai_model)).content
    client.post(at("endpoint", ai_model), endpoint)
    assert Endpoint.objects.get().sealed_secret is not None, "an empty field keeps it"
    assert b"forget_secret" in client.get(at("endpoint", ai_model)).content
    client.post(at("endpoint", ai_model), {**endpoint, "forget_secret": "on"})
    assert Endpoint.objects.get().sealed_secret is None
    assert b"forget_secret" not in client.get(at("endpoint", ai_model)).content, "there is none"

    shown = client.get(at("test", ai_model)).content
    assert b"The endpoint is being asked" in shown
    assert b'hx-trigger="load delay:1s"' in shown
    steps = [Step(name, "passed", "refuses_in_words", {"status": 400}).document for name in NAMES[:3]]
    ContractCheck.objects.update(steps=steps)
    part = client.get(at("test", ai_model), headers={"HX-Request": "true"}).content
    assert b"<html" not in part
    assert part.count(b'class="done"') == 3
    wrong = Step("stream", "failed", "stream_without_end", {"ending": "data: [DONE]"}, 12, "POST x", "data: {}")
    ended = clock.now()
    ContractCheck.objects.update(steps=[*steps, wrong.document], status="failed", started_at=ended, ended_at=ended)
    shown = client.get(at("test", ai_model)).content.decode()
    assert "1 of 8 failed" in shown
    assert "How to fix it" in shown
    assert "hx-trigger" not in shown[shown.index('id="check-steps"') :]

    answer = client.post(at("price", ai_model), {"type": "paid", "per_call_nano": "0.002", "period": ""})
    assert answer.headers["Location"] == at("review", ai_model)
    answer = client.post(at("review", ai_model), {"act": "submit"})
    assert answer.status_code == 422
    assert b"has not passed the contract check" in answer.content
    AIModel.objects.update(check_passed=True, checked_at=ended)
    assert client.post(at("review", ai_model), {"act": "submit"}).status_code == 302
    ai_model.refresh_from_db()
    assert ai_model.status == "published"
    assert client.get(at("review", ai_model)).status_code == 200


def test_a_draft_saves_itself_as_far_as_it_is_right(client, person):
    ai_model = own(person, name="Old", license="MIT")
    sent = basics(name="New", license="Apache-2.0", output_schema="{", capabilities="tone")
    answer = client.post(at("basics", ai_model), sent, headers={"HX-Request": "true"})
    said = answer.content.decode()
    assert answer.status_code == 200
    assert "Draft saved" in said
    assert "Needs another look: Output" in said
    assert "New" in said
    ai_model.refresh_from_db()
    assert (ai_model.name, ai_model.license) == ("New", "Apache-2.0")
    assert ai_model.current_version.output_schema == LABEL_OUT


def test_nothing_that_others_rely_on_saves_itself(client, person):
    for ai_model in (own(person, status="published", name="One"), own(person, status="in_review", name="Two")):
        answer = client.post(at("basics", ai_model), basics(name="New"), headers={"HX-Request": "true"})
        assert "Draft saved" not in answer.content.decode()
        status = ai_model.status
        ai_model.refresh_from_db()
        assert (ai_model.name == "New", ai_model.status) == (False, status)
    before = AIModel.objects.count()
    client.post(reverse("publish-new"), basics(), headers={"HX-Request": "true"})
    assert AIModel.objects.count() == before


def test_faults_stand_beside_their_fields(client, person):
    ai_model = own(person, status="published")
    answer = client.post(at("basics", ai_model), basics(output_schema='{"type": "string"}'))
    assert answer.status_code == 422
    assert b"Above 1.0.0" in answer.content
    answer = client.post(reverse("publish-new"), basics(name="", version="one", input_schema='{"type": "array"}'))
    said = answer.content.decode()
    assert answer.status_code == 422
    for words in ("such as 1.4.2", "The input is a JSON object"):
        assert words in said
    answer = client.post(
        at("endpoint", ai_model), {"url": "http://10.0.0.1/", "protocol": "json", "timeout_seconds": 9}
    )
    assert answer.status_code == 422
    assert not Endpoint.objects.exists()


def test_the_calculator_says_what_calls_come_to(client, person):
    ai_model = own(person)
    sent = {"type": "paid", "per_call_nano": "0.001", "output_nano_per_million": "2", "calls": "1000"}
    sent |= {"tokens_in": "100", "tokens_out": "500"}
    said = client.post(at("price", ai_model), sent, headers={"HX-Request": "true"}).content.decode()
    for words in ("$0.002", "$2.00", "$60.00"):
        assert words in said
    assert ai_model.prices.count() == 1, "nothing is saved"


def test_a_price_takes_effect_when_it_is_said_to(client, person):
    ai_model = own(person, status="published")
    later = clock.now() + timedelta(days=7)
    dear = services.Terms(type="paid", per_call_nano=5 * NANO)
    price = services.set_price(ai_model=ai_model, terms=dear, effective_from=later)
    fresh = AIModel.objects.detailed().get(pk=ai_model.pk)
    assert fresh.price.type == "free"
    assert model_out(fresh)["pricing"]["type"] == "free"
    said = client.get(at("price", ai_model)).content.decode()
    assert "To come" in said
    assert price_words(price) in said
    for wrong in (later, clock.now() - timedelta(seconds=1)):
        with pytest.raises(ValidationFailed):
            services.set_price(ai_model=ai_model, terms=dear, effective_from=wrong)
    answer = client.post(at("price", ai_model), {"type": "free", "effective_from": "2020-01-01T00:00"})
    assert answer.status_code == 422
    assert ai_model.prices.count() == 2


def test_the_way_out(client, person):
    ai_model = own(person, status="published")
    assert client.post(at("review", ai_model), {"act": "deprecate", "sunset_on": "2020-01-01"}).status_code == 422
    day = (clock.now() + timedelta(days=60)).date()
    client.post(at("review", ai_model), {"act": "deprecate", "sunset_on": day.isoformat()})
    ai_model.refresh_from_db()
    assert (ai_model.status, ai_model.sunset_on) == ("deprecated", day)
    assert client.post(at("review", ai_model), {"act": "explode"}).status_code == 422
    assert client.post(at("review", ai_model), {"act": "delete"}).headers["Location"] == reverse("publish")
    ai_model.refresh_from_db()
    assert ai_model.status == "archived"
    assert client.get(at("review", ai_model)).status_code == 404


def test_whose_steps_they_are(client, person):
    other = make_model(status="published")
    for name in ("basics", "endpoint", "test", "price", "review"):
        assert client.get(at(name, other)).status_code == 404
    consumer = Client()
    consumer.force_login(make_user())
    assert b"Ask for it" in consumer.get(reverse("publish")).content
    assert consumer.post(reverse("publish-new"), basics()).status_code == 403
    reader = make_user(platform_role="developer")
    Membership.objects.create(organization=other.publisher, user=reader, role=Membership.Role.MEMBER)
    of_reader = Client()
    of_reader.force_login(reader)
    headers = {"Agorai-Organization": other.publisher.public_id}
    assert of_reader.get(at("basics", other), headers=headers).status_code == 403


def test_checked_is_between_staff_and_automatic(settings):
    ai_model = make_model()
    gateway.set_endpoint(ai_model=ai_model, url="https://models.example.org/", protocol="json")
    settings.PUBLISH_APPROVAL = "checked"
    with pytest.raises(NotReadyToPublish):
        services.publish(ai_model=ai_model, by_staff=False)
    AIModel.objects.update(check_passed=True, checked_at=clock.now())
    assert services.publish(ai_model=ai_model, by_staff=False).status == "published"


def test_a_version_is_ended_on_the_last_step(client, person):
    ai_model = own(person, status="published")
    assert b"End a version" not in client.get(at("review", ai_model)).content
    services.add_version(ai_model=ai_model, version="1.1.0", api_spec={"input": TEXT_IN, "output": LABEL_OUT})
    day = (clock.now() + timedelta(days=60)).date()

    def end(**values: str) -> Any:
        return client.post(at("review", ai_model), {"act": "end-version", **values})

    assert end(version="1.0.0", sunset_on=day.isoformat()).status_code == 302
    assert ai_model.versions.get(version="1.0.0").sunset_on == day
    assert b"ends on" in client.get(at("review", ai_model)).content
    for wrong in (
        {"version": "1.1.0", "sunset_on": day.isoformat()},
        {"version": "1.0.0", "sunset_on": "2020-01-01"},
        {"version": "1.0.0", "sunset_on": "tomorrow"},
        {"version": "7.0.0", "sunset_on": day.isoformat()},
    ):
        assert end(**wrong).status_code == 422
    assert end(version="1.0.0").status_code == 302
    assert ai_model.versions.get(version="1.0.0").sunset_on is None


# --- What is typed and not saved --------------------------------------------------------------------------------------

HTMX = {"HX-Request": "true"}


def test_what_is_typed_into_a_new_listing_is_there_on_return(client, person):
    new = reverse("publish-new")
    sent = basics(name="Half a thought", description="", input_schema="{", changelog="\0First.")
    answer = client.post(new, sent, headers=HTMX)
    assert "Kept for your return" in answer.content.decode()
    client.post(new, {**sent, "name": "A whole thought"}, headers=HTMX)
    kept = UnsavedStep.objects.get()
    assert (kept.user, kept.values["changelog"]) == (person, "First.")
    shown = client.get(new).content.decode()
    for words in ("Not saved yet.", 'value="A whole thought"', ">\n{</textarea>"):
        assert words in shown
    other = Client()
    other.force_login(make_user(platform_role="developer"))
    assert "A whole thought" not in other.get(new).content.decode()
    assert client.post(new, {"act": "discard"}).status_code == 302
    assert "Not saved yet." not in client.get(new).content.decode()
    assert not UnsavedStep.objects.exists()


def test_each_step_keeps_what_is_typed_until_it_is_saved(client, person):
    ai_model = own(person, status="published")
    steps = {
        "basics": (basics(name="Better", description="Now with moods."), 'value="Better"'),
        "endpoint": (
            {"url": "https://models.example.org/x", "protocol": "json", "timeout_seconds": "30", "secret": "K7RT2M"},
            'value="https://models.example.org/x"',
        ),
        "price": ({"type": "paid", "per_call_nano": "0.004", "period": ""}, 'value="0.004"'),
    }
    for name, (sent, words) in steps.items():
        answer = client.post(at(name, ai_model), sent, headers=HTMX)
        assert "Kept for your return" in answer.content.decode()
        shown = client.get(at(name, ai_model)).content.decode()
        assert words in shown
        assert "Not saved yet." in shown
        assert "K7RT2M" not in shown
    ai_model.refresh_from_db()
    assert (ai_model.name, ai_model.prices.count(), Endpoint.objects.exists()) == ("Sentiment", 1, False)
    assert not any("K7RT2M" in json.dumps(kept.values) for kept in UnsavedStep.objects.all())
    colleague = make_user()
    Membership.objects.create(organization=ai_model.publisher, user=colleague, role=Membership.Role.ADMIN)
    for name, (sent, _words) in steps.items():
        assert client.post(at(name, ai_model), sent).status_code == 302, name
        assert "Not saved yet." not in client.get(at(name, ai_model)).content.decode()
    assert not UnsavedStep.objects.exists()
    ai_model.refresh_from_db()
    assert (ai_model.name, ai_model.prices.count(), Endpoint.objects.exists()) == ("Better", 2, True)


def test_without_javascript_what_was_wrong_is_kept_too(client, person):
    ai_model = own(person)
    wrong = {
        "basics": basics(version="one"),
        "endpoint": {"url": "https://me:pass@models.example.org", "protocol": "json", "timeout_seconds": "0"},
        "price": {"type": "paid", "per_call_nano": "much", "period": ""},
    }
    for name, sent in wrong.items():
        assert client.post(at(name, ai_model), sent).status_code == 422
        assert "Not saved yet." in client.get(at(name, ai_model)).content.decode()
        assert client.post(at(name, ai_model), {"act": "discard"}).status_code == 302
        assert "Not saved yet." not in client.get(at(name, ai_model)).content.decode()
    client.post(at("endpoint", ai_model), wrong["endpoint"], headers=HTMX)
    assert "url" not in UnsavedStep.objects.get().values, "an address may carry a password"
    large = basics(input_schema="x" * 400_000, output_schema="x" * 400_000)
    assert "Kept" not in client.post(at("basics", ai_model), large, headers=HTMX).content.decode()


def test_what_a_version_changed_is_said_with_it_and_stays(client, person):
    ai_model = own(person)
    client.post(at("basics", ai_model), basics(changelog="The *first*."))
    ai_model.current_version.refresh_from_db()
    assert ai_model.current_version.changelog == "The *first*."
    assert "The *first*." in client.get(at("basics", ai_model)).content.decode()
    AIModel.objects.filter(pk=ai_model.pk).update(is_callable=True)
    services.submit(ai_model=ai_model)
    services.publish(ai_model=ai_model, by_staff=True)
    answer = client.post(at("basics", ai_model), basics(changelog="Something else."))
    assert answer.status_code == 422
    assert "Notes go with a higher version." in answer.content.decode()
    assert client.post(at("basics", ai_model), basics(version="1.1.0", changelog="Faster.")).status_code == 302
    notes = dict(ai_model.versions.values_list("version", "changelog"))
    assert notes == {"1.0.0": "The *first*.", "1.1.0": "Faster."}
    assert client.post(at("basics", ai_model), basics(version="1.1.0", name="Renamed")).status_code == 302
    assert "Faster." in client.get(f"/models/{ai_model.publisher.slug}/{ai_model.slug}/versions").content.decode()


def test_the_calculator_draws_what_volume_brings(client, person):
    ai_model = own(person)
    sent = {"type": "paid", "per_call_nano": "0.001", "output_nano_per_million": "2", "calls": "1000"}
    sent |= {"tokens_in": "100", "tokens_out": "500", "period": ""}
    for headers in (HTMX, {}):
        if not headers:
            client.post(at("price", ai_model), {**sent, "effective_from": "2001-01-01T00:00"})
        shown = client.post(at("price", ai_model), sent, headers=HTMX) if headers else client.get(at("price", ai_model))
        said = shown.content.decode()
        assert "What you receive in 30 days" in said
        assert said.count('<rect class="bar s1"') == 10
        assert said.count('<rect class="bar s2"') == 10
        rows = re.findall(r'<tr><th scope="row">([^<]+)</th><td class="n">([^<]+)</td><td class="n">([^<]+)</td>', said)
        assert rows[4] == ("1,000", "$30.00", "$30.00")
        assert rows[9] == ("2,000", "$60.00", "$60.00")
    for nothing in ({"type": "free"}, {**sent, "calls": "0"}, {**sent, "per_call_nano": "much"}):
        assert b"<svg viewBox" not in client.post(at("price", ai_model), nothing, headers=HTMX).content


def test_an_announced_price_is_withdrawn_on_its_step(client, person):
    ai_model = own(person, status="published")
    dear = services.Terms(type="paid", per_call_nano=5 * NANO)
    price = services.set_price(ai_model=ai_model, terms=dear, effective_from=clock.now() + timedelta(days=7))
    button = f'name="withdraw" value="{encode("prc", price.pk)}"'
    assert button in client.get(at("price", ai_model)).content.decode()
    assert client.post(at("price", ai_model), {"withdraw": "prc_x"}).status_code == 404
    foreign = make_model(status="published").price
    assert client.post(at("price", ai_model), {"withdraw": encode("prc", foreign.pk)}).status_code == 404
    answer = client.post(at("price", ai_model), {"withdraw": encode("prc", price.pk)}, follow=True)
    assert "The price will not come." in answer.content.decode()
    assert ai_model.prices.count() == 1
    answer = client.post(at("price", ai_model), {"withdraw": encode("prc", ai_model.price.pk)}, follow=True)
    assert "It has taken effect" in answer.content.decode()
    assert ai_model.prices.count() == 1
