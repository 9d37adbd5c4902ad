"""What is kept beside the keys only for a time."""

from apikeys.services.leaks import prune_reports
from apikeys.services.uses import prune_clients


def prune() -> int:
    """Delete clients that were not seen for long and reports that cannot be replayed any more. Returns how many."""
    return prune_clients() + prune_reports()
