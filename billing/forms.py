"""What staff fill in about money."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.models import CreditGrant
from common import clock
from common.money import to_nano


class GrantForm(forms.ModelForm):
    """Credit for an organization. `amount_nano` is in `cleaned_data` afterwards."""

    amount = forms.CharField(max_length=32, label=_("Amount"), help_text=_("In the currency of this site: 20.00"))
    reason = forms.CharField(
        max_length=500, label=_("Reason"), help_text=_("Stands in the books and in the audit log.")
    )

    expires_at = forms.DateTimeField(
        required=False,
        label=_("Expires"),
        help_text=_("Empty: never."),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )

    class Meta:
        model = CreditGrant
        fields = ("organization", "reason", "expires_at")

    def clean_amount(self) -> Any:
        try:
            nano = to_nano(self.cleaned_data["amount"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        if nano <= 0:
            raise forms.ValidationError(_("An amount is more than nothing."))
        self.cleaned_data["amount_nano"] = nano
        return self.cleaned_data["amount"]

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= clock.now():
            raise forms.ValidationError(_("This moment is over."))
        return expires_at
