"""Logging in through a provider that the operator named (OpenID Connect), without anybody taking an account over.

Who has connected the two is let in. A verified address that nobody has here becomes a new account. An address that has
an account already is connected by its owner alone, from within; what a provider has not verified opens nothing.
"""

from __future__ import annotations

from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount import signals
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.providers.base import AuthProcess
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.dispatch import receiver
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import services


class IdentityAdapter(DefaultSocialAccountAdapter):
    error_messages = DefaultSocialAccountAdapter.error_messages | {
        "invalid_token": gettext_lazy("The provider answered with something that is not valid."),
        "no_password": gettext_lazy("Set a password or add a passkey first, or nothing would open your account."),
        "no_verified_email": gettext_lazy("Confirm your e-mail address first, or nothing would open your account."),
        "disconnect_last": gettext_lazy("Set a password first, or nothing would open your account."),
    }

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        is_connecting = sociallogin.state.get("process") == AuthProcess.CONNECT
        if sociallogin.is_existing or is_connecting:
            return
        provider = sociallogin.provider.name
        address = next((one for one in sociallogin.email_addresses if one.verified is True), None)
        if address is None:
            refuse(request, _("%(provider)s does not say that your e-mail address is yours.") % {"provider": provider})
        name = str(sociallogin.account.extra_data.get("userinfo", {}).get("name") or "")
        try:
            user = services.open_account_by_identity(email=address.email, name=name)
        except ValidationError:
            refuse(request, _("%(provider)s knows you by an address that is none.") % {"provider": provider})
        if user is None:
            words = _("There is an account with this address. Log in to it, then connect %(provider)s here.")
            refuse(request, words % {"provider": provider}, after=reverse("socialaccount_connections"))
        sociallogin.connect(request, user)

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        """`pre_social_login` has opened the account, or refused."""
        return False


def refuse(request: HttpRequest, words: str, *, after: str = "") -> Any:
    messages.error(request, words)
    address = reverse("account_login") + (f"?{urlencode({'next': after})}" if after else "")
    raise ImmediateHttpResponse(redirect(address))


def _name_of(account: Any) -> str:
    return str(account.get_provider().name)


@receiver(signals.social_account_added, dispatch_uid="identities.added")
def note_identity(sociallogin: Any, **_facts: Any) -> None:
    provider = _name_of(sociallogin.account)
    services.record_about("identity_added", sociallogin.user, by_user=True, after={"provider": provider})
    services.mail_notice(user=sociallogin.user, kind="identity_added", provider=provider)


@receiver(signals.social_account_removed, dispatch_uid="identities.removed")
def note_lost_identity(socialaccount: Any, **_facts: Any) -> None:
    provider = _name_of(socialaccount)
    services.record_about("identity_removed", socialaccount.user, before={"provider": provider})
    services.mail_notice(user=socialaccount.user, kind="identity_removed", provider=provider)
