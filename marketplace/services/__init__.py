"""What changes the catalogue."""

from marketplace.services.health import forget_check, record_check
from marketplace.services.indexing import IndexNotBuilt, check_server, rebuild_index, sweep_index
from marketplace.services.listings import (
    MODERATE,
    SEE_ALL,
    add_version,
    apply_deployments,
    archive,
    create_model,
    delete_model,
    deprecate,
    find_model,
    find_publisher,
    hold_models,
    looked_at,
    publish,
    record_callable,
    reject,
    require_publisher,
    submit,
    suspend,
    update_model,
)
from marketplace.services.looks import record_logo
from marketplace.services.mails import tell
from marketplace.services.measurements import (
    Measured,
    Tally,
    apply_demand,
    apply_measurements,
    days_known_until,
    typical_cost,
)
from marketplace.services.pricing import Terms, apply_prices, set_price, terms_of, withdraw_price
from marketplace.services.saved import is_saved, save_model, unsave_model
from marketplace.services.sunsets import set_version_sunset, today
from marketplace.services.unsaved import forget_step, keep_step, kept_step, shown_values

__all__ = [
    "MODERATE",
    "SEE_ALL",
    "IndexNotBuilt",
    "Measured",
    "Tally",
    "Terms",
    "add_version",
    "apply_demand",
    "apply_deployments",
    "apply_measurements",
    "apply_prices",
    "archive",
    "check_server",
    "create_model",
    "days_known_until",
    "delete_model",
    "deprecate",
    "find_model",
    "find_publisher",
    "forget_check",
    "forget_step",
    "hold_models",
    "is_saved",
    "keep_step",
    "kept_step",
    "looked_at",
    "publish",
    "rebuild_index",
    "record_callable",
    "record_check",
    "record_logo",
    "reject",
    "require_publisher",
    "save_model",
    "set_price",
    "set_version_sunset",
    "shown_values",
    "submit",
    "suspend",
    "tell",
    "terms_of",
    "today",
    "sweep_index",
    "typical_cost",
    "unsave_model",
    "update_model",
    "withdraw_price",
]
