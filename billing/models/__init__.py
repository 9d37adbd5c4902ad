"""Usage, and later the ledger, invoices and payouts."""

from billing.models.usage import UsageEvent

__all__ = ["UsageEvent"]
