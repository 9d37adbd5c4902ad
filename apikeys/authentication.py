"""A key in the request's headers becomes `request.auth`, and the person who made it `request.user`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.authentication import BaseAuthentication

from apikeys import services
from common import clock
from common.address import client_address

if TYPE_CHECKING:
    from rest_framework.request import Request

    from accounts.models import User
    from apikeys.models import APIKey

KEY_BEGINS_WITH = "agr_"


class APIKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer agr_…`, or `X-API-Key`. Another bearer token is another authentication's business."""

    def authenticate(self, request: Request) -> tuple[User, APIKey] | None:
        secret = secret_of(request)
        if secret is None:
            return None
        at = clock.now()
        address, user_agent = client_address(request), request.headers.get("User-Agent", "")
        key = services.verify_key(secret, address=address, at=at)
        if services.is_use_due(key, at, address=address, user_agent=user_agent):
            services.touch_keys([services.Use(key.id, address, user_agent)])
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return f'Bearer realm="{settings.SITE_NAME}"'


def secret_of(request: Request) -> str | None:
    """The key that the request carries; None when it carries none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip().startswith(KEY_BEGINS_WITH):
        return token.strip()
    return request.headers.get("X-API-Key")
