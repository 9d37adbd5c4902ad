"""Taking one's data along, and leaving."""

from __future__ import annotations

from typing import Any

from allauth.account.decorators import reauthentication_required
from django import forms
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import services
from accounts.errors import AccountInUse
from common.policy import actor_of


class FarewellForm(forms.Form):
    email = forms.EmailField(
        label=gettext_lazy("Your e-mail address, to confirm"),
        widget=forms.EmailInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, data: Any, *, email: str) -> None:
        super().__init__(data)
        self.wanted = email

    def clean_email(self) -> str:
        typed: str = self.cleaned_data["email"].strip().lower()
        if typed != self.wanted:
            raise forms.ValidationError(_("This is not the address of the account."))
        return typed


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@reauthentication_required
def export(request: HttpRequest) -> HttpResponseBase:
    """What is kept about the person, as a file that is made while it is sent."""
    user = actor_of(request).user
    if request.method != "POST":
        return render(request, "accounts/export.html")
    services.record_about("exported", user)
    answer = StreamingHttpResponse(services.export_account(user=user), content_type="application/json")
    answer["Content-Disposition"] = f'attachment; filename="{user.public_id}.json"'
    return answer


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@reauthentication_required
def delete(request: HttpRequest) -> HttpResponse:
    """Close the account. Asks for the password or passkey anew, and for the address."""
    user = actor_of(request).user
    form = FarewellForm(request.POST if request.method == "POST" else None, email=user.email)
    obstacles = services.obstacles_to_leaving(user)
    if form.is_bound and form.is_valid() and not obstacles:
        try:
            services.close_account(user=user)
        except AccountInUse:  # since it was looked at
            return redirect("account-delete")
        logout(request)
        messages.success(request, _("Your account is closed. The way back is in your mail."))
        return redirect("home")
    context = {"form": form, "obstacles": obstacles, "email": user.email, "days": services.WAY_BACK.days}
    return render(request, "accounts/delete.html", context, status=422 if form.is_bound else 200)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def reopen(request: HttpRequest, token: str) -> HttpResponse:
    """The way back. Opening the link changes nothing."""
    if request.method == "POST" and services.reopen_account(token) is not None:
        messages.success(request, _("Your account is open again. Log in to it."))
        return redirect("account_login")
    found = services.find_closed(token)
    return render(request, "accounts/reopen.html", {"closed": found}, status=200 if found else 410)
