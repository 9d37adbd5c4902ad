"""What staff add, change and delete in the admin, for the audit log: every page of it, whoever wrote the page."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.forms import BaseForm, PasswordInput
from django.http import HttpRequest

from accounts.models import Organization, User
from observability.services import record


class Recorded(admin.ModelAdmin):
    """Before Django's own entry, in the same transaction, an event. Steps of services have events of their own."""

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        message = super().construct_change_message(request, form, formsets, add)
        before, after = _states(form)
        if inlines := [change for change in message if any("name" in facts for facts in change.values())]:
            after["with it"] = inlines
        request.staff_changes = before, after  # type: ignore[attr-defined]
        return message

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        _record("staff.added", obj, *vars(request).get("staff_changes", ({}, {})))
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        _record("staff.changed", obj, *vars(request).get("staff_changes", ({}, {})))
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            _record("staff.deleted", obj, {"name": str(obj)}, {})
        return super().log_deletions(request, queryset)


def recorded(admin_class: type[Any]) -> type[Any]:
    """The same page, with its acts in the audit log."""
    return type(admin_class.__name__, (Recorded, admin_class), {"__module__": admin_class.__module__})


def _record(action: str, obj: Model, before: dict[str, Any], after: dict[str, Any]) -> None:
    record(
        action,
        target=obj,
        organization_id=obj.pk if isinstance(obj, Organization) else getattr(obj, "organization_id", None),
        subject_user_id=obj.pk if isinstance(obj, User) else getattr(obj, "user_id", None),
        before=before or None,
        after=after or None,
    )


def _states(form: BaseForm) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the form's changed fields were and are. Of a secret, that it was changed."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for name in form.changed_data:
        if isinstance(form.fields[name].widget, PasswordInput):
            after["changed"] = [*after.get("changed", []), name]
            continue
        before[name] = _plain(form.initial.get(name))
        after[name] = _plain(form.cleaned_data.get(name))
    return before, after


def _plain(value: Any) -> Any:
    """Rows as what they are called."""
    if isinstance(value, QuerySet | list | tuple | set):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Model) else value
