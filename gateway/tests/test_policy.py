"""The billing policy: every way in which a call may end is charged by exactly one rule, and the page says the same."""

from itertools import product
from pathlib import Path

import pytest
from django.conf import settings

from gateway.adapters import Usage
from gateway.models import Rule
from gateway.services.policy import DELIVERED, POLICY, RATED, UNDELIVERED, Outcome, charge, policy_table
from marketplace.models import Price

FREE = Price(type="free")
PER_CALL = Price(type="paid", per_call_nano=7)
PER_TOKEN = Price(type="paid", input_nano_per_million=10**6, output_nano_per_million=2 * 10**6)
BOTH = Price(type="paid", per_call_nano=7, output_nano_per_million=10**6)
REPORTED, COUNTED, ZERO = Usage(10, 20), Usage(10, 20, "counted"), Usage(0, 0)


def test_the_page_repeats_the_table():
    page = (Path(settings.BASE_DIR) / "docs" / "billing-policy.md").read_text()
    assert policy_table() in page, f"docs/billing-policy.md should hold:\n\n{policy_table()}"


def test_every_rule_has_one_line():
    assert sorted(line.rule for line in POLICY) == sorted(Rule)


def test_every_end_of_a_call_is_charged_by_a_rule_that_is_for_it():
    usages = (REPORTED, COUNTED, ZERO)
    for outcome, mode, price in product(Outcome, ("live", "test"), (FREE, PER_CALL, PER_TOKEN, BOTH)):
        for usage in usages if outcome in DELIVERED else (None, *usages):
            found = charge(outcome, mode=mode, price=price, usage=usage)
            (line,) = [line for line in POLICY if line.rule == found.rule]
            assert outcome in line.outcomes
            assert found.cost_nano == 0 or (line.is_rated and mode == "live" and price is not FREE)


@pytest.mark.parametrize(
    ("outcome", "mode", "price", "usage", "rule", "cost"),
    [
        ("answered", "live", FREE, REPORTED, "free", 0),
        ("answered", "test", PER_TOKEN, REPORTED, "test_mode", 0),
        ("answered", "live", PER_CALL, COUNTED, "per_call", 7),
        ("answered", "live", PER_TOKEN, REPORTED, "usage_reported", 50),
        ("answered", "live", PER_TOKEN, ZERO, "usage_reported", 0),
        ("answered", "live", PER_TOKEN, COUNTED, "usage_counted", 50),
        ("broken_off", "live", PER_TOKEN, COUNTED, "usage_counted", 50),
        ("broken_off", "live", BOTH, COUNTED, "usage_counted", 27),
        ("broken_off", "live", PER_CALL, COUNTED, "per_call", 7),
        ("upstream_error", "live", PER_CALL, None, "upstream_error", 0),
        ("upstream_timeout", "live", PER_CALL, None, "upstream_timeout", 0),
        ("invalid_output", "live", PER_CALL, None, "invalid_output", 0),
        ("cancelled", "live", PER_CALL, None, "cancelled", 0),
        ("not_sent", "live", PER_CALL, None, "not_sent", 0),
        ("stopped", "live", PER_CALL, None, "orphan_void", 0),
        ("orphaned", "live", PER_TOKEN, None, "orphan_void", 0),
        ("orphaned", "test", PER_TOKEN, None, "orphan_void", 0),
        ("orphaned", "live", PER_TOKEN, REPORTED, "orphan_confirmed", 50),
        ("orphaned", "live", PER_TOKEN, COUNTED, "orphan_progress", 50),
        ("orphaned", "test", PER_TOKEN, REPORTED, "test_mode", 0),
    ],
)
def test_what_each_end_costs(outcome, mode, price, usage, rule, cost):
    found = charge(Outcome(outcome), mode=mode, price=price, usage=usage)
    assert (found.rule, found.cost_nano) == (rule, cost)


def test_a_call_that_delivered_nothing_has_no_quantities():
    assert charge(Outcome.UPSTREAM_ERROR, mode="live", price=PER_TOKEN, usage=REPORTED).usage == Usage(0, 0, "")


def test_what_delivered_something_is_not_made_again():
    assert not UNDELIVERED & RATED
    assert {"upstream_error", "not_sent", "cancelled", "orphan_void"} <= UNDELIVERED
    assert not {"free", "test_mode", "demo"} & UNDELIVERED
