"""What an organization's files may take together, and names that are to be removed from the storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext as _

from accounts.models import Organization
from media.errors import QuotaExceeded
from media.models import File
from media.services.names import MIB


def most_bytes() -> int:
    """What the files of one organization may take together."""
    return int(settings.MEDIA_QUOTA_MIB) * MIB


def hold_quota(organization_id: UUID) -> None:
    """Until the transaction ends, nobody else counts or takes room of this organization."""
    Organization.objects.select_for_update(no_key=True).get(pk=organization_id)


def require_room(organization_id: UUID, size: int) -> None:
    """Raises QuotaExceeded. To be called with the quota held."""
    left = max(0, most_bytes() - File.objects.all().taken(organization_id))
    if size > left:
        detail = _("%(left)s of %(all)s bytes are left.") % {"left": left, "all": most_bytes()}
        raise QuotaExceeded(detail, left_bytes=left, quota_bytes=most_bytes())


def note_removals(names: Iterable[str], *, seconds: int = 0) -> None:
    """Have these names removed from the storage, not before so many seconds have gone."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO media_removal (name, due_at) VALUES (%s, clock_now() + make_interval(secs => %s))",
            [(name, seconds) for name in names],
        )


def keep(names: Iterable[str]) -> None:
    """Take back what `note_removals` has asked for these names."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM media_removal WHERE name = ANY(%s)", [list(names)])


def due_removals(limit: int) -> Sequence[tuple[int, str]]:
    """Ids and names that are to be removed now; locked, and left out where another worker has them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, name FROM media_removal WHERE due_at <= clock_now() ORDER BY due_at LIMIT %s"
            " FOR UPDATE SKIP LOCKED",
            [limit],
        )
        found: Sequence[tuple[int, str]] = cursor.fetchall()
        return found


def forget_removals(ids: Iterable[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM media_removal WHERE id = ANY(%s)", [list(ids)])
