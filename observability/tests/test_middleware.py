import logging

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import path

from common import ids
from common.policy import Policy


def page(request, **kwargs):
    logging.getLogger("shop").warning("inside")
    return HttpResponse("ok")


urlpatterns = [path("page", page, name="page"), path("reset/<str:token>", page, name="reset")]
ACCESS = {"*": Policy.public()}


@pytest.fixture(autouse=True)
def site(settings):
    settings.ROOT_URLCONF = __name__
    settings.ACCESS_TABLE = f"{__name__}.ACCESS"


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)

    def found():
        return [record.msg for record in caplog.records if record.name == "access"]

    return found


def test_every_answer_carries_an_id_of_its_own():
    first, second = (Client().get("/page")["x-request-id"] for _ in range(2))

    assert ids.decode("req", first) != ids.decode("req", second)


def test_one_line_tells_what_was_asked_and_how_it_ended(lines):
    response = Client().get("/page?q=private")

    (line,) = lines()
    assert line["request_id"] == response["x-request-id"]
    assert (line["method"], line["route"], line["status"]) == ("GET", "page", 200)
    assert 0 <= line["ms"] < 10_000


def test_neither_query_nor_path_is_written_down(lines):
    Client().get("/reset/hunter2?next=hunter2")

    (line,) = lines()
    assert line["route"] == "reset"
    assert "hunter2" not in str(line)


@pytest.mark.parametrize(("sent", "kept"), [("job-17", True), ("a" * 101, False), ("two words", False), ("é", False)])
def test_the_clients_own_id_is_kept_where_it_is_harmless(lines, sent, kept):
    Client().get("/page", HTTP_X_CLIENT_REQUEST_ID=sent)

    (line,) = lines()
    assert line.get("client_request_id") == (sent if kept else None)


def test_a_client_cannot_choose_the_id_of_the_request():
    assert Client().get("/page", headers={"x-request-id": "mine"})["x-request-id"] != "mine"


def test_the_session_is_not_touched_for_the_log(lines):
    response = Client().get("/page")

    assert "Cookie" not in response.get("Vary", "")
