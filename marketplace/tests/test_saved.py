"""Models that somebody wants to find again."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from accounts.tests.factories import make_client, make_user
from marketplace import services
from marketplace.models import AIModel, SavedModel
from marketplace.services import saved
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db


def signed_in(user: User) -> Client:
    client = make_client()
    client.force_login(user)
    return client


def listed(client: Client, **query: Any) -> list[str]:
    return [one["id"] for one in client.get("/api/saved", query).json()["data"]]


def test_a_program_saves_lists_and_forgets():
    first, second = (make_model(status="published") for _ in range(2))
    mine, other = signed_in(make_user()), signed_in(make_user())
    for ai_model in (first, second, first):
        assert mine.put(f"/api/models/{ai_model.public_id}/saved").status_code == 204
    assert listed(mine) == [second.public_id, first.public_id]
    assert listed(other) == []
    page = mine.get("/api/saved", {"limit": 1}).json()
    assert listed(mine, limit=1, cursor=page["next_cursor"]) == [first.public_id]
    for _ in range(2):
        assert mine.delete(f"/api/models/{second.public_id}/saved").status_code == 204
    assert listed(mine) == [first.public_id]
    assert make_client().get("/api/saved").status_code == 401


def test_what_one_may_no_longer_see_is_left_out():
    ai_model, draft = make_model(status="published"), make_model()
    mine = signed_in(make_user())
    assert mine.put(f"/api/models/{draft.public_id}/saved").status_code == 404
    mine.put(f"/api/models/{ai_model.public_id}/saved")
    AIModel.objects.filter(pk=ai_model.pk).update(status="suspended")
    assert listed(mine) == []
    assert b"Nothing saved yet" in mine.get("/saved").content


def test_the_list_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(saved, "MAX_SAVED", 1)
    user = make_user()
    services.save_model(ai_model=make_model(status="published"), user=user)
    refused = signed_in(user).put(f"/api/models/{make_model(status='published').public_id}/saved")
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_saved")


def test_a_button_saves_and_leads_back():
    ai_model = make_model(status="published")
    mine = signed_in(make_user())
    page = f"/models/{ai_model.publisher.slug}/{ai_model.slug}"
    assert 'aria-pressed="false">Save' in mine.get(page).content.decode()
    saved_from = mine.post(f"{page}/save", {"act": "save", "next": f"{page}/versions"})
    assert saved_from["Location"] == f"{page}/versions"
    assert 'aria-pressed="true"' in mine.get(page).content.decode()
    assert ai_model.name in mine.get("/saved").content.decode()
    for elsewhere in ("//evil.example", "https://evil.example/", "/\\evil.example"):
        assert mine.post(f"{page}/save", {"act": "remove", "next": elsewhere})["Location"] == page
    assert not SavedModel.objects.exists()
    assert "/accounts/login/" in make_client().post(f"{page}/save")["Location"]
    assert f"{page}/save" not in make_client().get(page).content.decode()


def test_a_list_costs_the_same_however_long_it_is():
    user = make_user()
    mine = signed_in(user)
    mine.get("/saved")  # and whatever a session is asked for once
    for path in ("/api/saved", "/saved"):
        counts = []
        for _ in range(2):
            for _ in range(3):
                services.save_model(ai_model=make_model(status="published"), user=user)
            with CaptureQueriesContext(connection) as queries:
                mine.get(path)
            counts.append(len(queries))
        assert counts[0] == counts[1], path
