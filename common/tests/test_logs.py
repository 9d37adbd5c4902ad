import io
import json
import logging
import logging.config

import pytest
import structlog
import time_machine
from django.db.models import TextChoices

from common import logs

KEY = "agr_live_" + "a1B2" * 9 + "Zz"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJlc2lnbmF0dXJl"


class Answers(TextChoices):
    YES = "yes"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"key {KEY} was used", "key agr_live_[hidden] was used"),
        (KEY.replace("live", "test"), "agr_test_[hidden]"),
        ("refresh agr_rt_" + "a-B_" * 10 + "abc ended", "refresh agr_rt_[hidden] ended"),
        (f"token={TOKEN};", "token=eyJ[hidden];"),
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer [hidden]"),
        ("whsec_" + "QUJDREVGR0g=" * 2, "whsec_[hidden]"),
        ("eyJ1c2VyIjoiMDEi:1xVZJk:c2lnbmF0dXJl-x2 was sent", "eyJ[hidden] was sent"),
        ("sk-proj-" + "aB3-" * 8, "sk-[hidden]"),
        ("a risk-averse-and-careful-person", "a risk-averse-and-careful-person"),
        ("redis://user:hunter2@cache:6379/0", "redis://user:[hidden]@cache:6379/0"),
        ("postgres://agorai@localhost/agorai", "postgres://agorai@localhost/agorai"),
        ("Bearer of good news, agr_live_ alone", "Bearer of good news, agr_live_ alone"),
    ],
)
def test_what_could_be_used_is_masked(text, masked):
    assert logs.mask(text) == masked


def test_values_with_secret_names_are_dropped_at_any_depth():
    event = {"password": "hunter2", "headers": {"X-API-Key": "k", "accept": "*/*"}, "rows": [{"refresh_token": "t"}]}

    assert logs.hide_secrets(None, "info", event) == {
        "password": "[hidden]",
        "headers": {"X-API-Key": "[hidden]", "accept": "*/*"},
        "rows": [{"refresh_token": "[hidden]"}],
    }


def test_figures_stay_figures():
    assert logs.hide_secrets(None, "info", {"input_tokens": 12, "ms": 0.5, "ok": True, "key": None}) == {
        "input_tokens": 12,
        "ms": 0.5,
        "ok": True,
        "key": None,
    }


@pytest.fixture
def written():
    """Configures a logger of its own as the site would, and gives what it wrote."""
    stream = io.StringIO()

    def log(log_format, act):
        formatter = logs.config(log_format, "INFO")["formatters"]["structlog"]
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.config.DictConfigurator({"version": 1}).configure_formatter(formatter))
        logger = logging.getLogger("common.tests.written")
        logger.propagate, logger.handlers = False, [handler]
        logger.setLevel("INFO")
        act(logger)
        return stream.getvalue()

    return log


@pytest.mark.parametrize(
    ("kind", "message", "arguments", "said"),
    [
        ("csrf", "Forbidden (%s): %s", ("CSRF cookie not set.", "/accounts/reopen/t0k3n"), "CSRF cookie not set"),
        (
            "csrf",
            "Forbidden (%s): %s",
            ("Origin checking failed - t0k3n does not match any trusted origins.", "/"),
            "Origin checking failed",
        ),
        ("DisallowedHost", "Invalid HTTP_HOST header: 't0k3n'. You may need to add 't0k3n'", (), ""),
        ("DisallowedRedirect", "Unsafe redirect to 't0k3n'", (), ""),
    ],
)
def test_what_django_refuses_is_not_repeated(written, kind, message, arguments, said):
    def act(logger):
        try:
            raise ValueError("t0k3n")
        except ValueError as error:
            record = logger.makeRecord(
                f"django.security.{kind}", 30, "", 0, message, arguments, (type(error), error, error.__traceback__)
            )
            logger.handle(record)

    for log_format in ("json", "console"):
        text = written(log_format, act)
        assert f"Refused: {kind}." in text
        assert said in text
        assert "t0k3n" not in text


def test_machines_get_one_json_object_a_line(written):
    def act(logger):
        structlog.contextvars.bind_contextvars(request_id="req_1")
        logger.warning("used %s", KEY, extra={"route": "home"})
        structlog.contextvars.clear_contextvars()

    (line,) = written("json", act).splitlines()

    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "used agr_live_[hidden]",
        "level": "warning",
        "logger": "common.tests.written",
        "request_id": "req_1",
        "route": "home",
    }


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_is_written_without_the_secret_in_it(written, log_format):
    def act(logger):
        try:
            raise ValueError(f"refused {KEY}")
        except ValueError:
            logger.exception("broke")

    text = written(log_format, act)

    assert "Traceback" in text
    assert "ValueError: refused agr_live_[hidden]" in text
    assert KEY not in text


@pytest.fixture
def calls(monkeypatch):
    monkeypatch.setattr(logs, "_is_json", True)
    logging.getLogger("common.tests.calls").setLevel("INFO")
    return logs.Lines("common.tests.calls", "call")


def test_an_event_of_every_call_is_one_line_when_it_is_written(calls, capsys):
    with time_machine.travel("2026-01-31T23:59:59.000012Z", tick=False):
        calls.note({"request_id": "req_1", "model": 'a/"ß"', "kind": Answers.YES, "key": None, "ms": 12})
    with time_machine.travel("2026-02-01T00:00:00Z", tick=False):
        calls.note({"request_id": "req_2"})
    assert capsys.readouterr().out == ""
    calls.write()
    calls.write()

    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {
            "event": "call",
            "level": "info",
            "logger": "common.tests.calls",
            "timestamp": "2026-01-31T23:59:59.000012Z",
            "request_id": "req_1",
            "model": 'a/"ß"',
            "kind": "yes",
            "key": None,
            "ms": 12,
        },
        {
            "event": "call",
            "level": "info",
            "logger": "common.tests.calls",
            "timestamp": "2026-02-01T00:00:00.000000Z",
            "request_id": "req_2",
        },
    ]


def test_lines_do_not_wait_in_any_number_and_not_at_all_when_nobody_wants_them(calls, capsys):
    for number in range(logs.MAX_WAITING_LINES + 1):
        calls.note({"ms": number})
    assert len(capsys.readouterr().out.splitlines()) == logs.MAX_WAITING_LINES
    logging.getLogger("common.tests.calls").setLevel("WARNING")
    calls.note({"ms": 0})
    calls.write()
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_djangos_request_is_not_printed(written):
    text = written("json", lambda logger: logger.warning("x", extra={"request": "GET /?token=1", "status_code": 500}))

    assert "token" not in text
