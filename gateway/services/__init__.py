"""What the gateway writes: endpoints, deployments, and the two moves of money around a call."""

from gateway.services.calls import check_books, create_partitions, settle_orphans
from gateway.services.deployments import (
    change_deployment,
    create_deployment,
    delete_deployment,
    spend_limits_of,
)
from gateway.services.endpoints import count_retired_endpoints, reseal_endpoints, set_endpoint, signing_key_of
from gateway.services.measurements import measure_models
from gateway.services.prediction_content import count_retired_predictions, reseal_predictions
from gateway.services.predictions import prune_predictions, sweep_predictions

__all__ = [
    "change_deployment",
    "check_books",
    "count_retired_endpoints",
    "count_retired_predictions",
    "create_deployment",
    "create_partitions",
    "delete_deployment",
    "measure_models",
    "prune_predictions",
    "reseal_endpoints",
    "reseal_predictions",
    "set_endpoint",
    "settle_orphans",
    "signing_key_of",
    "spend_limits_of",
    "sweep_predictions",
]
