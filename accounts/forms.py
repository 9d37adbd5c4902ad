"""allauth's forms where a service of ours does the work, and the profile."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from allauth.account import forms as allauth
from allauth.account.internal.flows.manage_email import email_already_exists
from allauth.account.internal.flows.signup import prevent_enumeration
from allauth.mfa.base import forms as mfa
from allauth.mfa.totp import forms as totp
from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import services
from accounts.errors import CodeInvalid
from accounts.models import EmailCode, Organization, User


class Worded:
    """A form of allauth's in the words of this site, with what browsers and password managers need to fill it in."""

    LABELS: dict[str, Any] = {
        "email": _("E-mail address"),
        "login": _("E-mail address"),
        "remember": _("Stay logged in on this device"),
        "oldpassword": _("Current password"),
        "code": _("Code"),
    }
    NEW_PASSWORD = {"password1": _("New password"), "password2": _("New password, again")}
    ATTRIBUTES = {
        "login": {"autocomplete": "username"},
        "code": {"autocomplete": "one-time-code", "spellcheck": "false"},
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: dict[str, forms.Field] = self.fields  # type: ignore[attr-defined]
        for name, field in fields.items():
            field.label = self.LABELS.get(name, field.label)
            field.widget.attrs |= self.ATTRIBUTES.get(name, {})
            field.widget.attrs.pop("placeholder", None)  # allauth's repeat its labels
        if "password1" in fields:
            fields["password1"].help_text = password_hint()


class LoginForm(Worded, allauth.LoginForm):
    pass


class SignupForm(Worded, allauth.SignupForm):
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


class ConfirmEmailVerificationCodeForm(Worded, allauth.ConfirmEmailVerificationCodeForm):
    """Compares with the row that the mail was made from, whichever door asked for it."""

    ATTRIBUTES = {"code": Worded.ATTRIBUTES["code"] | {"autocapitalize": "characters"}}

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


class ChangeEmailForm(Worded, allauth.ChangeEmailForm):
    pass


class AddEmailForm(Worded, allauth.AddEmailForm):
    pass


class ChangePasswordForm(Worded, allauth.ChangePasswordForm):
    LABELS = Worded.LABELS | Worded.NEW_PASSWORD


class SetPasswordForm(Worded, allauth.SetPasswordForm):
    LABELS = Worded.LABELS | Worded.NEW_PASSWORD


class ResetPasswordForm(Worded, allauth.ResetPasswordForm):
    def clean_email(self) -> str:
        return services.clean_email(self.cleaned_data["email"])

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        email: str = self.cleaned_data["email"]
        services.request_password_reset(email=email)
        return email


class ResetPasswordKeyForm(Worded, allauth.ResetPasswordKeyForm):
    LABELS = Worded.LABELS | Worded.NEW_PASSWORD

    def save(self) -> None:
        services.reset_password(token=self.temp_key, password=self.cleaned_data["password1"])


#: Codes of an authenticator app and recovery codes are digits alone.
DIGITS = {"code": Worded.ATTRIBUTES["code"] | {"inputmode": "numeric"}}


class AuthenticateForm(Worded, mfa.AuthenticateForm):
    ATTRIBUTES = DIGITS


class ReauthenticateForm(Worded, mfa.ReauthenticateForm):
    ATTRIBUTES = DIGITS


class ActivateTOTPForm(Worded, totp.ActivateTOTPForm):
    ATTRIBUTES = DIGITS
    LABELS = {"code": _("Code from the app")}


def password_hint() -> str:
    """The rules of a password in one sentence; the validators say which one was broken."""
    validators: Any = settings.AUTH_PASSWORD_VALIDATORS
    lengths = (one["OPTIONS"]["min_length"] for one in validators if "min_length" in one.get("OPTIONS", {}))
    length = next(lengths, 8)
    return gettext("At least %(length)d characters. No common password, and not your name or address.") % {
        "length": length
    }


class ProfileForm(forms.Form):
    """The person, and the organization where they may change it."""

    name = forms.CharField(label=_("Your name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    organization_name = forms.CharField(
        label=_("Name of the organization"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )

    def __init__(
        self, data: Any = None, *, user: User, organization: Organization, may_change_organization: bool
    ) -> None:
        super().__init__(data, initial={"name": user.name, "organization_name": organization.name})
        if not may_change_organization:
            del self.fields["organization_name"]


def time_zones(current: str) -> list[tuple[str, str]]:
    """The choices of a time zone: places, UTC, and the one in force."""
    zones = {zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/")}
    return [(zone, zone.replace("_", " ")) for zone in sorted(zones | {"UTC", current})]
