"""What the gateway writes: endpoints, deployments, and the two moves of money around a call."""

from gateway.services.books import check_books, gaps
from gateway.services.calls import create_partitions
from gateway.services.checks import ask_check, latest_check, run_checks, schedule_checks
from gateway.services.confirmations import compare_confirmations, confirm_usage
from gateway.services.deployments import (
    change_deployment,
    create_deployment,
    delete_deployment,
    spend_limits_of,
)
from gateway.services.endpoints import count_retired_endpoints, reseal_endpoints, set_endpoint, signing_key_of
from gateway.services.measurements import measure_models
from gateway.services.orphans import settle_orphans
from gateway.services.prediction_content import count_retired_predictions, reseal_predictions
from gateway.services.predictions import prune_predictions, sweep_predictions
from gateway.services.warnings import warn_deployers, warn_pinned

__all__ = [
    "ask_check",
    "change_deployment",
    "check_books",
    "compare_confirmations",
    "confirm_usage",
    "count_retired_endpoints",
    "count_retired_predictions",
    "create_deployment",
    "create_partitions",
    "delete_deployment",
    "gaps",
    "latest_check",
    "measure_models",
    "prune_predictions",
    "reseal_endpoints",
    "reseal_predictions",
    "run_checks",
    "schedule_checks",
    "set_endpoint",
    "settle_orphans",
    "signing_key_of",
    "spend_limits_of",
    "sweep_predictions",
    "warn_deployers",
    "warn_pinned",
]
