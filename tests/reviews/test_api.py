"""Reviews as programs read and write them."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Membership, User
from accounts.tests.factories import make_client, make_user
from apikeys.tests.factories import make_key
from common.ids import encode, uuid7
from gateway.tests.factories import make_call
from marketplace.models import AIModel
from marketplace.tests.factories import make_model
from reviews import services
from reviews.models import Report, Review
from tests.reviews.factories import make_customer, make_review

pytestmark = pytest.mark.django_db
JSON = "application/json"
FIELDS = [
    *("id", "model_id", "user_id", "rating", "title", "content", "verified_calls", "version", "helpful", "reply"),
    *("created_at", "updated_at"),
]


def signed_in(user: User) -> Client:
    client = make_client()
    client.force_login(user)
    return client


def path_of(ai_model: AIModel, *rest: str) -> str:
    return "/".join([f"/api/models/{ai_model.public_id}/reviews", *rest])


def test_the_story_of_a_review(client: Client):
    ai_model = make_model(status="published")
    user = make_customer(ai_model, calls=2)
    api = signed_in(user)
    posted = api.post(path_of(ai_model), {"rating": 4, "content": "Quick.", "title": "Good"}, JSON)
    assert posted.status_code == 201, posted.content
    review = posted.json()
    assert list(review) == FIELDS
    assert review["model_id"] == ai_model.public_id
    assert review["user_id"] == user.public_id
    assert (review["rating"], review["verified_calls"], review["version"]) == (4, 2, "1.0.0")
    assert (review["helpful"], review["reply"]) == (0, None)
    assert review["created_at"] == review["updated_at"]
    again = api.post(path_of(ai_model), {"rating": 5, "content": "x"}, JSON)
    assert (again.status_code, again.json()["code"]) == (409, "already_reviewed")
    assert again.json()["review_id"] == review["id"]
    one = path_of(ai_model, review["id"])
    edited = api.put(one, {"rating": 2, "content": "Slower by now."}, JSON).json()
    assert (edited["rating"], edited["title"]) == (2, "")
    assert edited["updated_at"] > edited["created_at"] == review["created_at"]
    [before] = client.get(f"{one}/history").json()["data"]
    assert (before["rating"], before["title"], before["content"]) == (4, "Good", "Quick.")
    [listed] = client.get(path_of(ai_model)).json()["data"]
    assert listed == client.get(one).json() == edited
    assert client.get(f"/api/models/{ai_model.public_id}").json()["stats"]["rating"] == 2
    assert api.delete(one).status_code == 204
    assert client.get(one).status_code == 404
    assert client.get(f"/api/models/{ai_model.public_id}").json()["stats"]["reviews"] == 0


def test_whoever_may_not_is_told_why():
    publisher = make_user(platform_role="developer")
    ai_model = make_model(publisher=publisher.personal_organization, status="published")
    body = {"rating": 5, "content": "Good."}
    for who, code in ((make_user(), "not_a_user_of_this_model"), (publisher, "own_model")):
        refused = signed_in(who).post(path_of(ai_model), body, JSON)
        assert (refused.status_code, refused.json()["code"]) == (403, code)
    assert Client().post(path_of(ai_model), body, JSON).status_code == 401
    review = make_review(ai_model)
    one = path_of(ai_model, review.public_id)
    stranger = signed_in(make_user())
    for refused in (stranger.put(one, body, JSON), stranger.delete(one)):
        assert (refused.status_code, refused.json()["code"]) == (403, "not_your_review")
    assert stranger.get(path_of(ai_model, encode("rev", uuid7()))).status_code == 404
    other = make_model(status="published")
    assert stranger.get(path_of(other, review.public_id)).status_code == 404, "it is of another model"


def test_a_key_needs_the_permission_to_write_and_none_to_read():
    ai_model = make_model(status="published")
    user = make_customer(ai_model)
    body = {"rating": 5, "content": "Good."}
    for permissions, status in ((["models:read"], 403), (["reviews:write"], 201)):
        _key, secret = make_key(user=user, organization=user.personal_organization, permissions=permissions)
        headers = {"Authorization": f"Bearer {secret}"}
        assert Client().get(path_of(ai_model), headers=headers).status_code == 200
        assert Client().post(path_of(ai_model), body, JSON, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"content": "x"}, "/rating"),
        ({"rating": 0, "content": "x"}, "/rating"),
        ({"rating": 6, "content": "x"}, "/rating"),
        ({"rating": 4.5, "content": "x"}, "/rating"),
        ({"rating": 4, "content": " "}, "/content"),
        ({"rating": 4, "content": "x" * 5_001}, "/content"),
        ({"rating": 4, "content": "x", "title": "x" * 121}, "/title"),
        ({"rating": 4, "content": "x", "verified_calls": 9}, "/verified_calls"),
    ],
)
def test_what_does_not_fit_is_named(body: dict[str, Any], pointer: str):
    ai_model = make_model(status="published")
    refused = signed_in(make_customer(ai_model)).post(path_of(ai_model), body, JSON)
    assert refused.status_code == 422
    assert [fault["pointer"] for fault in refused.json()["errors"]] == [pointer]


def test_a_list_has_orders_a_filter_pages_and_figures(client: Client):
    ai_model = make_model(status="published")
    made = [make_review(ai_model, rating=rating) for rating in (3, 5, 1, 5)]
    services.set_helpful(review=made[2], by=make_user(), is_helpful=True)
    hidden = make_review(ai_model, rating=1)
    services.hide_review(review=hidden)

    def listed(**query: Any) -> list[int]:
        answer = client.get(path_of(ai_model), query)
        assert answer.status_code == 200, answer.content
        ids = [review.public_id for review in made]
        return [ids.index(row["id"]) for row in answer.json()["data"]]

    assert listed() == [3, 2, 1, 0]
    assert listed(sort="helpful") == [2, 3, 1, 0]
    assert listed(sort="highest") == [3, 1, 0, 2]
    assert listed(sort="lowest") == [2, 0, 3, 1]
    assert listed(rating=5) == [3, 1]
    first = client.get(path_of(ai_model), {"sort": "lowest", "limit": 3}).json()
    assert first["has_more"]
    assert listed(sort="lowest", limit=3, cursor=first["next_cursor"]) == [1]
    assert client.get(path_of(ai_model), {"summary": "true"}).json()["summary"] == {
        "reviews": 4,
        "mean": 3.5,
        "bayesian_mean": 3.5,
        "distribution": {"1": 1, "2": 0, "3": 1, "4": 0, "5": 2},
    }
    assert "summary" not in first
    refused = client.get(path_of(ai_model), {"sortt": "lowest"})
    assert refused.status_code == 400
    assert "“sort”" in refused.json()["detail"]


def test_a_list_costs_the_same_however_long_it_is(client: Client):
    ai_model = make_model(status="published")
    counts = []
    for many in (2, 6):
        for review in [make_review(ai_model) for _ in range(many)]:
            services.reply(review=review, organization=ai_model.publisher, by=make_user(), content="Thanks.")
        with CaptureQueriesContext(connection) as queries:
            client.get(path_of(ai_model))
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_publisher_replies_others_do_not():
    publisher = make_user(platform_role="developer")
    ai_model = make_model(publisher=publisher.personal_organization, status="published")
    one = path_of(ai_model, make_review(ai_model).public_id, "reply")
    stranger = signed_in(make_user(platform_role="developer"))
    refused = stranger.post(one, {"content": "Thanks."}, JSON)
    assert (refused.status_code, refused.json()["code"]) == (403, "not_your_model")
    answered = signed_in(publisher).post(one, {"content": "Thanks."}, JSON)
    assert answered.status_code == 200
    assert answered.json()["reply"]["content"] == "Thanks."
    assert stranger.delete(one).status_code == 403
    assert signed_in(publisher).delete(one).status_code == 204


def test_helpful_is_said_and_taken_back():
    ai_model = make_model(status="published")
    review = make_review(ai_model)
    one = path_of(ai_model, review.public_id, "helpful")
    reader = signed_in(make_user())
    assert [reader.post(one, {}, JSON).json()["helpful"] for _ in range(2)] == [1, 1]
    assert reader.delete(one).status_code == 204
    assert Review.objects.get().helpful_count == 0
    assert signed_in(review.author).post(one, {}, JSON).json()["code"] == "own_review"


def test_reviews_and_models_are_reported():
    ai_model = make_model(status="published")
    review = make_review(ai_model)
    reader = signed_in(make_user())
    one = path_of(ai_model, review.public_id, "report")
    made = reader.post(one, {"reason": "spam"}, JSON)
    assert made.status_code == 201
    assert set(made.json()) == {"id", "reason", "note"}
    assert reader.post(one, {"reason": "spam"}, JSON).json()["code"] == "already_reported"
    of_model = f"/api/models/{ai_model.public_id}/report"
    wrong = reader.post(of_model, {"reason": "off_topic"}, JSON)
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/reason")
    assert reader.post(of_model, {"reason": "other"}, JSON).json()["errors"][0]["pointer"] == "/note"
    assert reader.post(of_model, {"reason": "misleading", "note": "It guesses."}, JSON).status_code == 201
    assert Report.objects.open().count() == 2


def test_staff_hide_by_deleting(client: Client):
    ai_model = make_model(status="published")
    review = make_review(ai_model)
    one = path_of(ai_model, review.public_id)
    staff = make_user(is_staff=True, is_superuser=True)
    assert signed_in(staff).delete(one).status_code == 204
    review.refresh_from_db()
    assert review.hidden_at is not None
    assert client.get(one).status_code == 404
    own = signed_in(review.author)
    assert own.get(one).status_code == 200
    refused = own.put(one, {"rating": 5, "content": "x"}, JSON)
    assert (refused.status_code, refused.json()["code"]) == (409, "review_hidden")


def test_a_members_calls_are_those_of_the_organization_that_they_act_for():
    ai_model = make_model(status="published")
    team, user = make_customer(ai_model).personal_organization, make_user()
    Membership.objects.create(organization=team, user=user, role="member")
    body = {"rating": 5, "content": "Good."}
    api = signed_in(user)
    assert api.post(path_of(ai_model), body, JSON).status_code == 403
    made = api.post(path_of(ai_model), body, JSON, headers={"Agorai-Organization": team.public_id})
    assert made.status_code == 201
    make_call(ai_model, organization=user.personal_organization)
    assert Review.objects.get().organization == team
