"""What the gateway writes: endpoints, and the two moves of money around a call."""

from gateway.services.calls import check_books, create_partitions, settle_orphans
from gateway.services.endpoints import count_retired_endpoints, reseal_endpoints, set_endpoint, signing_key_of
from gateway.services.measurements import measure_models

__all__ = [
    "check_books",
    "count_retired_endpoints",
    "create_partitions",
    "measure_models",
    "reseal_endpoints",
    "set_endpoint",
    "settle_orphans",
    "signing_key_of",
]
