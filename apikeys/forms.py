"""What people fill in about a key."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.core import signing
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Budget
from apikeys import services
from apikeys.models import PERMISSIONS, APIKey, scopes_of_role
from common.ids import uuid7
from common.money import MAX_NANO, NANO, amount, to_nano
from common.problems import ValidationFailed

DAYS = (7, 30, 90, 365)
DEFAULT_DAYS = 90
DEFAULT_LIMIT_NANO = 20 * NANO
KEEP, NEVER = "keep", "never"
WINDOW_WORDS = {
    Budget.Window.DAY: gettext_lazy("every day"),
    Budget.Window.WEEK: gettext_lazy("every week"),
    Budget.Window.MONTH: gettext_lazy("every month"),
    Budget.Window.LIFETIME: gettext_lazy("never"),
}
OVERLAPS = (
    (0, gettext_lazy("ends at once")),
    (86_400, gettext_lazy("works for 24 hours more")),
    (3 * 86_400, gettext_lazy("works for 72 hours more")),
)
BASE = ("models:read", "models:invoke")  # what the choice of access stands for; the others are boxes to tick
PERMISSION_WORDS = {
    "models:write": gettext_lazy("Publish and change models"),
    "reviews:write": gettext_lazy("Write reviews"),
    "deployments:read": gettext_lazy("See deployments"),
    "deployments:write": gettext_lazy("Make and change deployments"),
    "keys:read": gettext_lazy("See keys, never their secrets"),
    "keys:write": gettext_lazy("Make, change and revoke keys"),
    "analytics:read": gettext_lazy("See usage and receipts"),
    "billing:read": gettext_lazy("See balance and invoices"),
    "billing:write": gettext_lazy("Pay and change billing"),
    "webhooks:read": gettext_lazy("See webhooks"),
    "webhooks:write": gettext_lazy("Make and change webhooks"),
}


def access_of(key: APIKey) -> str:
    """`all`, `chosen` (models) or `read`: what the form shows for the key's permissions and models."""
    if "models:invoke" not in key.permissions:
        return "read"
    return "chosen" if key.allowed_models else "all"


class AmountField(forms.CharField):
    """Nano-units, typed as a decimal amount; nothing is None."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}), **kwargs)

    def to_python(self, value: Any) -> int | None:  # type: ignore[override]
        text = super().to_python(value)
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


class LinesField(forms.CharField):
    """A list, typed one to a line or with spaces or commas between."""

    def __init__(self, *, placeholder: str, **kwargs: Any) -> None:
        attrs = {"rows": 2, "placeholder": placeholder, "spellcheck": "false", "autocapitalize": "none"}
        super().__init__(widget=forms.Textarea(attrs=attrs), required=False, **kwargs)

    def clean(self, value: Any) -> Any:
        lines = super().clean(value).replace(",", " ").split()
        if len(lines) > services.MAX_ALLOWED:
            text = _("At most %(count)d, one to a line.") % {"count": services.MAX_ALLOWED}
            raise forms.ValidationError(text, code="too_many")
        return lines

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value


class KeyForm(forms.Form):
    """What can be said about a new key and changed of one; a subclass adds the rest. `role`: of the person here."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=services.MAX_NAME_LENGTH,
        help_text=gettext_lazy("What you will know it by, such as the app that uses it."),
    )
    access = forms.ChoiceField(label=gettext_lazy("Access"), widget=forms.RadioSelect, initial="all")
    models = LinesField(
        label=gettext_lazy("Chosen models"),
        placeholder="publisher/model",
        help_text=gettext_lazy("For “Chosen models” alone: one to a line, as they are named in the catalogue."),
    )
    spend_limit = AmountField(
        label=gettext_lazy("Spend limit"),
        required=False,
        help_text=gettext_lazy(
            "Requests stop at this amount. You are never charged more. Empty: the account's limits alone count."
        ),
    )
    window = forms.ChoiceField(
        label=gettext_lazy("Starts again"), choices=list(WINDOW_WORDS.items()), initial=Budget.Window.MONTH
    )
    expires = forms.ChoiceField(
        label=gettext_lazy("Expires"),
        help_text=gettext_lazy("A key that never expires works until somebody remembers to revoke it."),
    )
    rate_limit = forms.IntegerField(
        label=gettext_lazy("Calls a minute"),
        required=False,
        min_value=1,
        max_value=services.MAX_RATE_LIMIT,
        help_text=gettext_lazy("Empty: the standard rate."),
    )
    allowed_ips = LinesField(
        label=gettext_lazy("Only from these addresses"),
        placeholder="203.0.113.8\n2001:db8::/32",
        help_text=gettext_lazy("Addresses or networks, one to a line. Empty: from everywhere."),
    )
    extra = forms.MultipleChoiceField(
        label=gettext_lazy("May also"), widget=forms.CheckboxSelectMultiple, required=False
    )

    def __init__(self, *args: Any, role: str, key: APIKey | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        within = scopes_of_role(role) | set(key.permissions if key else ())
        access: Any = self.fields["access"]
        access.choices = [
            (value, _card(words, hint))
            for value, words, hint in (
                ("all", _("All models"), _("Calls every model, later ones too")),
                ("chosen", _("Chosen models"), _("Calls the models named below")),
                ("read", _("Read only"), _("Looks models up and calls none")),
            )
            if value == "read" or "models:invoke" in within
        ]
        if "models:invoke" not in within:
            self.initial.setdefault("access", "read")
        extra: Any = self.fields["extra"]
        extra.choices = [
            (name, format_html("{} <code class='faint'>{}</code>", PERMISSION_WORDS[name], name))
            for name in PERMISSIONS
            if name in within and name not in BASE
        ]

    @property
    def has_more(self) -> bool:
        """Whether something under "More" is set or wrong, so that it must not be folded away."""
        return any(self[name].errors or self[name].value() for name in ("allowed_ips", "extra"))

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        models = values.get("models")
        if values.get("access") == "chosen" and models == []:
            self.add_error("models", _("Name at least one model, such as acme/aurora."))
        if values.get("access") in ("all", "read") and models and self.initial.get("access") != "chosen":
            self.add_error("models", _("Choose “Chosen models” to limit the key to these, or empty this field."))
        return values

    def spend(self) -> services.SpendLimit | None:
        limit_nano = self.cleaned_data["spend_limit"]
        return None if limit_nano is None else services.SpendLimit(limit_nano, self.cleaned_data["window"])

    def models_wanted(self) -> list[str]:
        return self.cleaned_data["models"] if self.cleaned_data["access"] == "chosen" else []

    def expires_at(self, at: datetime) -> datetime | None:
        days = self.cleaned_data["expires"]
        return None if days == NEVER else at + timedelta(days=int(days))

    def add_problem(self, problem: ValidationFailed) -> None:
        """Set what the service refused beside the fields it is about."""
        names = {"allowed_models": "models", "permissions": "extra", "expires_at": "expires"}
        for fault in problem.errors or []:
            name, _slash, position = str(fault["pointer"]).removeprefix("/").partition("/")
            field = names.get(name, name)
            text = str(fault["detail"])
            typed = self.cleaned_data.get(field)
            if field in ("models", "allowed_ips") and position.isdecimal() and typed:
                text = f"{typed[int(position)]}: {text}"
            self.add_error(field if field in self.fields else None, text)


class NewKeyForm(KeyForm):
    """`once` holds the signed id that the key will have, so that the same form cannot make two."""

    mode = forms.ChoiceField(label=gettext_lazy("Mode"), initial=APIKey.Mode.LIVE, widget=forms.RadioSelect)
    once = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, user_id: UUID, **kwargs: Any) -> None:
        self.user_id = user_id
        initial = {"spend_limit": DEFAULT_LIMIT_NANO, "expires": str(DEFAULT_DAYS), "once": self._sign()}
        super().__init__(*args, initial=initial, **kwargs)
        mode: Any = self.fields["mode"]
        mode.choices = [
            (APIKey.Mode.LIVE, _card(APIKey.Mode.LIVE.label, _("Calls are metered and charged"))),
            (APIKey.Mode.TEST, _card(APIKey.Mode.TEST.label, _("Never charged; models may refuse it"))),
        ]
        expires: Any = self.fields["expires"]
        expires.choices = _expiry_choices()

    def clean_once(self) -> UUID:
        try:
            user_id, key_id = signing.loads(self.cleaned_data["once"], salt="apikeys.new")
        except signing.BadSignature:
            user_id = key_id = ""
        if user_id != str(self.user_id):
            fresh: Any = self.data
            self.data = fresh = fresh.copy()
            fresh["once"] = self._sign()
            raise forms.ValidationError(_("This form was out of date. Look it over and send it again."), code="stale")
        return UUID(key_id)

    def values(self, at: datetime) -> dict[str, Any]:
        """The arguments of `issue_key`."""
        given = self.cleaned_data
        return {
            "id": given["once"],
            "name": given["name"],
            "mode": given["mode"],
            "permissions": [*(BASE[:1] if given["access"] == "read" else BASE), *given["extra"]],
            "allowed_models": self.models_wanted(),
            "allowed_ips": given["allowed_ips"],
            "rate_limit": given["rate_limit"],
            "expires_at": self.expires_at(at),
            "spend_limit": self.spend(),
        }

    def _sign(self) -> str:
        return signing.dumps([str(self.user_id), str(uuid7())], salt="apikeys.new")


class EditKeyForm(KeyForm):
    """Sends on only what was changed: a key that once was allowed more than its maker is now can still be renamed."""

    def __init__(
        self, *args: Any, key: APIKey, limit: Budget | None, model_names: dict[UUID, str], **kwargs: Any
    ) -> None:
        self.key, self.limit = key, limit
        initial = {
            "name": key.name,
            "access": access_of(key),
            "models": [model_names.get(id, str(id)) for id in key.allowed_models],
            "spend_limit": None if limit is None else limit.limit,
            "window": Budget.Window.MONTH if limit is None else limit.window,
            "expires": KEEP,
            "rate_limit": key.rate_limit,
            "allowed_ips": key.allowed_ips,
            "extra": [name for name in key.permissions if name not in BASE],
        }
        super().__init__(*args, key=key, initial=initial, **kwargs)
        until = _("never, as now")
        if key.expires_at is not None:
            day = formats.date_format(timezone.localtime(key.expires_at), "j M Y, H:i")
            until = _("%(day)s, as now") % {"day": day}
        expires: Any = self.fields["expires"]
        expires.choices = [(KEEP, until), *_expiry_choices()[: None if key.expires_at else -1]]

    def changes(self, at: datetime) -> dict[str, Any]:
        """The changes for `change_key`."""
        given, changed = self.cleaned_data, set(self.changed_data)
        found: dict[str, Any] = {name: given[name] for name in ("name", "rate_limit", "allowed_ips") if name in changed}
        if changed & {"access", "extra"}:
            base = list(BASE[:1] if given["access"] == "read" else BASE)
            if "access" not in changed:
                base = [name for name in self.key.permissions if name in BASE]
            found["permissions"] = [*base, *given["extra"]]
        if changed & {"access", "models"}:
            found["allowed_models"] = self.models_wanted()
        if given["expires"] != KEEP:
            found["expires_at"] = self.expires_at(at)
        if changed & {"spend_limit", "window"} and not (self.limit is None and given["spend_limit"] is None):
            found["spend_limit"] = self.spend()
        return found


class RotateForm(forms.Form):
    """`shown` is the key as the person saw it: sent again after the rotation, it no longer fits."""

    overlap_seconds = forms.TypedChoiceField(
        label=gettext_lazy("The old secret"),
        choices=OVERLAPS,
        coerce=int,
        initial=services.DEFAULT_OVERLAP_SECONDS,
        widget=forms.RadioSelect,
        help_text=gettext_lazy("Time to bring the new one to every program that uses this key."),
    )
    shown = forms.CharField(widget=forms.HiddenInput, max_length=40, required=False)


def _expiry_choices() -> list[tuple[str, str]]:
    return [*((str(days), _("in %(days)d days") % {"days": days}) for days in DAYS), (NEVER, _("never"))]


def _card(words: Any, hint: str) -> SafeString:
    return format_html("<b>{}</b><span class='small muted'>{}</span>", words, hint)
