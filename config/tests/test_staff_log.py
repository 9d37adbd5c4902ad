"""What staff do in the administration stands in the audit log, whoever wrote the page."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.test import Client

from accounts.models import Organization, User
from accounts.tests.factories import make_organization, make_user
from common.policy import SESSION_ORGANIZATION
from config.staff_log import Recorded, _states
from config.tests.test_admin import staff as staff
from observability.models import AuditEvent

pytestmark = pytest.mark.django_db
NO_INLINES = {
    f"{inline}-{kind}_FORMS": "0"
    for inline in ("memberships", "emailaddress_set", "authenticator_set", "browser_sessions")
    for kind in ("TOTAL", "INITIAL")
}


def events(action: str, **facts: Any) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action=action, **facts).order_by("id"))


def change(client: Client, user: User, **body: str) -> None:
    page = client.get(f"/admin/accounts/user/{user.pk}/change/")
    formsets = {
        f"{one.formset.prefix}-{kind}_FORMS": str(len(one.formset.forms))
        for one in page.context["inline_admin_formsets"]
        for kind in ("TOTAL", "INITIAL")
    }
    answer = client.post(f"/admin/accounts/user/{user.pk}/change/", {"name": user.name, **formsets, **body})
    assert answer.status_code == 302, answer.context["errors"]


def test_every_page_records():
    assert all(isinstance(page, Recorded) for page in admin.site._registry.values())


def test_what_was_changed_stands_there_before_and_after(staff: SimpleNamespace):
    user = make_user(name="Ada")
    change(staff.client, user, name="Ada King", is_active="on")
    [event] = events("staff.changed", target_id=user.pk)
    assert (event.before, event.after) == ({"name": "Ada"}, {"name": "Ada King"})
    assert (event.actor_user_id, event.subject_user_id, event.target_type) == (staff.user.pk, user.pk, "user")


def test_who_becomes_staff_and_with_which_groups_is_told_by_name(staff: SimpleNamespace):
    user, support = make_user(), Group.objects.get(name="support")
    change(staff.client, user, is_active="on", is_staff="on", groups=str(support.pk))
    [event] = events("staff.changed", target_id=user.pk)
    assert event.before == {"is_staff": False, "groups": []}
    assert event.after == {"is_staff": True, "groups": ["support"]}


def test_what_is_added_and_deleted_stands_there_too(staff: SimpleNamespace):
    right = Permission.objects.get(codename="view_user")
    staff.client.post("/admin/auth/group/add/", {"name": "Reviewers", "permissions": [str(right.pk)]})
    group = Group.objects.get(name="Reviewers")
    [added] = events("staff.added", target_type="group")
    assert added.target_id is not None
    assert added.target_id.int == group.pk
    assert (added.after or {})["name"] == "Reviewers"
    assert (added.after or {})["permissions"] == [str(right)]
    staff.client.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"})
    [deleted] = events("staff.deleted", target_type="group")
    assert (deleted.before, deleted.after) == ({"name": "Reviewers"}, None)


def test_what_is_refused_leaves_no_event(staff: SimpleNamespace):
    Group.objects.create(name="Reviewers")
    assert staff.client.post("/admin/auth/group/add/", {"name": "Reviewers"}).status_code == 200
    assert events("staff.added", target_type="group") == []


def test_what_staff_do_is_in_the_log_of_whom_it_is_about_and_not_in_their_own(staff: SimpleNamespace):
    """Staff may be in organizations, whose owners are told nothing about other people."""
    own, user = make_organization(owner=staff.user), make_user(name="Ada")
    session = staff.client.session
    session[SESSION_ORGANIZATION] = own.public_id
    session.save()
    change(staff.client, user, name="Ada King", is_active="on")
    theirs: Organization = user.personal_organization
    answer = staff.client.post(
        f"/admin/accounts/organization/{theirs.pk}/change/",
        {"name": "Engines", "slug": theirs.slug, "rate_limit": "", **_memberships(staff.client, theirs)},
    )
    assert answer.status_code == 302, answer.context["errors"]
    assert [event.organization_id for event in events("staff.changed")] == [None, theirs.pk]
    assert not AuditEvent.objects.filter(action__startswith="staff.", organization_id=own.pk).exists()


def _memberships(client: Client, organization: Organization) -> dict[str, str]:
    page = client.get(f"/admin/accounts/organization/{organization.pk}/change/")
    values = {}
    for one in page.context["inline_admin_formsets"]:
        count = str(one.formset.initial_form_count())
        values |= {f"{one.formset.prefix}-{kind}_FORMS": count for kind in ("TOTAL", "INITIAL")}
        for form in one.formset.initial_forms:
            values |= {form.add_prefix(name): str(form[name].value() or "") for name in form.fields}
    return values


def test_of_a_secret_it_is_said_that_it_was_changed():
    class KeptForm(forms.Form):
        name = forms.CharField()
        password = forms.CharField(widget=forms.PasswordInput)

    form = KeptForm({"name": "new", "password": "hunter2"}, initial={"name": "old", "password": "hunter1"})
    assert form.is_valid()
    assert _states(form) == ({"name": "old"}, {"changed": ["password"], "name": "new"})
