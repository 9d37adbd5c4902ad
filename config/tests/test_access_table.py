"""docs/access.md says what the code does."""

from django.urls import get_resolver

from common.policy import url_names
from config.management.commands.access_table import FILE, addresses, document


def test_the_written_table_is_the_one_in_force():
    assert FILE.read_text(encoding="utf-8") == document(), "run `manage.py access_table --write`"


def test_every_address_of_the_site_is_in_it():
    listed = {name for name, _path in addresses(get_resolver())}
    assert {name for name in url_names(get_resolver()) if not name.startswith("admin:")} <= listed
    assert {name for name in listed if name.startswith("admin:")} == {"admin:login", "admin:logout", "admin:*"}
    written = document()
    for _name, path in addresses(get_resolver()):
        assert f"| `{path}` |" in written


def test_a_line_names_who_with_which_key_and_in_which_role():
    lines = document().splitlines()
    assert "| `/api/models` | read | everyone | any | any | search: half of `API_RATE_PER_MINUTE` by caller |" in lines
    assert (
        "| `/api/models` | write | signed in: developer, staff | `models:write` | admin, developer, owner "
        "| search: half of `API_RATE_PER_MINUTE` by caller |"
    ) in lines
    assert "| `/admin/…` | any | staff | – | – |  |" in lines
    assert "| `/api/keys/{id}` | read | signed in | `keys:read` | any |  |" in lines
