"""allauth's forms where a service of ours does the work, and the profile."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any
from zoneinfo import available_timezones

from allauth.account import forms as allauth
from allauth.account.internal.flows.manage_email import email_already_exists
from allauth.account.internal.flows.signup import prevent_enumeration
from allauth.core import context
from allauth.mfa.adapter import get_adapter as get_mfa_adapter
from allauth.mfa.base import forms as mfa
from allauth.mfa.models import Authenticator
from allauth.mfa.totp import forms as totp
from allauth.mfa.totp.internal.auth import TOTP
from allauth.mfa.webauthn import forms as webauthn
from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import services
from accounts.errors import CodeInvalid
from accounts.models import Budget, DeveloperRequest, EmailCode, Membership, Organization, User
from common import money
from common.problems import ValidationFailed


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
        "login": {"autocomplete": "username webauthn"},  # browsers offer passkeys there
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

    def clean(self) -> dict[str, Any]:
        """allauth has looked at the password without knowing the name."""
        values: dict[str, Any] = super().clean()
        if password := values.get("password1"):
            person = User(email=values.get("email", ""), name=values.get("name", ""))
            try:
                services.check_password_rules(password, person)
            except ValidationFailed as problem:
                self.add_error("password1", [fault["detail"] for fault in problem.errors])
        return values

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
        guess = services.begin_guess(email=self.email)
        try:
            if self.user is None or not guess.counts:
                raise CodeInvalid()
            services.claim_code(
                user=self.user, purpose=EmailCode.Purpose.VERIFY_EMAIL, email=self.email.lower(), code=code
            )
        except CodeInvalid as problem:
            raise forms.ValidationError(problem.explanation, code="incorrect_code") from problem
        guess.was_right()
        services.forget_unproved(email=self.email.lower(), user=self.user)
        email_already_exists(user=self.user, email=self.email, always_raise=True)
        return code


class RequestLoginCodeForm(Worded, allauth.RequestLoginCodeForm):
    """The next page asks for the code and is the same whether or not there is an account."""

    ATTRIBUTES = {"email": {"autocomplete": "username"}}

    def clean_email(self) -> str:
        self.cleaned_data["email"] = services.clean_email(self.cleaned_data["email"])
        email: str = super().clean_email()
        services.request_login_code(email=email)
        return email


class ConfirmLoginCodeForm(Worded, allauth.ConfirmLoginCodeForm):
    """Compares with the row that the mail was made from."""

    ATTRIBUTES = ConfirmEmailVerificationCodeForm.ATTRIBUTES

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        stage: Any = context.request._login_stage
        try:
            user = services.claim_login_code(email=stage.state.get("email") or "", code=code)
        except CodeInvalid as problem:
            raise forms.ValidationError(problem.explanation, code="incorrect_code") from problem
        if user != stage.login.user:  # the address changed hands meanwhile
            raise forms.ValidationError(CodeInvalid.explanation, code="incorrect_code")
        return code


class ChangeEmailForm(Worded, allauth.ChangeEmailForm):
    pass


class AddEmailForm(Worded, allauth.AddEmailForm):
    pass


class ChangePasswordForm(Worded, allauth.ChangePasswordForm):
    LABELS = Worded.LABELS | Worded.NEW_PASSWORD

    def clean_oldpassword(self) -> str:
        guess = services.begin_guess_at(self.user)
        password: str = super().clean_oldpassword()
        guess.was_right()
        return password


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


class Guessed:
    """A form with a code that could be guessed: wrong ones count, at this door as at every other."""

    user: User

    def clean_code(self) -> str:
        guess = services.begin_guess_at(self.user)
        code: str = super().clean_code()  # type: ignore[misc]  # of the form that it is mixed into
        guess.was_right()
        return code


class AuthenticateForm(Guessed, Worded, mfa.AuthenticateForm):
    ATTRIBUTES = DIGITS


class ReauthenticateForm(Guessed, Worded, mfa.ReauthenticateForm):
    ATTRIBUTES = DIGITS


class ActivateTOTPForm(Worded, totp.ActivateTOTPForm):
    ATTRIBUTES = DIGITS
    LABELS = {"code": _("Code from the app")}

    def clean_code(self) -> str:
        """Switching it on uses the code up, as logging in does: each is good once."""
        code: str = super().clean_code()
        if not TOTP(Authenticator(user=self.user))._mark_code_used(code):
            raise get_mfa_adapter().validation_error("incorrect_code")
        return code


class Sturdy:
    """What a device answers is read by packages that trip over anything else: that is wrong, and no error of ours."""

    def clean_credential(self) -> Any:
        return self.read(getattr(super(), "clean_credential", lambda: self.cleaned_data["credential"]))  # type: ignore[attr-defined]

    def clean(self) -> Any:
        return self.read(super().clean)  # type: ignore[misc]

    @staticmethod
    def read(parse: Callable[[], Any]) -> Any:
        try:
            return parse()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
            raise get_mfa_adapter().validation_error("incorrect_code") from error


class LoginPasskeyForm(Sturdy, webauthn.LoginWebAuthnForm):
    pass


class AuthenticatePasskeyForm(Sturdy, webauthn.AuthenticateWebAuthnForm):
    pass


class ReauthenticatePasskeyForm(Sturdy, webauthn.ReauthenticateWebAuthnForm):
    pass


class AddPasskeyForm(Sturdy, Worded, webauthn.AddWebAuthnForm):
    """Whether it replaces the password is the device's to say, not a box to tick."""

    LABELS = {"name": _("Name")}
    ATTRIBUTES = {"name": {"autocomplete": "off", "maxlength": "60"}}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields.pop("passwordless", None)
        self.fields["name"].help_text = gettext("So that you know it again among others.")

    def clean_name(self) -> str:
        name: str = super().clean_name()
        return name[:60]


class RenamePasskeyForm(Worded, webauthn.EditWebAuthnForm):
    name = forms.CharField(label=_("Name"), max_length=60, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    LABELS = {"name": _("Name")}


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


class DeveloperForm(forms.Form):
    """Why somebody wants to publish: the staff decides by it."""

    reason = forms.CharField(
        label=_("What do you want to publish?"),
        max_length=DeveloperRequest.MAX_REASON,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("A sentence or two: which models, for whom, and where they run."),
    )


# --- Organizations ---


def set_problem(form: forms.Form, problem: ValidationFailed) -> None:
    """Set what the service refused beside the fields it is about."""
    for fault in problem.errors or []:
        name = str(fault["pointer"]).removeprefix("/")
        form.add_error(name if name in form.fields else None, str(fault["detail"]))


def zone_field() -> forms.ChoiceField:
    return forms.ChoiceField(label=_("Time zone"), help_text=_("Of its times, reports and months."))


class OrganizationForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    time_zone = zone_field()

    def __init__(self, data: Any = None, *, organization: Organization) -> None:
        super().__init__(data, initial={"name": organization.name, "time_zone": organization.time_zone})
        zone: Any = self.fields["time_zone"]
        zone.choices = time_zones(organization.time_zone)


class NewOrganizationForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    slug = forms.CharField(
        label=_("Short name"),
        max_length=services.MAX_SLUG,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
        help_text=_(
            "Stands in the addresses of its models and stays as it is. Made from the name if you leave it out."
        ),
    )
    time_zone = zone_field()

    def __init__(self, data: Any = None, *, time_zone: str) -> None:
        super().__init__(data, initial={"time_zone": time_zone})
        zone: Any = self.fields["time_zone"]
        zone.choices = time_zones(time_zone)

    def values(self) -> dict[str, Any]:
        """The arguments of `start_organization`."""
        return {**self.cleaned_data, "slug": self.cleaned_data["slug"].lower() or None}


class SpendLimitForm(forms.Form):
    """What the organization may spend in all, whatever its keys may."""

    amount = forms.DecimalField(
        label=_("Spend limit"),
        required=False,
        min_value=0,
        max_digits=18,
        decimal_places=9,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        help_text=_("Requests of all its keys stop at this amount. Empty: its credit alone counts."),
    )
    window = forms.ChoiceField(
        label=_("Starts again"),
        choices=[
            (Budget.Window.DAY, _("every day")),
            (Budget.Window.WEEK, _("every week")),
            (Budget.Window.MONTH, _("every month")),
            (Budget.Window.LIFETIME, _("never")),
        ],
    )

    def __init__(self, data: Any = None, *, budget: Budget | None) -> None:
        initial: dict[str, Any] = {"window": Budget.Window.MONTH}
        if budget is not None:
            initial = {"window": budget.window, "amount": money.amount(budget.limit)}
        super().__init__(data, initial=initial)

    def clean_amount(self) -> int | None:
        amount = self.cleaned_data["amount"]
        if amount is None:
            return None
        try:
            return money.to_nano(amount)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def values(self) -> dict[str, Any]:
        """The arguments of `limit_spending`."""
        return {"limit_nano": self.cleaned_data["amount"], "window": self.cleaned_data["window"]}


#: What the pages say of a role beside its name.
ROLE_WORDS = {
    Membership.Role.OWNER: _("Everything, closing the organization included."),
    Membership.Role.ADMIN: _("Everything but owners: people, keys, models, money."),
    Membership.Role.DEVELOPER: _("Models and keys; sees what they cost."),
    Membership.Role.BILLING: _("Payment, limits and figures; calls no models."),
    Membership.Role.MEMBER: _("Calls models with keys of their own."),
}


def role_field(roles: list[str]) -> forms.ChoiceField:
    """To be drawn by components/choice_cards.html."""
    choices = [
        (
            role,
            format_html("<b>{}</b><span class='small muted'>{}</span>", Membership.Role(role).label, ROLE_WORDS[role]),
        )
        for role in map(Membership.Role, roles)
    ]
    return forms.ChoiceField(label=_("Role"), choices=choices, widget=forms.RadioSelect)


NOT_OWNERS = [role for role in Membership.Role.values if role != Membership.Role.OWNER]


class InviteForm(forms.Form):
    email = forms.EmailField(
        label=_("E-mail address"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "off"})
    )

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, initial={"role": Membership.Role.MEMBER})
        self.fields["role"] = role_field(NOT_OWNERS)

    def clean_email(self) -> str:
        return services.clean_email(self.cleaned_data["email"])


class RoleForm(forms.Form):
    def __init__(self, data: Any = None, *, place: Membership, with_owner: bool) -> None:
        super().__init__(data, initial={"role": place.role})
        self.fields["role"] = role_field(Membership.Role.values if with_owner else NOT_OWNERS)


class PersonField(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.user.name} ({obj.user.email})"


class TransferForm(forms.Form):
    member = PersonField(label=_("The new owner"), queryset=None)

    def __init__(self, data: Any = None, *, others: Any) -> None:
        super().__init__(data)
        member: Any = self.fields["member"]
        member.queryset = others
