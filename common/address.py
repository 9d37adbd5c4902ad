"""The address of the client behind a fixed number of proxies that we trust. No other module looks for it."""

from functools import lru_cache
from ipaddress import ip_address, ip_network
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
    """The same for a Django or DRF request."""
    meta = request.META
    return pick_address(meta.get("REMOTE_ADDR") or "", meta.get("HTTP_X_FORWARDED_FOR") or "", settings.TRUSTED_PROXIES)


def connection_address(remote: str, forwarded_for: bytes) -> str:
    """The same for a connection from `remote` and the header as it came; b"" for none."""
    if forwarded_for and settings.TRUSTED_PROXIES:
        return pick_address(remote, forwarded_for.decode("latin-1"), settings.TRUSTED_PROXIES)
    return _normalize(remote)


def network_of(address: str) -> str:
    """An IPv4 address as it is; of IPv6 the /64, since whoever has one address has 2⁶⁴; "unknown" for anything else."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    return str(parsed) if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))


def client_network(request: Any) -> str:
    """Whose bucket a request of nobody in particular draws from."""
    return network_of(client_address(request))


@lru_cache(4096)
def _normalize(text: str) -> str:
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
