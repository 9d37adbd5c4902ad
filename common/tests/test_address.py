import pytest
from django.test import RequestFactory

from common.address import client_address, pick_address


@pytest.mark.parametrize(
    ("remote", "forwarded_for", "proxies", "expected"),
    [
        ("192.0.2.1", "", 0, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", 0, "192.0.2.1"),  # nobody is trusted: the header is hearsay
        ("192.0.2.1", "198.51.100.7", 1, "198.51.100.7"),
        ("192.0.2.1", "203.0.113.9, 198.51.100.7", 1, "198.51.100.7"),  # what the client itself wrote does not count
        ("192.0.2.1", "203.0.113.9, 198.51.100.7, 192.0.2.8", 2, "198.51.100.7"),
        ("192.0.2.1", "198.51.100.7", 2, "192.0.2.1"),  # past the proxies: straight to the server
        ("192.0.2.1", "unknown", 1, "192.0.2.1"),
        ("192.0.2.1", "[2001:db8::1]", 1, "2001:db8::1"),
        ("::ffff:192.0.2.1", "", 0, "192.0.2.1"),
        ("2001:DB8:0::1", "", 0, "2001:db8::1"),
        ("", "", 0, ""),
        ("", "198.51.100.7", 1, "198.51.100.7"),  # a proxy in front of a Unix socket
    ],
)
def test_only_what_our_own_proxies_wrote_is_believed(remote, forwarded_for, proxies, expected):
    assert pick_address(remote, forwarded_for, proxies) == expected


def test_a_request_carries_both(settings):
    settings.TRUSTED_PROXIES = 1
    request = RequestFactory().get("/", headers={"x-forwarded-for": "198.51.100.7"}, REMOTE_ADDR="192.0.2.1")

    assert client_address(request) == "198.51.100.7"
