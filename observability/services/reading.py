"""What owners see of their organization's logs: people and keys by name, who is not theirs as what they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.utils.translation import gettext as _

from common.ids import encode


@dataclass(frozen=True, slots=True)
class Names:
    """Names of people and keys of one organization."""

    people: dict[UUID, str]
    keys: dict[UUID, str]

    def person(self, id: UUID | None) -> str:
        """Empty for nobody."""
        return self.people.get(id) or encode("usr", id) if id is not None else ""

    def key(self, id: UUID | None) -> str:
        return self.keys.get(id) or encode("key", id) if id is not None else ""


def names_in(organization: Any, *, user_ids: Iterable[UUID | None], key_ids: Iterable[UUID | None]) -> Names:
    """Of these ids, what the organization may know: its members, present and past, and that somebody was staff.

    Organizations, people and keys belong to apps above this one; their relations are read, nothing is imported.
    """
    asked = {id for id in user_ids if id is not None}
    people = dict(organization.members.filter(pk__in=asked).values_list("pk", "name")) if asked else {}
    if others := asked - people.keys():
        for id, name, is_staff in (
            get_user_model()._default_manager.filter(pk__in=others).values_list("pk", "name", "is_staff")
        ):
            people[id] = _("Staff of this site") if is_staff else _("%(name)s (no longer a member)") % {"name": name}
    wanted = {id for id in key_ids if id is not None}
    keys = dict(organization.api_keys.filter(pk__in=wanted).values_list("pk", "name")) if wanted else {}
    return Names(people, keys)
