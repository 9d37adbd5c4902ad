"""Every write of money that is not a call's own."""

from billing.services.demand import measure_demand
from billing.services.grants import end_grant, end_grants, ensure_account, grant_credit
from billing.services.ledger import account_of, check_ledger, post, reverse
from billing.services.posting import post_usage

__all__ = [
    "account_of",
    "check_ledger",
    "end_grant",
    "end_grants",
    "ensure_account",
    "grant_credit",
    "measure_demand",
    "post",
    "post_usage",
    "reverse",
]
