"""What people fill in about a key."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import Budget
from apikeys import services
from apikeys.models import DEFAULT_PERMISSIONS, PERMISSIONS, APIKey, scopes_of_role
from common.money import MAX_NANO, amount, to_nano

PERMISSION_WORDS = {
    "models:read": _("models:read, look at models"),
    "models:write": _("models:write, publish and change models"),
    "models:invoke": _("models:invoke, call models"),
    "reviews:write": _("reviews:write, review models"),
    "deployments:read": _("deployments:read, look at deployments"),
    "deployments:write": _("deployments:write, make and change deployments"),
    "keys:read": _("keys:read, look at keys"),
    "keys:write": _("keys:write, make and revoke keys"),
    "analytics:read": _("analytics:read, read usage"),
    "billing:read": _("billing:read, read invoices and limits"),
    "billing:write": _("billing:write, pay and change limits"),
    "webhooks:read": _("webhooks:read, look at webhooks"),
    "webhooks:write": _("webhooks:write, make and change webhooks"),
}
DAYS = (30, 90, 365)
DEFAULT_DAYS = 90
OVERLAPS = ((0, _("None: the old secret ends at once")), (86_400, _("24 hours")), (3 * 86_400, _("72 hours")))


class AmountField(forms.Field):
    """Nano-units, typed as a decimal amount; nothing is None."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}), **kwargs)

    def to_python(self, value: Any) -> int | None:
        text = str(value or "").strip()
        if not text:
            return None
        try:
            nano = to_nano(text.replace(",", ""))
        except ValueError:
            raise forms.ValidationError(_("Enter an amount such as 20.00."), code="invalid") from None
        if not 0 <= nano <= MAX_NANO:
            raise forms.ValidationError(_("Enter an amount of at least 0."), code="invalid")
        return nano

    def prepare_value(self, value: Any) -> Any:
        return amount(value) if isinstance(value, int) else value


class KeyForm(forms.Form):
    """The settings of a key that may change. `role`: of the person whose key it is."""

    name = forms.CharField(
        label=_("Name"),
        max_length=services.MAX_NAME_LENGTH,
        help_text=_("What you will recognise it by, such as the app that uses it."),
    )
    permissions = forms.MultipleChoiceField(
        label=_("Permissions"), widget=forms.CheckboxSelectMultiple, initial=list(DEFAULT_PERMISSIONS)
    )
    spend_limit = AmountField(
        label=_("Spend limit"),
        required=False,
        help_text=_("Requests stop at this amount. You are never charged more."),
    )
    window = forms.ChoiceField(
        label=_("For each"), choices=Budget.Window.choices, initial=Budget.Window.MONTH, required=False
    )

    def __init__(self, *args: Any, role: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        within = scopes_of_role(role)
        permissions: Any = self.fields["permissions"]
        permissions.choices = [(name, PERMISSION_WORDS[name]) for name in PERMISSIONS if name in within]

    def spend(self) -> services.SpendLimit | None:
        limit_nano = self.cleaned_data["spend_limit"]
        if limit_nano is None:
            return None
        return services.SpendLimit(limit_nano=limit_nano, window=self.cleaned_data["window"] or Budget.Window.MONTH)

    def add_problem(self, problem: Any) -> None:
        """Set what a service refused beside the fields it is about."""
        for fault in problem.errors or [{"pointer": "", "detail": problem.detail}]:
            name = fault["pointer"].split("/")[1] if fault["pointer"] else None
            self.add_error(name if name in self.fields else None, str(fault["detail"]))


class NewKeyForm(KeyForm):
    mode = forms.ChoiceField(
        label=_("Mode"),
        choices=APIKey.Mode.choices,
        initial=APIKey.Mode.LIVE,
        widget=forms.RadioSelect,
        help_text=_("Calls with a test key are never charged; publishers decide which models take them."),
    )
    days = forms.TypedChoiceField(
        label=_("Expires"),
        choices=[*((days, _("in %(days)d days") % {"days": days}) for days in DAYS), ("", _("never"))],
        coerce=int,
        empty_value=None,
        required=False,
        initial=DEFAULT_DAYS,
        help_text=_("A key that never expires works until somebody remembers to revoke it."),
    )
    field_order = ["name", "mode", "permissions", "spend_limit", "window", "days"]

    def values(self, at: datetime) -> dict[str, Any]:
        """The arguments of `issue_key`."""
        days = self.cleaned_data["days"]
        return {
            "name": self.cleaned_data["name"],
            "mode": self.cleaned_data["mode"],
            "permissions": self.cleaned_data["permissions"],
            "expires_at": None if days is None else at + timedelta(days=days),
            "spend_limit": self.spend(),
        }


class EditKeyForm(KeyForm):
    def values(self) -> dict[str, Any]:
        """The changes for `change_key`."""
        return {
            "name": self.cleaned_data["name"],
            "permissions": self.cleaned_data["permissions"],
            "spend_limit": self.spend(),
        }


class RotateForm(forms.Form):
    overlap_seconds = forms.TypedChoiceField(
        label=_("Time of overlap"),
        choices=OVERLAPS,
        coerce=int,
        initial=services.DEFAULT_OVERLAP_SECONDS,
        widget=forms.RadioSelect,
        help_text=_("How long the old secret works beside the new one."),
    )
