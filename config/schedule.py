"""Every periodic job on one screen: its task, its period, and why it runs that often."""

from datetime import timedelta
from typing import NamedTuple


class Job(NamedTuple):
    task: str
    every: timedelta
    why: str


JOBS: tuple[Job, ...] = (
    Job("notifications.deliver", timedelta(seconds=5), "people wait for codes; a lost wake-up costs seconds"),
    Job("notifications.deliver_webhooks", timedelta(seconds=5), "what is due again; what is new is sent at once"),
    Job("notifications.prune_webhooks", timedelta(hours=1), "what ended a week ago is nobody's business any more"),
    Job("apikeys.send_reminders", timedelta(minutes=10), "keys that expire: a mail is due to the hour, not the minute"),
    Job("apikeys.prune", timedelta(hours=1), "clients that used a key long ago need not be known"),
    Job("marketplace.apply_prices", timedelta(minutes=1), "what was announced is found by its new price at once"),
    Job("marketplace.sweep_index", timedelta(seconds=5), "what is published is looked for at once"),
    Job("media.check_files", timedelta(seconds=15), "a publisher watches; a lost wake-up costs seconds"),
    Job("media.sweep_files", timedelta(minutes=1), "what was taken away is to be gone soon"),
    Job("billing.post_usage", timedelta(seconds=10), "a charge is seen, and earned, soon after its calls"),
    Job("billing.end_grants", timedelta(minutes=10), "credit ends on its day, to the hour and not the minute"),
    Job("billing.measure_demand", timedelta(hours=1), "reads half a year of usage; popularity moves slowly"),
    Job("gateway.settle_orphans", timedelta(minutes=1), "ends what a process left behind when it died"),
    Job("gateway.sweep_predictions", timedelta(seconds=15), "what a dead process had is wanted by somebody who waits"),
    Job("gateway.prune_predictions", timedelta(minutes=10), "what is erased after N hours is erased on the hour"),
    Job("gateway.compare_confirmations", timedelta(minutes=1), "what publishers confirm tells whether we count right"),
    Job("gateway.create_partitions", timedelta(hours=1), "days ahead: without a partition no call is taken"),
    Job("gateway.measure_models", timedelta(minutes=10), "reads 30 days of calls; figures move slowly"),
    Job("analytics.roll_up", timedelta(minutes=1), "reads the hours that are not complete; pages are as old as this"),
    Job("gateway.schedule_checks", timedelta(minutes=10), "each endpoint once a day, and an hour after it failed"),
    Job("gateway.warn_pinned", timedelta(minutes=10), "who is pinned to a version that ends needs the time there is"),
    Job("gateway.warn_deployers", timedelta(minutes=10), "who relies on a deprecated model needs the time there is"),
    Job("gateway.run_checks", timedelta(seconds=15), "a publisher watches; a lost wake-up costs seconds"),
    Job("observability.export_audit_head", timedelta(minutes=1), "events after the last kept head could be cut unseen"),
    Job(
        "observability.rotate_request_log",
        timedelta(hours=1),
        "a place for the rows of tomorrow, and none for old ones",
    ),
    Job(
        "observability.prune_idempotency_keys",
        timedelta(minutes=10),
        "kept answers take room, and their day ends at any moment",
    ),
    Job("accounts.erase_accounts", timedelta(hours=1), "closed accounts are forgotten on the day that was promised"),
    Job("accounts.prune_codes", timedelta(minutes=10), "codes and tokens that no longer serve are of no use to anyone"),
)

SCHEDULE = {
    job.task: {"task": job.task, "schedule": job.every, "options": {"expires": job.every.total_seconds()}}
    for job in JOBS
}
