"""Every write of money that is not a call's own."""

from billing.services.demand import measure_demand
from billing.services.entitlements import ensure_account

__all__ = ["ensure_account", "measure_demand"]
