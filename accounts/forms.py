"""allauth's forms where a service of ours does the work, and the profile."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from allauth.account import forms as allauth
from allauth.account.internal.flows.manage_email import email_already_exists
from allauth.account.internal.flows.signup import prevent_enumeration
from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from accounts import services
from accounts.errors import CodeInvalid
from accounts.models import EmailCode, Organization, User


class SignupForm(allauth.SignupForm):
    """The page's door to `register_user`."""

    name = forms.CharField(label=_("Name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    field_order = ["name", "email", "password1"]

    def try_save(self, request: HttpRequest) -> tuple[User | None, HttpResponse | None]:
        """Sign up; the next page asks for the code and is the same whether or not the address was taken."""
        values = self.cleaned_data
        services.register_user(email=values["email"], password=values["password1"], name=values["name"])
        request.code_is_mailed = True  # type: ignore[attr-defined]
        user = services.find_owner(values["email"])
        if user is None or services.is_claimed(user, values["email"]):
            return None, prevent_enumeration(request, email=values["email"])
        return user, None


class ConfirmEmailVerificationCodeForm(allauth.ConfirmEmailVerificationCodeForm):
    """Compares with the row that the mail was made from, whichever door asked for it."""

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        try:
            if self.user is None:
                raise CodeInvalid()
            email_already_exists(user=self.user, email=self.email, always_raise=True)
            services.claim_code(
                user=self.user, purpose=EmailCode.Purpose.VERIFY_EMAIL, email=self.email.lower(), code=code
            )
        except CodeInvalid as problem:
            raise forms.ValidationError(problem.explanation, code="incorrect_code") from problem
        return code


class ResetPasswordForm(allauth.ResetPasswordForm):
    def clean_email(self) -> str:
        return services.clean_email(self.cleaned_data["email"])

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        email: str = self.cleaned_data["email"]
        services.request_password_reset(email=email)
        return email


class ResetPasswordKeyForm(allauth.ResetPasswordKeyForm):
    def save(self) -> None:
        services.reset_password(token=self.temp_key, password=self.cleaned_data["password1"])


class ProfileForm(forms.Form):
    """The person, and the organization where they may change it."""

    name = forms.CharField(label=_("Your name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    organization_name = forms.CharField(label=_("Name of the organization"), max_length=120)
    time_zone = forms.ChoiceField(label=_("Time zone"), help_text=_("Of its reports, months and new spend limits."))

    def __init__(
        self, data: Any = None, *, user: User, organization: Organization, may_change_organization: bool
    ) -> None:
        initial = {
            "name": user.name,
            "organization_name": organization.name,
            "time_zone": organization.time_zone,
        }
        super().__init__(data, initial=initial)
        zones = {zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/")}
        zones |= {"UTC", organization.time_zone}
        time_zone = self.fields["time_zone"]
        assert isinstance(time_zone, forms.ChoiceField)
        time_zone.choices = [(zone, zone.replace("_", " ")) for zone in sorted(zones)]
        if not may_change_organization:
            del self.fields["organization_name"], self.fields["time_zone"]
