"""Money: integers of nano-units (10⁻⁹ of the currency) with the currency beside them; never a float."""

import re
from decimal import Decimal
from typing import TypedDict

NANO = 1_000_000_000
NANO_PER_CENT = NANO // 100
MAX_NANO = 2**63 - 1  # what a bigint column holds
MIN_NANO = -(2**63)

SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£"}

_PLAIN_DECIMAL = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?", re.ASCII)


class Money(TypedDict):
    """An amount as the API shows it."""

    amount: str
    currency: str


def rate(quantity: int, price_nano: int, per_units: int) -> int:
    """The price in nano-units of `quantity` units at `price_nano` per `per_units`, rounded half up, once.

    All >= 0, per_units > 0; raises ValueError otherwise. Unbounded: compare with `MAX_NANO` before storing.
    """
    if quantity < 0 or price_nano < 0 or per_units <= 0:
        raise ValueError("a quantity and a price are not negative, and units are at least one")
    return (2 * quantity * price_nano + per_units) // (2 * per_units)


def to_nano(value: Decimal | str) -> int:
    """Exact nano-units of a decimal amount.

    Raises ValueError when it is not a plain finite number, is finer than 10⁻⁹ or does not fit a bigint.
    """
    if isinstance(value, str):
        if not _PLAIN_DECIMAL.fullmatch(value):
            raise ValueError("not a plain decimal number")
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise TypeError("money is a Decimal or a str")
    if not value.is_finite():
        raise ValueError("not a finite number")
    sign, digits, exponent = value.as_tuple()
    number = int("".join(map(str, digits[:100])))
    if number == 0 and len(digits) <= 100:
        return 0
    # Looked at before any power of ten is computed: 1E+999999999 must not take a gigabyte.
    if value.adjusted() > 10 or len(digits) > 100:
        raise ValueError("too large")
    shift = 9 + int(exponent)
    if shift >= 0:
        number = number * int(10**shift)
    else:
        number, rest = divmod(number, 10 ** min(-shift, 200))
        if rest:
            raise ValueError("finer than nine decimals")
    nano = -number if sign else number
    if not MIN_NANO <= nano <= MAX_NANO:
        raise ValueError("too large")
    return nano


def to_decimal(nano: int) -> Decimal:
    """The exact amount in units of the currency, for templates and payment processors."""
    return Decimal(amount(nano))


def to_cents(nano: int) -> int:
    """Whole cents, half up in size: -0.5 cent is -1, so that a reversal mirrors what it reverses."""
    cents = (2 * abs(nano) + NANO_PER_CENT) // (2 * NANO_PER_CENT)
    return -cents if nano < 0 else cents


def amount(nano: int) -> str:
    """A plain decimal string, exact, without exponent and with at least two decimals: "0.00068", "20.00"."""
    whole, fraction = divmod(abs(nano), NANO)
    return f"{'-' if nano < 0 else ''}{whole}.{_trim(f'{fraction:09d}')}"


def money(nano: int, currency: str) -> Money:
    """{"amount": "0.00068", "currency": "USD"}: how every answer of the API shows money."""
    return {"amount": amount(nano), "currency": currency}


def display(nano: int, currency: str) -> str:
    """For pages: "$1,234.50", "-$0.00068"; below a tenth two significant digits, half up. Sums are of exact values."""
    size = abs(nano)
    decimals = 2 if size >= NANO // 10 else min(9, 11 - len(str(size)))
    step = 10 ** (9 - decimals)
    whole, fraction = divmod((2 * size + step) // (2 * step) * step, NANO)
    number = f"{whole:,}.{_trim(f'{fraction:09d}')}"
    sign = "-" if nano < 0 and (whole or fraction) else ""
    return (
        f"{sign}{SYMBOLS[currency]}{number}" if currency in SYMBOLS else f"{sign}{number}\N{NO-BREAK SPACE}{currency}"
    )


def _trim(fraction: str) -> str:
    return fraction.rstrip("0").ljust(2, "0")
