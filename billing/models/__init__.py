"""Usage, what it cost whom, and the ledger; later invoices and payouts."""

from billing.models.charges import Charge, CreditGrant, GrantUse
from billing.models.ledger import LedgerAccount, LedgerEntry, LedgerTransaction
from billing.models.usage import UsageEvent

__all__ = ["Charge", "CreditGrant", "GrantUse", "LedgerAccount", "LedgerEntry", "LedgerTransaction", "UsageEvent"]
