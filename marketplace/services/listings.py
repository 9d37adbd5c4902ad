"""The life of a listing: written, submitted, published, deprecated, archived."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.urls import reverse

from accounts.models import Organization
from common import clock
from common.clock import ClockNow
from common.problems import FieldError, NotFound, RoleRequired, ValidationFailed
from marketplace.errors import NotReadyToPublish, NotYourModel, WrongStatus
from marketplace.models import AIModel, ModelVersion
from marketplace.services import versions
from marketplace.services.mails import tell_publisher
from marketplace.services.pricing import Terms, set_price, terms_of
from marketplace.services.schemas import UnfitSchema, check_schema
from marketplace.services.sunsets import must_be_to_come
from marketplace.services.versions import LIVE, ApiSpec
from observability.services import changes, record

MAX_SLUG_LENGTH = 60
MAX_NOTE = 2_000  # letters of what the staff say
SLUG_TRIES = 5

Status = AIModel.Status
EDITABLE_IN_PLACE = (Status.DRAFT, Status.IN_REVIEW, Status.REJECTED)
#: What staff need to see what is not published, and to publish it: permissions of Django's.
SEE_ALL, MODERATE = "marketplace.view_aimodel", "marketplace.change_aimodel"


# --- Find -------------------------------------------------------------------------------------------------------------


def find_model(ref: str, *, organization: Organization | None, sees_all: bool = False) -> AIModel:
    """The model `mdl_…`, `publisher:slug` or `publisher/slug`, as far as the organization may see it, or any.

    With publisher, version and price. Raises NotFound, the same for a hidden model and for none.
    """
    models = AIModel.objects.all() if sees_all else AIModel.objects.visible_to(organization)
    found: AIModel | None = models.referred_to(ref).detailed().first()
    if found is None:
        raise NotFound()
    return found


def find_publisher(slug: str, *, user: Any) -> Organization:
    """The organization with this slug if it lists something in public, or is one of the user's (who may be None).

    Raises NotFound, the same for a hidden organization and for none.
    """
    seen = Q(Exists(AIModel.objects.published().filter(publisher=OuterRef("pk"))))
    if user is not None:
        seen |= Q(pk__in=Organization.objects.of_member(user))
    found: Organization | None = Organization.objects.filter(seen, slug=slug).first()
    if found is None:
        raise NotFound()
    return found


def require_publisher(*, ai_model: AIModel, organization: Organization | None) -> None:
    """Raises NotYourModel unless the organization publishes the model."""
    if organization is None or ai_model.publisher_id != organization.pk:
        raise NotYourModel()


# --- Write ------------------------------------------------------------------------------------------------------------


@transaction.atomic
def create_model(
    *,
    publisher: Organization,
    name: str,
    description: str,
    version: str,
    category: str,
    api_spec: ApiSpec,
    pricing: Terms,
    capabilities: Sequence[str] = (),
    license: str = "",
    context_tokens: int | None = None,
    test_enabled: bool = False,
    is_demo: bool = False,
    changelog: str | None = None,
) -> AIModel:
    """A draft with its first version and its price. Its slug comes from the name. Raises ValidationFailed."""
    check_api_spec(api_spec)
    ai_model = _insert(
        publisher=publisher,
        name=name,
        description=description,
        category=category,
        capabilities=list(dict.fromkeys(capabilities)),
        license=license,
        context_tokens=context_tokens,
        test_enabled=test_enabled,
        is_demo=is_demo,
    )
    versions.make_current(ai_model, versions.new_version(ai_model, version, api_spec, changelog))
    _record("model.created", ai_model, after=_facts(ai_model))
    set_price(ai_model=ai_model, terms=pricing)
    return ai_model


@transaction.atomic
def update_model(
    *,
    ai_model: AIModel,
    name: str,
    description: str,
    version: str,
    category: str,
    api_spec: ApiSpec,
    pricing: Terms,
    capabilities: Sequence[str] = (),
    license: str = "",
    context_tokens: int | None = None,
    test_enabled: bool = False,
    changelog: str | None = None,
) -> AIModel:
    """Replace what a listing says. The slug stays. changelog: of the version; None leaves it.

    A draft is changed in place, and one in review goes back to draft, so that what is published is what was looked at.
    Of a published model a changed `api_spec` or version number makes a new version, which must be higher, and changed
    pricing a new price. Raises ValidationFailed, VersionNotHigher, WrongStatus.
    """
    check_api_spec(api_spec)
    ai_model = _lock(ai_model)
    was = _facts(ai_model)
    if ai_model.status in LIVE:
        versions.release_if_changed(ai_model, version, api_spec, changelog)
    elif ai_model.status in EDITABLE_IN_PLACE:
        versions.rewrite(ai_model, version, api_spec, changelog)
        if ai_model.status == Status.IN_REVIEW:
            ai_model.status = Status.DRAFT
    else:
        raise _wrong_status(ai_model, "changed")
    ai_model.name, ai_model.description, ai_model.category = name, description, category
    ai_model.capabilities, ai_model.test_enabled = list(dict.fromkeys(capabilities)), test_enabled
    ai_model.license, ai_model.context_tokens = license, context_tokens
    changed = ["name", "description", "category", "capabilities", "license", "context_tokens", "test_enabled"]
    ai_model.save(update_fields=[*changed, "status", "updated_at"])
    before, after = changes(was, _facts(ai_model))
    if after:
        _record("model.changed", ai_model, before=before, after=after)
    set_price(ai_model=ai_model, terms=pricing)
    return ai_model


@transaction.atomic
def delete_model(*, ai_model: AIModel) -> AIModel | None:
    """Remove a listing: deleted (None) if it was never published or called, else archived. Repeating it is harmless."""
    ai_model = _lock(ai_model)
    if ai_model.status == Status.ARCHIVED:
        return ai_model
    if ai_model.published_at is not None or ai_model.usage_events.exists():
        before, ai_model.status = ai_model.status, Status.ARCHIVED
        ai_model.save(update_fields=["status", "updated_at"])
        _record("model.archived", ai_model, before={"status": before}, after={"status": ai_model.status})
        return ai_model
    _record("model.deleted", ai_model, before=_facts(ai_model))
    AIModel.objects.filter(pk=ai_model.pk).update(current_version=None)  # lets go of the version that goes with it
    ai_model.delete()
    return None


@transaction.atomic
def add_version(*, ai_model: AIModel, version: str, api_spec: ApiSpec, changelog: str = "") -> ModelVersion:
    """A further version, current from now on, and published at once if the model is.

    Raises ValidationFailed, VersionNotHigher, WrongStatus.
    """
    check_api_spec(api_spec)
    ai_model = _lock(ai_model)
    if ai_model.status not in (*LIVE, Status.DRAFT, Status.REJECTED):
        raise _wrong_status(ai_model, "given a version")
    was = ai_model.current_version
    released = versions.release(ai_model, version, api_spec, changelog)
    before = {"version": was.version} if was is not None else None
    _record("model.version_added", ai_model, before=before, after={"version": released.version})
    return released


def check_api_spec(api_spec: ApiSpec) -> None:
    """Raises ValidationFailed for schemas that are not accepted here."""
    faults: list[FieldError] = []
    for side in ("input", "output"):
        try:
            check_schema(api_spec[side], takes_object=side == "input")
        except UnfitSchema as fault:
            faults.append({"pointer": f"/api_spec/{side}{fault.pointer}", "code": fault.code, "detail": fault.detail})
    if faults:
        raise ValidationFailed(errors=faults)


# --- From state to state ----------------------------------------------------------------------------------------------


@transaction.atomic
def submit(*, ai_model: AIModel) -> AIModel:
    """Ask for publication: draft or rejected -> in_review. Raises WrongStatus, NotReadyToPublish."""
    _check_ready(ai_model)
    return _move(ai_model, (Status.DRAFT, Status.REJECTED), Status.IN_REVIEW, "submitted")


@transaction.atomic
def publish(*, ai_model: AIModel, by_staff: bool) -> AIModel:
    """Open the model to everybody.

    Staff publish what is in review, and what they suspended. Others may where the site approves automatically, once
    calls have somewhere to go. Raises RoleRequired, WrongStatus, NotReadyToPublish.
    """
    ai_model = _lock(ai_model)
    allowed: tuple[str, ...] = (Status.IN_REVIEW, Status.SUSPENDED)
    if not by_staff:
        if settings.PUBLISH_APPROVAL == "staff":
            raise RoleRequired("The staff of this site looks at every model first.", required_roles=["staff"])
        allowed = EDITABLE_IN_PLACE
        if ai_model.status in allowed and not ai_model.is_callable:
            raise NotReadyToPublish("Calls have nowhere to go yet: set an endpoint first.")
        if settings.PUBLISH_APPROVAL == "checked" and ai_model.check_passed is not True:
            raise NotReadyToPublish("The endpoint has not passed the contract check yet.")
    _check_ready(ai_model)
    at = clock.now()
    ai_model.versions.filter(current_of=ai_model, published_at=None).update(published_at=at)
    was = ai_model.status
    values = {"published_at": ai_model.published_at or at, "reviewed": looked_at(ai_model), "review_note": ""}
    published = _move(ai_model, allowed, Status.PUBLISHED, "published", **values)
    if was == Status.IN_REVIEW:
        tell_publisher(ai_model=published, kind="published", once=at.isoformat())
    return published


@transaction.atomic
def reject(*, ai_model: AIModel, note: str = "") -> AIModel:
    """Send a model in review back to its publisher, who is told the note by mail. Raises WrongStatus."""
    ai_model = _lock(ai_model)
    values = {"review_note": note[:MAX_NOTE], "reviewed": looked_at(ai_model)}
    rejected = _move(ai_model, (Status.IN_REVIEW,), Status.REJECTED, "rejected", **values)
    edit_url = f"{settings.SITE_URL}{reverse('publish-basics', args=[rejected.pk])}"
    once = clock.now().isoformat()
    tell_publisher(ai_model=rejected, kind="rejected", once=once, note=values["review_note"], edit_url=edit_url)
    return rejected


def looked_at(ai_model: AIModel) -> dict[str, Any]:
    """What of a listing the staff decide on, to be compared with when it comes again."""
    version, price = ai_model.current_version, ai_model.prices.in_force().first()
    facts = {name: value for name, value in _facts(ai_model).items() if name != "status"}
    if version is not None:
        facts |= {"input": version.input_schema, "output": version.output_schema}
    return facts | {"price": asdict(terms_of(price)) if price is not None else None}


@transaction.atomic
def deprecate(*, ai_model: AIModel, sunset_on: date | None = None) -> AIModel:
    """Tell callers to look for another model; calls go on. The gateway mails whoever deployed it.

    sunset_on: the day (UTC) from which it may be gone, which is to come. Raises ValidationFailed, WrongStatus.
    """
    must_be_to_come(sunset_on)
    return _move(ai_model, (Status.PUBLISHED,), Status.DEPRECATED, "deprecated", sunset_on=sunset_on)


@transaction.atomic
def suspend(*, ai_model: AIModel) -> AIModel:
    """Take a model away from everybody, calls included. Raises WrongStatus."""
    return _move(ai_model, LIVE, Status.SUSPENDED, "suspended")


@transaction.atomic
def archive(*, ai_model: AIModel) -> AIModel:
    """Take a model out of the catalogue for good. Raises WrongStatus."""
    return _move(ai_model, (*LIVE, Status.SUSPENDED), Status.ARCHIVED, "archived")


@transaction.atomic
def record_callable(*, ai_model_id: UUID, callable: bool) -> None:
    """Told by the gateway: whether calls of the model have somewhere to go."""
    AIModel.objects.filter(pk=ai_model_id).exclude(is_callable=callable).update(is_callable=callable)


@transaction.atomic
def apply_deployments(*, ai_model_id: UUID, change: int) -> None:
    """Told by the gateway: so many more organizations' deployments of the model there are, or fewer."""
    AIModel.objects.filter(pk=ai_model_id).update(deployment_count=F("deployment_count") + change)


# --- Steps ------------------------------------------------------------------------------------------------------------


def _insert(*, publisher: Organization, name: str, **values: Any) -> AIModel:
    for attempt in range(SLUG_TRIES):
        slug = free_slug(publisher=publisher, name=name)
        try:
            with transaction.atomic():
                return AIModel.objects.create(publisher=publisher, name=name, slug=slug, **values)
        except IntegrityError:
            if attempt == SLUG_TRIES - 1:
                raise
    raise AssertionError("unreachable")


def free_slug(*, publisher: Organization, name: str) -> str:
    """`Aurora 3.5 (beta)` -> `aurora-3.5-beta`; taken, then `aurora-3.5-beta-2`, and so on."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"\.*-[-.]*", "-", re.sub(r"[^a-z0-9.]+", "-", plain))
    base = re.sub(r"\.+", ".", words)[: MAX_SLUG_LENGTH - 6].strip("-.") or "model"
    taken = set(AIModel.objects.filter(publisher=publisher, slug__startswith=base).values_list("slug", flat=True))
    slug, number = base, 2
    while slug in taken:
        slug, number = f"{base}-{number}", number + 1
    return slug


def hold_models(*ids: UUID | None) -> set[UUID]:
    """Lock these models until the transaction ends, and return those that are there.

    Models before what belongs to them: whoever deletes a model locks it, and then all that goes with it.
    """
    held = AIModel.objects.select_for_update(no_key=True).filter(pk__in=[id for id in ids if id is not None])
    return set(held.order_by("pk").values_list("pk", flat=True))


def _lock(ai_model: AIModel) -> AIModel:
    return (
        AIModel.objects.select_for_update(of=("self",))
        .select_related("publisher", "current_version")
        .get(pk=ai_model.pk)
    )


def _move(ai_model: AIModel, before: Sequence[str], after: str, word: str, **values: Any) -> AIModel:
    moved = AIModel.objects.filter(pk=ai_model.pk, status__in=before).update(
        status=after, updated_at=ClockNow(), **values
    )
    fresh: AIModel = AIModel.objects.detailed().get(pk=ai_model.pk)
    if not moved:
        raise _wrong_status(fresh, word)
    _record(f"model.{word}", fresh, before={"status": ai_model.status}, after={"status": fresh.status})
    return fresh


def _record(action: str, ai_model: AIModel, **states: Any) -> None:
    """In the log of the publisher."""
    record(action, target=ai_model, organization_id=ai_model.publisher_id, **states)


def _facts(ai_model: AIModel) -> dict[str, Any]:
    """What an event says of a listing."""
    names = ("name", "slug", "description", "category", "capabilities", "license", "context_tokens", "test_enabled")
    version = ai_model.current_version
    return {name: getattr(ai_model, name) for name in (*names, "status")} | {
        "version": version.version if version is not None else None
    }


def _wrong_status(ai_model: AIModel, word: str) -> WrongStatus:
    return WrongStatus(f"A model in the state {ai_model.status} cannot be {word}.", model_status=ai_model.status)


def _check_ready(ai_model: AIModel) -> None:
    price = ai_model.prices.in_force().first()
    if price is None or (price.type == price.Type.PAID and not price.asks_for_money):
        raise NotReadyToPublish("A paid model needs an amount or a rate: set its pricing, or make it free.")
    if ai_model.current_version_id is None:
        raise NotReadyToPublish("The model has no version.")
