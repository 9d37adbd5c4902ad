"""What T21 and T22 go by: every right is tried, forms and descriptions are read as they are meant."""

import pytest

from accounts.models import ROLE_TABLE
from trust.bodies import API, LOOKS, PAGES
from trust.fields import Form
from trust.places import places
from trust.shapes import Shapes

SEEN_ONLY = {
    "organization.see",
    "usage.see",
    "audit.see",
}  # by GET, which asks for them in the access policy or nowhere
NOT_YET = {"billing.see", "billing.change"}  # there are no addresses for them


def test_every_right_of_the_table_of_roles_is_tried():
    tried = {deed.right for deeds in (*API.values(), *PAGES.values()) for deed in deeds} | set(LOOKS.values())
    assert tried - {""} == set(ROLE_TABLE) - SEEN_ONLY - NOT_YET


def test_every_address_of_the_api_that_takes_something_has_a_body_that_is_right():
    for name, place in places():
        assert place is not None, name
        if place.is_api:
            for method in set(place.methods) - {"GET"}:
                assert (name, method) in API
    assert {name for name, _method in API} <= {name for name, _place in places()}


def test_an_address_is_found_once_and_with_its_policy():
    found = [(place.name, place.pattern) for _name, place in places() if place is not None]
    assert len(found) == len(set(found)) > 150
    assert ("api:key", "/api/keys/<key:id>") in found


def test_a_form_is_read_as_a_browser_sends_it():
    form = Form(
        '<form id="other"><input name="q" value="x"></form><form id="it"><input name="a" value="1">'
        '<input type="checkbox" name="b" value="on"><input type="checkbox" name="c" checked>'
        '<select name="d"><option value="1">One</option><option value="2" selected>Two</option></select>'
        '<textarea name="e">&lt;text&gt;</textarea><button name="act" value="go">Go</button></form>',
        of="it",
    )
    assert form.values == {"a": "1", "c": ["on"], "d": ["2"], "e": "<text>"}
    assert form.names == {"a", "b", "c", "d", "e", "act"}


@pytest.mark.parametrize(
    ("more", "beyond"), [({}, []), ({"hash": "x"}, ["/data/0/hash"]), ({"user_id": {"a": 1}}, ["/data/0/user_id/a"])]
)
def test_what_is_not_described_is_named(more, beyond):
    members = next(place for name, place in places() if name == "api:members")
    member = {"id": "mbr_1", "user_id": "usr_1", "name": "Ada", "email": "a@b", "role": "owner", "created_at": "now"}
    body = {"data": [{**member, **more}], "has_more": False, "next_cursor": None}
    assert Shapes().undeclared(members, "GET", 200, body) == beyond
