"""Staff's queue."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from marketplace.models import AIModel
from marketplace.tests.factories import make_model

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


def test_staff_without_the_right_only_look(staff):
    user = User.objects.create_user("v@example.org", "a long password", name="V", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_aimodel"))
    client = Client()
    client.force_login(user)
    waiting = make_model(status="in_review")
    take(client, "publish", waiting)
    waiting.refresh_from_db()
    assert waiting.status == "in_review"
