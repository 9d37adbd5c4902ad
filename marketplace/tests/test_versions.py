"""The end of a version, and what changed between two, as programs and publishers meet them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client

from common import clock
from marketplace import services
from marketplace.models import ModelVersion
from marketplace.tests.factories import LABEL_OUT, TEXT_IN, make_model
from marketplace.tests.test_api import Person
from observability.models import AuditEvent

pytestmark = pytest.mark.django_db
TONE = {"type": "object", "required": ["text", "tone"], "properties": {"text": {"type": "string"}, "tone": {}}}


@pytest.fixture
def grace():
    return Person()


@pytest.fixture
def model(grace):
    """With 1.0.0, 1.1.0 and, current, 2.0.0, which breaks callers."""
    made = make_model(publisher=grace.organization, status="published")
    services.add_version(ai_model=made, version="1.1.0", api_spec={"input": TEXT_IN, "output": LABEL_OUT})
    services.add_version(ai_model=made, version="2.0.0", api_spec={"input": TONE, "output": LABEL_OUT})
    return made


def fault(answer):
    assert answer.status_code == 422, answer.content
    return answer.json()["errors"][0]["pointer"], answer.json()["errors"][0]["code"]


def test_an_older_version_ends_on_a_day_that_may_be_moved_and_taken_back(grace, model):
    path = f"/api/models/{model.public_id}/versions/1.0.0"
    assert Client().get(path).json()["sunset_on"] is None
    for day in ("2099-01-01", "2098-01-01"):
        answer = grace.put(f"{path}/sunset", {"sunset_on": day})
        assert (answer.status_code, answer.json()["sunset_on"]) == (200, day), answer.content
    assert Client().get(path).json()["sunset_on"] == "2098-01-01"
    first = ModelVersion.objects.get(ai_model=model, version="1.0.0").sunset_announced_at
    grace.put(f"{path}/sunset", {"sunset_on": "2098-01-01"})
    assert ModelVersion.objects.get(ai_model=model, version="1.0.0").sunset_announced_at == first
    page = Client().get(f"/models/{model.publisher.slug}/{model.slug}/versions").content.decode()
    assert "ends on 1 Jan 2098" in page
    assert grace.put(f"{path}/sunset", {"sunset_on": None}).json()["sunset_on"] is None
    events = AuditEvent.objects.filter(action="model.version_sunset_set")
    assert events.count() == 3, "the same day anew is nothing new"


def test_what_cannot_end_says_why(grace, model):
    path = f"/api/models/{model.public_id}/versions"
    today = services.today().isoformat()
    assert fault(grace.put(f"{path}/1.0.0/sunset", {"sunset_on": today})) == ("/sunset_on", "not_in_future")
    assert fault(grace.put(f"{path}/1.0.0/sunset", {"sunset_on": "soon"}))[0] == "/sunset_on"
    assert fault(grace.put(f"{path}/1.0.0/sunset", {}))[0] == "/sunset_on"
    assert fault(grace.put(f"{path}/2.0.0/sunset", {"sunset_on": "2099-01-01"})) == ("/version", "is_current")
    assert grace.put(f"{path}/9.9.9/sunset", {"sunset_on": "2099-01-01"}).status_code == 404
    assert Person().put(f"{path}/1.0.0/sunset", {"sunset_on": "2099-01-01"}).status_code == 403
    draft = make_model(publisher=grace.organization, name="Draft")
    services.add_version(ai_model=draft, version="1.1.0", api_spec={"input": TEXT_IN, "output": LABEL_OUT})
    answer = grace.put(f"/api/models/{draft.public_id}/versions/1.0.0/sunset", {"sunset_on": "2099-01-01"})
    assert fault(answer) == ("/version", "not_published")


def test_a_day_without_an_announcement_cannot_be_stored(model):
    with pytest.raises(IntegrityError, match="model_version_sunset_is_announced"), transaction.atomic():
        ModelVersion.objects.filter(ai_model=model).update(sunset_on=clock.now().date() + timedelta(days=9))


def test_the_sweep_reads_what_ends_through_its_index(model):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN SELECT * FROM marketplace_modelversion WHERE sunset_on > clock_now()::date")
        assert "model_version_sunset" in "\n".join(row[0] for row in cursor.fetchall())


def test_two_versions_are_compared_by_programs_too(model):
    path = f"/api/models/{model.public_id}/versions"
    found = Client().get(f"{path}/2.0.0/changes").json()
    assert (found["since"], found["version"], found["breaking"]) == ("1.1.0", "2.0.0", 1)
    assert found["changes"] == [
        {
            "side": "input",
            "pointer": "/tone",
            "kind": "added",
            "before": None,
            "after": "{}",
            "is_breaking": True,
        }
    ]
    assert Client().get(f"{path}/1.1.0/changes").json()["changes"] == []
    assert Client().get(f"{path}/2.0.0/changes?since=1.0.0").json()["since"] == "1.0.0"
    first = Client().get(f"{path}/1.0.0/changes").json()
    assert (first["since"], first["changes"], first["breaking"]) == (None, [], 0)
    for missing in ("9.9.9/changes", "2.0.0/changes?since=7.0.0", "7.0.0"):
        assert Client().get(f"{path}/{missing}").status_code == 404
    assert Client().get(f"{path}/2.0.0/changes?before=1.0.0").status_code == 400


def test_versions_of_a_draft_are_its_publishers(grace):
    draft = make_model(publisher=grace.organization)
    path = f"/api/models/{draft.public_id}/versions/1.0.0"
    assert grace.get(path).json()["is_current"] is True
    for caller in (Client(), Person()):
        for below in ("", "/changes"):
            assert caller.get(f"{path}{below}").status_code == 404
