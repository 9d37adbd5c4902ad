"""How the site looks and behaves for one visitor: cookies of this browser, and the time zone of the organization."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from accounts import services as accounts
from accounts.forms import time_zones
from accounts.models import Organization, role_may
from common.policy import actor_of
from config.context import CODE_LANGUAGES, THEMES

YEAR_SECONDS = 365 * 24 * 3600
CODE_WORDS = {"curl": gettext_lazy("Shell, with curl"), "python": "Python", "node": "Node"}


class PreferencesForm(forms.Form):
    """What is not there to be chosen is left out: a single language, the time zone of other people's organization."""

    theme = forms.ChoiceField(
        label=gettext_lazy("Theme"),
        widget=forms.RadioSelect,
        choices=[
            ("auto", gettext_lazy("As the system")),
            ("light", gettext_lazy("Light")),
            ("dark", gettext_lazy("Dark")),
        ],
    )
    language = forms.ChoiceField(label=gettext_lazy("Language"))
    time_zone = forms.ChoiceField(
        label=gettext_lazy("Time zone"),
        help_text=gettext_lazy("Of every time on these pages, of reports and months, and of new spend limits."),
    )
    code = forms.ChoiceField(
        label=gettext_lazy("Language of examples"),
        choices=[(name, CODE_WORDS[name]) for name in CODE_LANGUAGES],
        help_text=gettext_lazy("The one that is open first wherever code can be copied."),
    )
    shortcuts = forms.BooleanField(
        label=gettext_lazy("Shortcuts of a single key"),
        required=False,
        help_text=gettext_lazy("The key / goes to the search field, ? shows them all. Switch them off if you dictate."),
    )

    def __init__(self, data: Any, *, cookies: dict[str, str], organization: Organization, may_set_zone: bool) -> None:
        theme, code = cookies.get("theme"), cookies.get("code")
        initial = {
            "theme": theme if theme in THEMES else "auto",
            "language": translation.get_language(),
            "time_zone": organization.time_zone,
            "code": code if code in CODE_LANGUAGES else CODE_LANGUAGES[0],
            "shortcuts": cookies.get("shortcuts") != "off",
        }
        super().__init__(data, initial=initial)
        time_zone: Any = self.fields["time_zone"]
        time_zone.choices = time_zones(organization.time_zone)
        language: Any = self.fields["language"]
        language.choices = settings.LANGUAGES
        if not may_set_zone:
            del self.fields["time_zone"]
        if len(settings.LANGUAGES) < 2:
            del self.fields["language"]

    def keep(self, response: HttpResponse) -> None:
        """Set the cookies; what is the default needs none."""
        given = self.cleaned_data
        remember(response, "theme", "" if given["theme"] == "auto" else given["theme"])
        remember(response, "code", given["code"])
        remember(response, "shortcuts", "" if given["shortcuts"] else "off")
        if "language" in given:
            remember(response, settings.LANGUAGE_COOKIE_NAME, given["language"])


@require_http_methods(["GET", "HEAD", "POST"])
def preferences(request: HttpRequest) -> HttpResponse:
    """Look, language, time and keys; says in a toast what was saved."""
    actor = actor_of(request)
    form = PreferencesForm(
        request.POST if request.method == "POST" else None,
        cookies=request.COOKIES,
        organization=actor.organization,
        may_set_zone=role_may(actor.role, "organization.change"),
    )
    if not form.is_bound or not form.is_valid():
        context = {"form": form, "organization": actor.organization}
        return render(request, "config/preferences.html", context, status=422 if form.is_bound else 200)
    if "time_zone" in form.changed_data:
        zone = form.cleaned_data["time_zone"]
        accounts.update_organization(organization=actor.organization, time_zone=zone)
    changed = [str(form.fields[name].label) for name in form.changed_data]
    if changed:
        messages.success(request, _("Saved: %(names)s.") % {"names": get_text_list(changed, _("and"))})
    else:
        messages.success(request, _("Nothing was changed."))
    response = redirect("preferences")
    form.keep(response)
    return response


def remember(response: HttpResponse, name: str, value: str) -> None:
    """Keep a choice in a cookie for a year; an empty one is forgotten."""
    if value:
        # Not HttpOnly: app.js changes theme and code language without a new page.
        response.set_cookie(name, value, max_age=YEAR_SECONDS, samesite="Lax", secure=settings.IS_HTTPS)
    else:
        response.delete_cookie(name, samesite="Lax")
