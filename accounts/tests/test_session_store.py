"""Who reads the database learns nothing of a browser's session, and cannot use what stands there."""

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session

from accounts.models import BrowserSession
from accounts.services.session_store import SessionStore, row_key
from accounts.tests.factories import PASSWORD, make_client, make_user

pytestmark = pytest.mark.django_db


def enter(user):
    client = make_client()
    assert client.post("/accounts/login/", {"login": user.email, "password": PASSWORD}).status_code == 302
    return client, client.cookies[settings.SESSION_COOKIE_NAME].value


def is_in(client):
    return client.get("/settings/profile").status_code == 200


def test_a_row_is_no_key():
    client, key = enter(make_user())
    assert is_in(client)
    (stored,) = Session.objects.values_list("session_key", flat=True)
    assert BrowserSession.objects.get().session_key == stored == row_key(key) != key
    thief = make_client()
    thief.cookies[settings.SESSION_COOKIE_NAME] = stored
    assert not is_in(thief)
    assert is_in(client)


def test_data_is_read_with_the_key_alone():
    store = SessionStore()
    store["_password_reset_key"] = "a-token"
    store.save()
    row = Session.objects.get()
    assert SessionStore(store.session_key)["_password_reset_key"] == "a-token"
    assert db.SessionStore(row.session_key).load() == row.get_decoded() == {}
    assert SessionStore(row.session_key).load() == {}


def test_data_of_another_row_is_nothing():
    one, other = SessionStore(), SessionStore()
    for number, store in enumerate((one, other)):
        store["number"] = number
        store.save()
    data = Session.objects.get(session_key=row_key(one.session_key)).session_data
    for wrong in (data, "", "no base64", "AAAA"):
        Session.objects.filter(session_key=row_key(other.session_key)).update(session_data=wrong)
        assert SessionStore(other.session_key).load() == {}


def test_a_session_is_saved_changed_and_deleted():
    store = SessionStore()
    store["a"] = 1
    store.save()
    again = SessionStore(store.session_key)
    again["a"] = 2
    again.save()
    assert SessionStore(store.session_key)["a"] == 2
    assert store.exists(store.session_key)
    again.cycle_key()
    assert not store.exists(store.session_key)
    assert SessionStore(again.session_key)["a"] == 2
    SessionStore(again.session_key).delete()
    assert not Session.objects.exists()
    gone = SessionStore(again.session_key)
    assert gone.load() == {}
    assert gone.session_key is None


def test_the_same_from_a_coroutine():
    async def scenario() -> None:
        store = SessionStore()
        await store.aset("a", 1)
        await store.asave()
        assert await Session.objects.filter(session_key=row_key(store.session_key)).aexists()
        assert await SessionStore(store.session_key).aget("a") == 1
        assert await store.aexists(store.session_key)
        await SessionStore(store.session_key).adelete()
        assert not await store.aexists(store.session_key)

    async_to_sync(scenario)()  # on this thread's connection: any other would be to a database that may be gone


@pytest.mark.parametrize("key", ["", "short", "\0" * 32, "ünïcode" * 6, "x" * 5000, "\xff" * 40])
def test_a_cookie_of_any_kind_is_no_session(key):
    client = make_client()
    client.cookies[settings.SESSION_COOKIE_NAME] = key
    assert not is_in(client)
