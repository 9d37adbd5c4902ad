import pytest
from django.test import RequestFactory

from common.address import client_address, client_network, connection_address, network_of, pick_address


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
    assert client_network(request) == "198.51.100.7"


def test_a_connection_of_the_gateway_is_read_alike(settings):
    settings.TRUSTED_PROXIES = 1
    hops = b"203.0.113.9, 2001:db8::5"

    assert connection_address("192.0.2.1", hops) == "2001:db8::5"
    assert connection_address("192.0.2.1", b"") == "192.0.2.1"
    assert connection_address("::ffff:192.0.2.1", b"\xff") == "192.0.2.1"
    assert connection_address("", b"") == ""

    settings.TRUSTED_PROXIES = 0
    assert connection_address("192.0.2.1", hops) == "192.0.2.1"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        ("nonsense", "unknown"),
    ],
)
def test_who_owns_an_ipv6_network_has_one_bucket(address, network):
    assert network_of(address) == network
