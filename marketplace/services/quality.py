"""How complete a listing is: what callers look for, and what is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from marketplace.models import AIModel
from marketplace.services.sections import card_of

ENOUGH_WORDS = 40


@dataclass(frozen=True, slots=True)
class Point:
    """step: of the wizard, where it is mended. required: without it nothing is published."""

    title: str
    text: str
    is_met: bool
    step: str
    required: bool = False


def checklist(ai_model: AIModel) -> list[Point]:
    """What makes a good listing, the most important first."""
    version, price = ai_model.current_version, ai_model.price
    schema: dict[str, Any] = version.input_schema if version else {}
    words = len(ai_model.description.split())
    missing = card_of(ai_model).missing
    is_priced = price is not None and (price.type == price.Type.FREE or price.asks_for_money)
    checked = _("It was not checked yet.") if ai_model.check_passed is None else _("The last check failed.")
    return [
        Point(_("An endpoint"), _("Calls have nowhere to go yet."), ai_model.is_callable, "endpoint", True),
        Point(_("A passed contract check"), checked, ai_model.check_passed is True, "test"),
        Point(_("A price"), _("A paid model needs an amount or a rate."), is_priced, "price", True),
        Point(
            _("A description of what it is good for"),
            _("%(count)d words so far; at %(enough)d people know what they get.")
            % {"count": words, "enough": ENOUGH_WORDS},
            words >= ENOUGH_WORDS,
            "basics",
        ),
        Point(
            _("Sections that callers look for"),
            _("Missing so far: %(names)s. A heading of that name begins one.")
            % {"names": ", ".join(str(section.guide.title) for section in missing)},
            not missing,
            "basics",
        ),
        Point(
            _("An example of an input"),
            _("Give “examples” in the input schema: the playground and the checks use them."),
            bool(schema.get("examples")),
            "basics",
        ),
        Point(_("Capabilities"), _("People filter by them."), bool(ai_model.capabilities), "basics"),
        Point(_("A license"), _("Companies may not use what states none."), bool(ai_model.license), "basics"),
    ]
