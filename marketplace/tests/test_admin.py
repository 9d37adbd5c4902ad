"""Staff's queue."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Membership, User
from accounts.tests.factories import make_user
from marketplace import services
from marketplace.models import AIModel
from marketplace.services.lines import MAX_LINES, Row, side_by_side
from marketplace.tests.factories import LABEL_OUT, TEXT_IN, make_model
from notifications.models import Message

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff():
    user = User.objects.create_user("s@example.org", "a long password", name="S", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(user)
    return client


def take(staff, action, *models):
    body = {"action": action, "_selected_action": [str(model.pk) for model in models]}
    return staff.post("/admin/marketplace/aimodel/", body, follow=True).content.decode()


@pytest.mark.parametrize("name", ["aimodel", "modelversion", "price"])
def test_every_list_and_every_row_can_be_looked_at(staff, name, django_assert_max_num_queries):
    models = [make_model(status="published") for _ in range(5)]
    with django_assert_max_num_queries(12):
        answer = staff.get(f"/admin/marketplace/{name}/?q=sentiment")
    assert answer.status_code == 200
    row = {"aimodel": models[0], "modelversion": models[0].current_version, "price": models[0].price}[name]
    assert staff.get(f"/admin/marketplace/{name}/{row.pk}/change/").status_code == 200
    assert staff.get(f"/admin/marketplace/{name}/add/").status_code == 403
    assert staff.post(f"/admin/marketplace/{name}/{row.pk}/delete/", {"post": "yes"}).status_code == 403


def test_the_steps_go_through_the_services(staff):
    waiting, draft = make_model(status="in_review"), make_model(name="Draft")
    html = take(staff, "publish", waiting, draft)
    assert "1 model is changed." in html
    assert "Draft: A model in the state draft cannot be published." in html
    waiting.refresh_from_db()
    assert (waiting.status, AIModel.objects.get(pk=draft.pk).status) == ("published", "draft")
    take(staff, "suspend", waiting)
    waiting.refresh_from_db()
    assert waiting.status == "suspended"
    other = make_model(status="in_review")
    take(staff, "reject", other)
    other.refresh_from_db()
    assert other.status == "rejected"
    take(staff, "archive", waiting)
    waiting.refresh_from_db()
    assert waiting.status == "archived"


def test_what_changed_since_the_last_look_is_shown_and_the_publisher_hears_why(staff):
    waiting, owner = make_model(status="in_review"), make_user()
    Membership.objects.create(organization=waiting.publisher, user=owner, role=Membership.Role.OWNER)
    page = f"/admin/marketplace/aimodel/{waiting.pk}/change/"
    assert "Nobody has looked at it yet." in staff.get(page).content.decode()
    body = {"action": "reject", "_selected_action": [str(waiting.pk)], "note": "Say what <b>it</b> costs."}
    staff.post("/admin/marketplace/aimodel/", body)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.review_note) == ("rejected", "Say what <b>it</b> costs.")
    assert Message.objects.get().kind == "marketplace.rejected"
    assert "Nothing." in staff.get(page).content.decode()
    spec = {"input": TEXT_IN, "output": {**LABEL_OUT, "title": "Mood"}}
    services.update_model(
        ai_model=waiting,
        name="Sentiment",
        description="A cent a call.",
        version="1.0.0",
        category="text-classification",
        api_spec=spec,
        pricing=services.Terms(type="paid", per_call_nano=10_000_000),
    )
    services.submit(ai_model=waiting)
    html = staff.get(page).content.decode()
    changed = html[html.index("field-changes") : html.index("field-review_note")]
    for words in (
        "description",
        "<caption>description</caption>",
        "<ins>cent</ins>",
        "<del>whether</del>",
        "<caption>price</caption>",
        "<caption>output</caption>",
        "&quot;Mood&quot;",
        "lines are the same",
    ):
        assert words in changed
    assert "category" not in changed
    take(staff, "publish", waiting)
    assert set(Message.objects.values_list("kind", flat=True)) == {"marketplace.rejected", "marketplace.published"}


def test_staff_without_the_right_only_look(staff):
    user = User.objects.create_user("v@example.org", "a long password", name="V", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_aimodel"))
    client = Client()
    client.force_login(user)
    waiting = make_model(status="in_review")
    take(client, "publish", waiting)
    waiting.refresh_from_db()
    assert waiting.status == "in_review"


def texts(pieces):
    return "".join(text for text, _differs in pieces)


def told(rows):
    """Kind and both sides, as somebody reads them."""
    return [(row.kind, texts(row.was), texts(row.now)) if row.kind != "skipped" else row.count for row in rows]


def test_two_texts_stand_side_by_side():
    before = [f"line {number}" for number in range(20)]
    after = [*before[:10], "line ten", *before[11:15], *before[16:], "the end"]
    rows = side_by_side("\n".join(before), "\n".join(after))
    assert told(rows) == [
        7,
        *(("same", line, line) for line in before[7:10]),
        ("changed", "line 10", "line ten"),
        *(("same", line, line) for line in before[11:15]),
        ("gone", "line 15", ""),
        *(("same", line, line) for line in before[16:20]),
        ("new", "", "the end"),
    ]
    changed = next(row for row in rows if row.kind == "changed")
    assert changed.now == (("line ", False), ("ten", True))
    assert (changed.was_number, changed.now_number) == (11, 11)
    assert told(side_by_side("", "a")) == [("new", "", "a")]
    assert side_by_side("a\nb", "a\nb") == [Row("skipped", count=2)]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abcd"), max_size=30))
def test_each_side_can_be_read_back(was, now):
    rows = side_by_side("\n".join(was), "\n".join(now))
    shown = {row.was_number: texts(row.was) for row in rows if row.was_number}
    assert shown == {number: was[number - 1] for number in shown}
    gone = {row.was_number for row in rows if row.kind == "gone"} | {
        row.was_number for row in rows if row.kind == "changed"
    }
    hidden = sum(row.count for row in rows)
    assert len(shown) + hidden == len(was)
    assert len([row for row in rows if row.now_number]) + hidden == len(now)
    assert (gone == set()) or was != now


def test_long_texts_are_shown_without_being_compared():
    long = "\n".join(map(str, range(MAX_LINES + 1)))
    rows = side_by_side(long, "1")
    assert len(rows) == MAX_LINES + 2
    assert {row.kind for row in rows} == {"gone", "new"}
    wide = side_by_side("x" * 600, "y" * 600)[0]
    assert (wide.was, wide.now) == ((("x" * 600, True),), (("y" * 600, True),))
