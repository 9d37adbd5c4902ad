from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.money import MAX_NANO, MIN_NANO, NANO, amount, display, money, rate, to_cents, to_decimal, to_nano

nanos = st.integers(MIN_NANO, MAX_NANO)


@pytest.mark.parametrize(
    ("quantity", "price_nano", "per_units", "cost"),
    [
        (0, 5, 1, 0),
        (1, 1, 2, 1),  # half goes up
        (1, 1, 3, 0),
        (2, 1, 3, 1),
        (3, 1, 2, 2),
        (1_000_000, 150_000_000, 1_000_000, 150_000_000),
        (7, 150_000_000, 1_000_000, 1_050),
        (10**18, 10**18, 1, 10**36),  # no overflow, no float
    ],
)
def test_rating_rounds_half_up_once(quantity, price_nano, per_units, cost):
    assert rate(quantity, price_nano, per_units) == cost


@pytest.mark.parametrize("arguments", [(-1, 1, 1), (1, -1, 1), (1, 1, 0), (1, 1, -5)])
def test_rating_refuses_what_has_no_price(arguments):
    with pytest.raises(ValueError, match="not negative"):
        rate(*arguments)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 10**9))
def test_rating_is_never_off_by_more_than_half(quantity, price_nano, per_units):
    error = rate(quantity, price_nano, per_units) * per_units - quantity * price_nano
    assert -per_units < 2 * error <= per_units


@given(nanos)
def test_an_amount_is_exact_and_plain(nano):
    text = amount(nano)
    assert to_nano(text) == nano
    assert to_nano(to_decimal(nano)) == nano
    assert len(text.partition(".")[2]) >= 2
    assert "e" not in text.lower()


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0.00"), (680_000, "0.00068"), (20 * NANO, "20.00"), (-1, "-0.000000001"), (1_500_000_000, "1.50")],
)
def test_how_an_amount_reads(nano, text):
    assert amount(nano) == text
    assert money(nano, "USD") == {"amount": text, "currency": "USD"}


@pytest.mark.parametrize(
    ("value", "nano"),
    [
        ("1", NANO),
        ("-0", 0),
        ("000.10", NANO // 10),
        (Decimal("1E+3"), 1000 * NANO),
        (Decimal("1.0000000000"), NANO),  # ten decimals, but not finer than nine
        (Decimal("0E+999999999"), 0),
        ("9223372036.854775807", MAX_NANO),
        ("-9223372036.854775808", MIN_NANO),
    ],
)
def test_decimals_become_nano_units(value, nano):
    assert to_nano(value) == nano


@pytest.mark.parametrize(
    "value",
    ["", "1e3", "NaN", "Infinity", " 1", "1_000", "1,5", "+1", ".5", "5.", "\u0661", "1.0000000001"]
    + ["9223372036.854775808", "-9223372036.854775809", "9" * 31]
    + [Decimal(text) for text in ("NaN", "sNaN", "-Infinity", "1E+999999999", "1E-999999999", "1" * 200)],
)
def test_what_is_not_an_amount_is_refused(value):
    with pytest.raises(ValueError, match=r"plain|finite|large|finer"):
        to_nano(value)


@pytest.mark.parametrize("value", [1.5, True, None])
def test_money_is_never_a_float(value):
    with pytest.raises(TypeError):
        to_nano(value)


@pytest.mark.parametrize(
    ("nano", "cents"),
    [(0, 0), (4_999_999, 0), (5_000_000, 1), (14_999_999, 1), (15_000_000, 2), (-5_000_000, -1), (-4_999_999, 0)],
)
def test_cents_round_half_up_in_size(nano, cents):
    assert to_cents(nano) == cents
    assert to_cents(-nano) == -cents


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (680_000, "$0.00068"),
        (683_400, "$0.00068"),
        (685_000, "$0.00069"),
        (99_600_000, "$0.10"),
        (125_000_000, "$0.13"),
        (999_999_999, "$1.00"),
        (1_234_567_500_000_000, "$1,234,567.50"),
        (-680_000, "-$0.00068"),
        (-1_005_000_000, "-$1.01"),
        (MAX_NANO, "$9,223,372,036.85"),
    ],
)
def test_how_money_looks_on_a_page(nano, text):
    assert display(nano, "USD") == text


def test_a_currency_without_a_symbol_shows_its_code():
    assert display(1_500_000_000, "CHF") == "1.50\N{NO-BREAK SPACE}CHF"


@given(nanos)
def test_what_a_page_shows_is_near_the_truth(nano):
    shown = to_nano(display(nano, "USD").replace("$", "").replace(",", ""))
    assert abs(shown - nano) <= max(abs(nano) // 20, 0) or abs(shown - nano) <= NANO // 200
