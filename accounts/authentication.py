"""How people are known: an access token in the API, and allauth's pages with our codes, mails and secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication

from accounts import services
from common.address import client_address
from common.problems import MalformedCredentials
from observability.services import current_client

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.request import Request

    from accounts.models import User

API_KEY_BEGINS_WITH = "agr_"
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


class JWTAuthentication(BaseAuthentication):
    """`Authorization: Bearer eyJ…`. A bearer that is an API key is another class's business."""

    def authenticate(self, request: Request) -> tuple[User, services.AccessToken] | None:
        scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or token.startswith(API_KEY_BEGINS_WITH):
            return None
        if not _JWT.fullmatch(token):
            raise MalformedCredentials()
        return services.find_bearer(token)

    def authenticate_header(self, request: Request) -> str:
        return f'Bearer realm="{settings.SITE_NAME}"'


class AccountAdapter(DefaultAccountAdapter):
    """Codes are rows of ours, shared with the API, and mail goes through the outbox.

    What allauth keeps in the session as the code stays empty; the forms ask the services.
    """

    #: allauth's notice -> ours. An empty name: the service that made the change has mailed already.
    NOTICES = {
        "account/email/email_changed": "email_changed",
        "account/email/email_deleted": "email_deleted",
        "account/email/password_changed": "",
        "account/email/password_reset": "",
        "account/email/password_set": "",
        "socialaccount/email/account_connected": "",
        "socialaccount/email/account_disconnected": "",
        "mfa/email/recovery_codes_generated": "recovery_codes_generated",
        "mfa/email/totp_activated": "totp_activated",
        "mfa/email/totp_deactivated": "totp_deactivated",
        "mfa/email/webauthn_added": "passkey_added",
        "mfa/email/webauthn_removed": "passkey_removed",
    }

    error_messages = DefaultAccountAdapter.error_messages | {
        "account_inactive": _("This account is closed."),
        "cannot_remove_primary_email": _("The primary address cannot be removed. Make another one primary first."),
        "duplicate_email": _("This address is yours already."),
        "email_password_mismatch": _("E-mail address and password do not belong together."),
        "enter_current_password": _("This is not your current password."),
        "incorrect_code": _("This code is wrong or too old."),
        "incorrect_password": _("This password is wrong."),
        "invalid_password_reset": _("This link no longer works."),
        "max_email_addresses": _("An account has at most %d addresses."),
        "too_many_login_attempts": _("Too many failed attempts. Wait a few minutes, then try again."),
        "unverified_primary_email": _("Only a verified address can be the primary one."),
        "same_as_current": _("This is the address that you have now."),
        "rate_limited": _("That was too often in too short a time. Wait a minute, then try again."),
    }

    def clean_email(self, email: str) -> str:
        return services.clean_email(email)

    def generate_email_verification_code(self) -> str:
        return ""

    def send_confirmation_mail(self, request: HttpRequest, emailconfirmation: Any, signup: bool) -> None:
        if not getattr(request, "code_is_mailed", False):  # set by the sign-up form, whose service mails
            services.mail_verification_code(user=emailconfirmation.user, email=emailconfirmation.email)

    def send_account_already_exists_mail(self, email: str) -> None:
        """`register_user` has done so."""

    def send_notification_mail(
        self, template_prefix: str, user: Any, context: dict[str, Any] | None = None, email: str | None = None
    ) -> None:
        kind = self.NOTICES[template_prefix]
        if kind:
            facts = {name: value for name, value in (context or {}).items() if isinstance(value, str)}
            services.mail_notice(user=user, kind=kind, email=email or "", **facts)

    def generate_login_code(self) -> str:
        return ""

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Codes for logging in, whose form has asked the service, which mails. Each other flow has its own way."""
        if template_prefix not in ("account/email/login_code", "account/email/unknown_account"):
            raise LookupError(f"The mail {template_prefix} has no words of ours.")

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request) or "unknown"

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        """Wrong passwords count at the account, as in the API; allauth's own counter is switched off."""
        guess = services.begin_guess(email=credentials.get("email", ""))
        user = super().authenticate(request, **credentials)
        if user is None or not guess.counts:
            return None
        guess.was_right()
        return user

    def set_password(self, user: Any, password: str) -> None:
        services.change_password(user=user, password=password)


class MFAAdapter(DefaultMFAAdapter):
    """The secrets of second factors are sealed; the database alone does not give them away."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "add_email_blocked": _("With two-factor authentication on, no address can be added. Turn it off first."),
        "cannot_delete_authenticator": _("Two-factor authentication cannot be turned off."),
        "cannot_generate_recovery_codes": _("There are recovery codes only while two-factor authentication is on."),
        "incorrect_code": _("This code is wrong, too old or was used already."),
        "unverified_email": _("Confirm your e-mail address first, then turn on two-factor authentication."),
    }

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """Passkeys belong to the site's own host, whatever a request calls it."""
        return {"id": settings.SITE_HOST, "name": settings.SITE_NAME}

    def get_public_key_credential_user_entity(self, user: Any) -> dict[str, Any]:
        return super().get_public_key_credential_user_entity(user) | {"display_name": user.name, "name": user.email}

    def generate_authenticator_name(self, user: Any, type: Any) -> str:
        """The device it is made on, which is what people look for in the list."""
        return services.name_device(current_client()[1])

    def encrypt(self, text: str) -> str:
        return services.hold_secret(text)

    def decrypt(self, encrypted_text: str) -> str:
        return services.open_secret(encrypted_text)


class ResetTokens:
    """allauth's token generator for the links in mails: the tokens are rows of ours."""

    def check_token(self, user: User, token: str) -> bool:
        return services.is_reset_token_of(user=user, token=token)


class IdentityAdapter(DefaultSocialAccountAdapter):
    """Logging in through a provider that the operator named, without anybody taking an account over.

    Who has connected the two is let in. A verified address that nobody has here becomes a new account. An address that
    has an account already is connected by its owner alone, from within; what is not verified opens nothing.
    """

    error_messages = DefaultSocialAccountAdapter.error_messages | {
        "invalid_token": _("The provider answered with something that is not valid."),
        "no_password": _("Set a password or add a passkey first, or nothing would open your account."),
        "no_verified_email": _("Confirm your e-mail address first, or nothing would open your account."),
        "disconnect_last": _("Set a password first, or nothing would open your account."),
    }

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        is_connecting = sociallogin.state.get("process") == AuthProcess.CONNECT
        if sociallogin.is_existing or is_connecting:
            return
        provider = sociallogin.provider.name
        address = next((one for one in sociallogin.email_addresses if one.verified is True), None)
        if address is None:
            refuse(
                request,
                gettext("%(provider)s does not say that your e-mail address is yours.") % {"provider": provider},
            )
        name = str(sociallogin.account.extra_data.get("userinfo", {}).get("name") or "")
        try:
            user = services.open_account_by_identity(email=address.email, name=name)
        except ValidationError:
            refuse(request, gettext("%(provider)s knows you by an address that is none.") % {"provider": provider})
        if user is None:
            words = gettext("There is an account with this address. Log in to it, then connect %(provider)s here.")
            refuse(request, words % {"provider": provider}, after=reverse("socialaccount_connections"))
        sociallogin.connect(request, user)

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        """`pre_social_login` has opened the account, or refused."""
        return False


def refuse(request: HttpRequest, words: str, *, after: str = "") -> NoReturn:
    messages.error(request, words)
    address = reverse("account_login") + (f"?{urlencode({'next': after})}" if after else "")
    raise ImmediateHttpResponse(redirect(address))
