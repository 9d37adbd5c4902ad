"""The address of the client behind a fixed number of proxies that we trust."""

from ipaddress import ip_address
from typing import Any

from django.conf import settings


def pick_address(remote: str, forwarded_for: str, trusted_proxies: int) -> str:
    """The client's address, normalized; "" where there is none, as on a bare Unix socket.

    remote: who opened the connection.  forwarded_for: `X-Forwarded-For`, to which each proxy appended its own client.
    With n trusted proxies the n-th entry from the right was written by one of ours; the rest is hearsay.
    """
    if trusted_proxies > 0:
        hops = [hop.strip() for hop in forwarded_for.split(",")]
        if len(hops) >= trusted_proxies and (found := _normalize(hops[-trusted_proxies])):
            return found
    return _normalize(remote)


def client_address(request: Any) -> str:
    """The same for a Django or DRF request; also what django-ratelimit's `RATELIMIT_IP_META_KEY` names."""
    meta = request.META
    return pick_address(meta.get("REMOTE_ADDR") or "", meta.get("HTTP_X_FORWARDED_FOR") or "", settings.TRUSTED_PROXIES)


def _normalize(text: str) -> str:
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
