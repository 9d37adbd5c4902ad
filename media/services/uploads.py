"""From the wish to send a file until it lies in quarantine, and how it goes again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.core.files.base import File as Content
from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.models import Organization
from common import clock, files
from common.problems import FieldError, NotFound, ValidationFailed
from common.wake import wake
from marketplace.errors import WrongStatus
from marketplace.models import AIModel
from marketplace.services import hold_models, record_logo
from media.errors import NothingArrived, TooManyFiles, UploadEnded
from media.models import File
from media.services.checking import check_files
from media.services.names import MIB, MOST_BYTES, MOST_FILES, TAKEN, claimed_type, safe_name
from media.services.room import hold_quota, require_room
from observability.services import record

UPLOAD_SECONDS = 600
_SIGNER = signing.Signer(salt="media.upload")


class Upload(NamedTuple):
    """Where a file is to be sent: as a form (multipart/form-data) with these fields, and `file` after them."""

    url: str
    fields: dict[str, str]
    expires_at: datetime


@transaction.atomic
def begin(
    *,
    organization: Organization,
    ai_model: AIModel | None,
    kind: str,
    name: str,
    media_type: str,
    size: int,
    alt: str = "",
) -> File:
    """Promise room for a file of exactly so many bytes. Without a model it is the logo of the publisher.

    Raises ValidationFailed, TooManyFiles, QuotaExceeded, WrongStatus.
    """
    media_type = claimed_type(media_type, name)
    _require_fit(ai_model, kind, media_type, size, alt)
    if ai_model is not None:
        if not hold_models(ai_model.pk):
            raise NotFound()
        if ai_model.status == AIModel.Status.ARCHIVED:
            raise WrongStatus("The files of an archived model are gone.", model_status=ai_model.status)
    hold_quota(organization.pk)
    there = File.objects.filter(organization=organization, ai_model=ai_model, kind=kind).exclude(status="refused")
    if kind == File.Kind.LOGO:
        there.filter(status__in=["waiting", "arrived"]).delete()  # the newest is meant
    elif there.count() >= MOST_FILES[kind]:
        raise TooManyFiles(_("At most %(count)s.") % {"count": MOST_FILES[kind]})
    require_room(organization.pk, size)
    made: File = File.objects.create(
        organization=organization,
        ai_model=ai_model,
        kind=kind,
        name=safe_name(name, media_type),
        alt=alt.strip(),
        claimed_type=media_type,
        size=size,
        upload_until=clock.now() + timedelta(seconds=UPLOAD_SECONDS),
    )
    return made


def _require_fit(ai_model: AIModel | None, kind: str, media_type: str, size: int, alt: str) -> None:
    faults: list[FieldError] = []
    if kind not in TAKEN or (ai_model is None and kind != File.Kind.LOGO):
        detail = _("Send one of: %(kinds)s.") % {"kinds": ", ".join(TAKEN if ai_model else ["logo"])}
        raise ValidationFailed(errors=[{"pointer": "/kind", "code": "invalid_choice", "detail": detail}])
    if media_type not in TAKEN[kind]:
        detail = _("Taken are %(types)s.") % {"types": ", ".join(TAKEN[kind])}
        faults.append({"pointer": "/media_type", "code": "type_not_taken", "detail": detail})
    if not 0 < size <= MOST_BYTES[kind]:
        detail = _("Between 1 byte and %(size)s MiB.") % {"size": MOST_BYTES[kind] // MIB}
        faults.append({"pointer": "/size", "code": "too_large" if size > 0 else "empty", "detail": detail})
    if kind == File.Kind.SCREENSHOT and not alt.strip():
        detail = _("Say in a few words what is to be seen, for those who cannot see it.")
        faults.append({"pointer": "/alt", "code": "required", "detail": detail})
    if faults:
        raise ValidationFailed(errors=faults)


def address_of(file: File) -> Upload:
    """Where a promised file is to be sent, and until when: to the storage itself, or to this site where it is a folder.

    Either way exactly the name, the type and the number of bytes that were promised are taken. Raises
    ServiceUnavailable.
    """
    if files.is_remote():
        url, fields = files.presigned_post(
            file.quarantine, media_type=file.claimed_type, size=file.size, seconds=UPLOAD_SECONDS
        )
    else:
        url = f"{settings.SITE_URL}{reverse('api:upload', args=[file.pk])}"
        fields = {"Content-Type": file.claimed_type, "signature": _SIGNER.signature(file.public_id)}
    return Upload(url, fields, file.upload_until)


def take_upload(*, id: UUID, signature: str, media_type: str, content: Content[Any]) -> File:
    """What came to the address of an upload, where the storage is a folder.

    Raises NotFound for a signature that is not ours, UploadEnded, and NothingArrived for another type or size.
    """
    file = File.objects.filter(pk=id).first()
    if file is None or files.is_remote():
        raise NotFound()
    try:
        _SIGNER.unsign(f"{file.public_id}:{signature}")
    except signing.BadSignature:
        raise NotFound() from None
    if file.status != File.Status.WAITING or file.upload_until <= clock.now():
        raise UploadEnded()
    if media_type != file.claimed_type:
        raise NothingArrived(_("It was to be %(type)s.") % {"type": file.claimed_type})
    if content.size != file.size:
        raise NothingArrived(_("It was to have %(size)s bytes.") % {"size": file.size})
    files.write(file.quarantine, content)
    return complete(file=file)


def complete(*, file: File) -> File:
    """Have what was sent checked; again is harmless. Raises NothingArrived, UploadEnded, ServiceUnavailable."""
    if file.status == File.Status.WAITING:
        if file.upload_until <= clock.now():
            raise UploadEnded()
        if files.size_of(file.quarantine) != file.size:
            raise NothingArrived()
        with transaction.atomic():
            arrived = File.objects.filter(pk=file.pk, status=File.Status.WAITING).update(status=File.Status.ARRIVED)
            if arrived:
                _record("model.file_added", file, after={"kind": file.kind, "name": file.name, "bytes": file.size})
                wake(check_files)
    found: File | None = File.objects.filter(pk=file.pk).first()
    if found is None:
        raise NotFound()
    return found


def receive(
    *, organization: Organization, ai_model: AIModel | None, kind: str, content: Content[Any], media_type: str, alt: str
) -> File:
    """A file that came with a form of this site. Raises what `begin` raises, and ServiceUnavailable."""
    file = begin(
        organization=organization,
        ai_model=ai_model,
        kind=kind,
        name=content.name or "",
        media_type=media_type,
        size=content.size,
        alt=alt,
    )
    files.write(file.quarantine, content)
    return complete(file=file)


@transaction.atomic
def remove(*, file: File) -> None:
    """Take a file away. What is stored of it goes with the row, by a trigger and a sweep."""
    if file.ai_model_id is not None:
        hold_models(file.ai_model_id)
    deleted, _of = File.objects.filter(pk=file.pk).delete()
    if not deleted:
        return
    if file.kind == File.Kind.LOGO and file.status == File.Status.READY and file.ai_model_id is not None:
        record_logo(ai_model_id=file.ai_model_id, logo=None)
    _record("model.file_removed", file, before={"kind": file.kind, "name": file.name, "bytes": file.size})


def _record(action: str, file: File, **states: Any) -> None:
    """In the log of the publisher, about the model; about the organization where it is its own logo."""
    target = ("aimodel", file.ai_model_id) if file.ai_model_id else ("organization", file.organization_id)
    record(action, target_type=target[0], target_id=target[1], organization_id=file.organization_id, **states)
