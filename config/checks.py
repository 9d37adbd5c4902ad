"""Start-up checks of what only the whole site can know."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register

from config.access import check_access
from marketplace.services import check_server

register(check_access, Tags.urls)
register(check_server, "search")


@register(Tags.security, deploy=True)
def check_proxy(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """An https site stands behind a proxy, since nothing here speaks TLS; it must be counted."""
    if settings.IS_HTTPS and not settings.TRUSTED_PROXIES:
        hint = "Set TRUSTED_PROXIES to the number of proxies that append to X-Forwarded-For, usually 1."
        return [Warning("SITE_URL is https, but no proxy is trusted.", hint=hint, id="agorai.W001")]
    return []
