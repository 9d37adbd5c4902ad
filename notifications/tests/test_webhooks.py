"""Webhooks: signed as the reference wants it, tried for days, given up with a reason; one receiver harms no other."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import ANY

import pytest
from aiohttp import web
from django.apps import apps
from django.conf import settings as configured
from django.db import connection
from django.test import override_settings
from standardwebhooks import Webhook

from common.clock import now
from common.ids import decode, uuid7
from notifications.adapters.webhook import Outcome, outcome_of
from notifications.models import WebhookDelivery, WebhookReceiver, WebhookSecret
from notifications.services import (
    count_retired_webhooks,
    deliver_webhooks,
    prune_webhooks,
    reseal_webhooks,
    send_webhook,
    shown_secret,
    webhook_secret,
)
from notifications.services import webhooks as module
from notifications.tests.receiver import Receiver

pytestmark = pytest.mark.django_db


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found, allowed(found):
        yield found


def allowed(*receivers: Receiver) -> Any:
    networks = [f"127.0.0.1/32:{one.port}" for one in receivers]
    return override_settings(OUTBOUND_ALLOWED_NETWORKS=networks, OUTBOUND_ALLOW_HTTP=True)


def make_organization() -> Any:
    slug = f"org-{uuid7().hex[-12:]}"
    return apps.get_model("accounts", "Organization").objects.create(slug=slug, name=slug)


@pytest.fixture
def organization() -> Any:
    return make_organization()


@pytest.fixture
def later() -> Iterator[Any]:
    yield in_seconds
    in_seconds(0)


def in_seconds(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('agorai.clock_offset', %s, false)", [f"{seconds} seconds"])


def send(organization: Any, url: str, key: str = "one", **data: Any) -> WebhookDelivery:
    return send_webhook(
        organization_id=organization.pk,
        url=url,
        kind="tests.happened",
        subject="x_1",
        data=data or {"a": "ä"},
        at=now(),
        dedupe_key=key,
    )


# --- What is sent -----------------------------------------------------------------------------------------------------


def test_the_reference_library_takes_what_is_sent(receiver, organization):
    sent = send(organization, f"{receiver.url}?token=1")
    assert deliver_webhooks() == 1
    assert deliver_webhooks() == 0
    (headers, body), *others = receiver.seen
    assert others == []
    event = Webhook(shown_secret(webhook_secret(organization.pk))).verify(body, headers)
    assert event == {"type": "tests.happened", "timestamp": ANY, "data": {"a": "ä"}}
    assert (headers["webhook-id"], headers["content-type"]) == (sent.public_id, "application/json")
    assert not {"cookie", "authorization"} & headers.keys()
    sent.refresh_from_db()
    assert (sent.state, sent.attempts, sent.last_status) == ("delivered", 1, 204)
    assert (sent.sealed_url, sent.sealed_body) == (None, None)
    with pytest.raises(Exception, match="signature"):
        Webhook(shown_secret(os.urandom(32))).verify(body, headers)


def test_what_waits_is_sealed_and_written_once(organization):
    first = send(organization, "https://hooks.example.org/token-K7RT2M", secret="K7RT2M")
    again = send(organization, "https://hooks.example.org/other")
    assert again == first
    row = WebhookDelivery.objects.get()
    assert b"K7RT2M" not in bytes(row.sealed_url) + bytes(row.sealed_body)
    assert row.receiver.origin == "https://hooks.example.org:443"


def test_each_organization_has_a_secret_of_its_own(organization):
    secret = webhook_secret(organization.pk)
    assert webhook_secret(organization.pk) == secret
    assert webhook_secret(make_organization().pk) != secret
    assert secret not in bytes(WebhookSecret.objects.get(organization=organization).sealed)


# --- When it is not taken ---------------------------------------------------------------------------------------------


def test_it_is_tried_for_three_days_with_one_id_and_then_dead_with_a_reason(receiver, organization, later):
    receiver.status = 400
    sent = send(organization, receiver.url)
    seconds = 0.0
    for pause in (timedelta(0), *module.PAUSES):
        seconds += pause.total_seconds() * 0.98
        later(seconds)
        assert deliver_webhooks() == 0
        early = len(receiver.seen)
        seconds += pause.total_seconds() * 0.13 + 1
        later(seconds)
        assert deliver_webhooks() == 0
        assert len(receiver.seen) >= early
    sent.refresh_from_db()
    assert (sent.state, sent.attempts, sent.last_status) == ("dead", module.MAX_ATTEMPTS, 400)
    assert sent.last_error == "The receiver answered 400."
    assert receiver.names() == [sent.public_id] * module.MAX_ATTEMPTS
    assert timedelta(days=2.5) < timedelta(seconds=seconds) < timedelta(days=4)
    assert WebhookReceiver.objects.get().failures == 0  # it was there, and said no


def test_it_is_not_tried_before_its_time(receiver, organization):
    receiver.status = 500
    send(organization, receiver.url)
    for _ in range(3):
        deliver_webhooks()
    assert len(receiver.seen) == 1


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome(200)),
        (204, Outcome(204)),
        (302, Outcome(302, "The receiver answered 302, and redirects are not followed.")),
        (410, Outcome(410, "The receiver answered 410 Gone.", is_final=True)),
        (500, Outcome(500, "The receiver answered 500.")),
    ],
)
def test_what_an_answer_means(status, outcome):
    assert outcome_of(status) == outcome


def test_gone_ends_it_and_a_redirect_is_not_followed(receiver, organization):
    async def behave(request: web.Request) -> web.Response:
        where = {"/hook": 302, "/gone": 410}[request.path]
        return web.Response(status=where, headers={"Location": f"http://127.0.0.1:{receiver.port}/inside"})

    receiver.behave = behave
    turned = send(organization, receiver.url, "turned")
    gone = send(organization, receiver.url.replace("/hook", "/gone"), "gone")
    deliver_webhooks()
    turned.refresh_from_db()
    gone.refresh_from_db()
    assert (turned.state, turned.last_status) == ("pending", 302)
    assert (gone.state, gone.last_error) == ("dead", "The receiver answered 410 Gone.")
    assert len(receiver.seen) == 2


@pytest.mark.parametrize("url", ["https://127.0.0.1:9/x", "https://localhost/x", "https://[::1]/"])
def test_nothing_leads_inside(organization, url):
    sent = send(organization, url)
    with override_settings(OUTBOUND_ALLOWED_NETWORKS=[], OUTBOUND_ALLOW_HTTP=False):
        deliver_webhooks()
    sent.refresh_from_db()
    assert sent.state == "dead"
    assert sent.last_error


def test_an_answer_without_end_is_not_read(receiver, organization):
    async def behave(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    receiver.behave = behave
    sent = send(organization, receiver.url)
    began = time.monotonic()
    assert deliver_webhooks() == 1
    assert time.monotonic() - began < 5
    sent.refresh_from_db()
    assert sent.state == "delivered"


# --- Others -----------------------------------------------------------------------------------------------------------


def test_a_receiver_that_hangs_holds_up_no_other(organization):
    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(3)
        return web.Response()

    with ExitStack() as stack:
        dead, well = [stack.enter_context(Receiver()) for _ in range(2)]
        stack.enter_context(allowed(dead, well))
        dead.behave = hang
        for number in range(20):
            send(organization, dead.url, f"dead-{number}")
        for number in range(20):
            send(organization, well.url, f"well-{number}")
        began, done = time.monotonic(), []

        async def note(request: web.Request) -> web.Response:
            done.append(time.monotonic() - began)
            return web.Response()

        well.behave = note
        deliver_webhooks(seconds=4)
    assert len(done) == 20
    assert max(done) < 4.5
    assert len(dead.seen) <= 8


def test_a_receiver_that_fails_again_and_again_is_left_alone_and_then_tried_with_one(receiver, organization, later):
    receiver.status = 503
    for number in range(12):
        send(organization, receiver.url, f"{number}")
    deliver_webhooks()
    tried = len(receiver.seen)
    assert module.BROKEN_AFTER <= tried < 12
    deliver_webhooks()
    assert len(receiver.seen) == tried
    later(module.BLOCKED_MOST.total_seconds() + 1)
    deliver_webhooks()
    assert len(receiver.seen) == tried + 1
    receiver.status = 200
    later(2 * module.BLOCKED_MOST.total_seconds() + 2)
    deliver_webhooks()
    assert not WebhookDelivery.objects.due().exists()
    assert WebhookReceiver.objects.get().failures == 0


def test_what_was_never_tried_is_dead_with_a_reason_in_the_end(organization, later):
    sent = send(organization, "https://hooks.example.org/x")
    WebhookReceiver.objects.update(failures=9, blocked_until=datetime(2100, 1, 1, tzinfo=UTC))
    later(module.GIVE_UP_AFTER.total_seconds() + 1)
    assert deliver_webhooks() == 0
    sent.refresh_from_db()
    assert (sent.state, sent.last_error) == ("dead", "The receiver was not there in all this time.")


# --- Workers that end -------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_after_sending_sends_again_with_the_same_id(receiver, organization, later):
    sent = send(organization, receiver.url)
    assert module._claim(5) == [sent]  # and the worker dies
    assert deliver_webhooks() == 0
    later(module.LEASE.total_seconds() + 1)
    assert deliver_webhooks() == 1
    assert receiver.names() == [sent.public_id]


def test_whoever_was_taken_for_dead_writes_nothing(organization, later):
    sent = send(organization, "https://hooks.example.org/x")
    (dead,) = module._claim(5)
    later(module.LEASE.total_seconds() + 1)
    module._claim(5)
    module._mark(dead, Outcome(None, "Slow."))
    sent.refresh_from_db()
    assert (sent.attempts, sent.is_leased, sent.last_error) == (2, True, "")


@pytest.mark.django_db(transaction=True)
def test_workers_killed_while_they_send_lose_nothing(tmp_path):
    organization = make_organization()
    with Receiver() as receiver:
        for number in range(60):
            send(organization, receiver.url, f"{number}")

        async def behave(request: web.Request) -> web.Response:
            await asyncio.sleep(0.05)
            return web.Response()

        receiver.behave = behave
        keys = configured.KEY_ENCRYPTION_KEYS.items()
        environment = {
            **os.environ,
            "OUTBOUND_ALLOWED_NETWORKS": f"127.0.0.1/32:{receiver.port}",
            "OUTBOUND_ALLOW_HTTP": "true",
            "KEY_ENCRYPTION_KEYS": ",".join(f"{id}:{urlsafe_b64encode(key).decode().rstrip('=')}" for id, key in keys),
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        program = (
            "import django; django.setup(); from notifications import services; services.deliver_webhooks(seconds=30)"
        )
        for kills in (1, 2):
            with subprocess.Popen([sys.executable, "-c", program], cwd=configured.BASE_DIR, env=environment) as worker:
                deadline = time.monotonic() + 60
                while len(receiver.seen) < 12 * kills:
                    assert worker.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.005)
                worker.kill()
            in_seconds(kills * (module.LEASE.total_seconds() + 60))
            with connection.cursor() as cursor:  # for the next worker, too
                cursor.execute(
                    "UPDATE notifications_webhookdelivery SET next_attempt_at = now() WHERE state = 'pending'"
                )
        in_seconds(0)
        with allowed(receiver):
            deliver_webhooks(seconds=60)
        assert not WebhookDelivery.objects.exclude(state="delivered").exists()
        sent = {decode("dlv", name) for name in receiver.names()}
        assert sent == set(WebhookDelivery.objects.values_list("pk", flat=True))
        assert len(receiver.seen) < 60 + 2 * 2 * module.AT_ONCE_PER_RECEIVER


# --- Housekeeping -----------------------------------------------------------------------------------------------------


def test_what_ended_is_forgotten_after_a_week(receiver, organization, later):
    send(organization, receiver.url)
    deliver_webhooks()
    assert prune_webhooks() == 0
    later(timedelta(days=8).total_seconds())
    assert prune_webhooks() == 2
    assert prune_webhooks() == 0


def test_a_new_key_encryption_key_reaches_secrets_and_what_waits(organization, settings):
    sent = send(organization, "https://hooks.example.org/x", "one", a=1)
    secret = webhook_secret(organization.pk)
    settings.KEY_ENCRYPTION_KEYS = {"new": os.urandom(32), **settings.KEY_ENCRYPTION_KEYS}
    assert count_retired_webhooks() == 3
    assert reseal_webhooks() == 3
    assert (count_retired_webhooks(), reseal_webhooks()) == (0, 0)
    settings.KEY_ENCRYPTION_KEYS = {"new": settings.KEY_ENCRYPTION_KEYS["new"]}
    assert webhook_secret(organization.pk) == secret
    post = module._post_of(WebhookDelivery.objects.get(pk=sent.pk))
    assert post is not None
    assert json.loads(post.body)["data"] == {"a": 1}
