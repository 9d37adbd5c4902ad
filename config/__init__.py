"""Composition root: settings, addresses, the Celery app, the schedule and the operator's commands."""
