"""What changes the catalogue."""

from marketplace.services.listings import (
    add_version,
    archive,
    create_model,
    delete_model,
    deprecate,
    find_model,
    publish,
    record_callable,
    reject,
    require_publisher,
    submit,
    suspend,
    update_model,
)
from marketplace.services.pricing import Terms, set_price

__all__ = [
    "Terms",
    "add_version",
    "archive",
    "create_model",
    "delete_model",
    "deprecate",
    "find_model",
    "publish",
    "record_callable",
    "reject",
    "require_publisher",
    "set_price",
    "submit",
    "suspend",
    "update_model",
]
