"""The Celery app. A message is only speed (the row is the work): nothing waits for a broker, and no result is kept."""

import os

from celery import Celery
from celery.signals import setup_logging

from config.schedule import SCHEDULE

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

BROKER_TIMEOUT_SECONDS = 2


@setup_logging.connect
def keep_our_logging(**kwargs: object) -> None:
    """Celery lets its own formatting be, which masks no secret, where somebody listens to this signal."""


app = Celery("agorai")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    task_publish_retry=False,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
    broker_connection_timeout=BROKER_TIMEOUT_SECONDS,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "socket_timeout": BROKER_TIMEOUT_SECONDS,
        "socket_connect_timeout": BROKER_TIMEOUT_SECONDS,
        "visibility_timeout": 3600,
    },
    task_default_queue="agorai",
    beat_schedule=SCHEDULE,
    beat_scheduler="config.beat.OneScheduler",
    timezone="UTC",
)
app.autodiscover_tasks()
