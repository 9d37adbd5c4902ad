"""What changes the catalogue."""

from marketplace.services.listings import (
    MODERATE,
    SEE_ALL,
    add_version,
    archive,
    create_model,
    delete_model,
    deprecate,
    find_model,
    find_publisher,
    publish,
    record_callable,
    reject,
    require_publisher,
    submit,
    suspend,
    update_model,
)
from marketplace.services.measurements import Measured, Tally, apply_measurements, days_known_until, typical_cost
from marketplace.services.pricing import Terms, set_price

__all__ = [
    "MODERATE",
    "SEE_ALL",
    "Measured",
    "Tally",
    "Terms",
    "add_version",
    "apply_measurements",
    "archive",
    "create_model",
    "days_known_until",
    "delete_model",
    "deprecate",
    "find_model",
    "find_publisher",
    "publish",
    "record_callable",
    "reject",
    "require_publisher",
    "set_price",
    "submit",
    "suspend",
    "typical_cost",
    "update_model",
]
