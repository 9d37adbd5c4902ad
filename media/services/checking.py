"""From quarantine to the page: each file is looked into, written anew, and only then shown. What goes is swept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import structlog
from django.db import transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from common import clock, files
from common.problems import Problem
from marketplace.services import hold_models, record_logo
from media.errors import QuotaExceeded
from media.models import MOST_TRIES, File
from media.services.decoding import Checked, Decoder
from media.services.room import due_removals, forget_removals, hold_quota, keep, note_removals, require_room

logger = structlog.get_logger(__name__)

BATCH = 50
LEASE = timedelta(minutes=2)
REFUSED_KEPT = timedelta(days=1)  # for its publisher to read why
ORPHAN_SECONDS = 600  # after which parts are removed whose check never came to its end

#: Why a file is refused, in words.
REASONS: Mapping[str, Promise] = {
    "not_what_it_says": _("Its contents are not of the type that was said, or broken."),
    "too_many_pixels": _("It has too many pixels: at most 9 million, and 4 million for WebP."),
    "too_hard": _("It could not be read with the time and memory there is for one file."),
    "not_a_picture": _("It is no picture."),
    "type_not_taken": _("Files of this type are not taken."),
    "empty": _("There is nothing in it."),
    "no_room": _("What is kept of it is larger than the room that is left."),
    "gone": _("It was not there any more when it was to be checked."),
}


def check_files(*, limit: int = BATCH) -> int:
    """Check what has arrived. Returns how many. No transaction is open while one is looked into."""
    done = 0
    with Decoder() as decoder:
        while done < limit and (file := _claim()) is not None:
            try:
                _check(file, decoder)
            except Problem as problem:  # the storage is away: the lease ends, and it is tried again
                logger.warning("a file could not be checked", file=file.public_id, why=problem.code)
                break
            done += 1
    return done


@transaction.atomic(durable=True)
def _claim() -> File | None:
    found: File | None = File.objects.all().to_check().select_for_update(skip_locked=True).first()
    if found is not None:
        found.tries, found.leased_until = found.tries + 1, clock.now() + LEASE
        found.save(update_fields=["tries", "leased_until"])
    return found


def _check(file: File, decoder: Decoder) -> None:
    if file.tries > MOST_TRIES:
        _refuse(file, "too_hard")
        return
    try:
        raw = files.read(file.quarantine, max_bytes=file.size)
    except FileNotFoundError:
        _refuse(file, "gone")
        return
    if len(raw) != file.size:
        _refuse(file, "not_what_it_says")
        return
    found = decoder.check(file.kind, file.claimed_type, raw)
    if found.refused:
        _refuse(file, found.refused)
        return
    # A try has a folder of its own, which is removed again unless this try is the one that comes to its end.
    folder = f"files/{file.pk}/{file.tries}"
    names = [f"{folder}/{part}" for part, _content in found.parts]
    with transaction.atomic(durable=True):
        note_removals(names, seconds=ORPHAN_SECONDS)
    for name, (_part, content) in zip(names, found.parts, strict=True):
        files.write(name, content)
    _show(file, found, folder, names)


@transaction.atomic
def _show(file: File, found: Checked, folder: str, names: list[str]) -> None:
    """Unless it was removed meanwhile, or another worker has it."""
    if file.ai_model_id is not None:
        hold_models(file.ai_model_id)
    hold_quota(file.organization_id)
    mine = File.objects.filter(pk=file.pk, status=File.Status.ARRIVED, tries=file.tries).select_for_update()
    if not mine.exists():
        return
    try:
        require_room(file.organization_id, found.size - file.size)
    except QuotaExceeded:
        _end(file, "no_room")
        return
    if file.kind == File.Kind.LOGO:
        others = File.objects.filter(organization=file.organization_id, ai_model=file.ai_model_id)
        others.filter(kind=File.Kind.LOGO, status=File.Status.READY).delete()
        if file.ai_model_id is not None:
            record_logo(ai_model_id=file.ai_model_id, logo=file.pk)
    File.objects.filter(pk=file.pk).update(
        status=File.Status.READY,
        media_type=found.media_type,
        size=found.size,
        width=found.width,
        height=found.height,
        parts=[part for part, _content in found.parts],
        stored_as=folder,
        ready_at=clock.now(),
        leased_until=None,
    )
    keep(names)
    _empty_quarantine(file)


@transaction.atomic
def _refuse(file: File, code: str) -> None:
    _end(file, code)


def _end(file: File, code: str) -> None:
    mine = File.objects.filter(pk=file.pk, status=File.Status.ARRIVED, tries=file.tries)
    if mine.update(status=File.Status.REFUSED, refusal=code, size=0, leased_until=None):
        _empty_quarantine(file)


def _empty_quarantine(file: File) -> None:
    """Now; and once more when its address takes nothing any more, for what is sent there again until then."""
    note_removals([file.quarantine])
    seconds = (file.upload_until - clock.now()).total_seconds()
    if files.is_remote() and seconds > 0:
        note_removals([file.quarantine], seconds=int(seconds) + 60)


def sweep_files(*, limit: int = 500) -> int:
    """Forget uploads that never came, refusals that were read, and files of archived models; then remove what is due
    from the storage. Returns how many names were removed. Repeating it is harmless.
    """
    with transaction.atomic():
        File.objects.all().overdue().delete()
        File.objects.filter(status=File.Status.REFUSED, upload_until__lte=clock.now() - REFUSED_KEPT).delete()
        File.objects.filter(ai_model__status="archived").delete()
    removed = 0
    while removed < limit:
        with transaction.atomic(durable=True):
            due = due_removals(BATCH)
            try:
                for _id, name in due:
                    files.remove(name)
            except Problem as problem:
                logger.warning("files could not be removed", why=problem.code)
                return removed
            forget_removals([id for id, _name in due])
        removed += len(due)
        if len(due) < BATCH:
            break
    return removed
