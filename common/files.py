"""Where uploaded files are kept: a folder, or a bucket at a server that speaks S3, as the settings say.

Names are made by us and never by people. Whatever the storage is, what does not answer is a 503.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage

from common.problems import ServiceUnavailable


def is_remote() -> bool:
    """Whether files lie at another server, to which uploads go directly."""
    return bool(settings.MEDIA_S3_BUCKET)


@contextmanager
def _answering() -> Iterator[None]:
    """Raises ServiceUnavailable for all that the storage may fail with, but for a file that is not there."""
    failures: tuple[type[BaseException], ...] = (OSError,)
    if is_remote():
        from common.bucket import FAILURES  # the library of S3 takes a third of a second to import

        failures += FAILURES
    try:
        yield
    except FileNotFoundError:
        raise
    except failures as failure:
        raise ServiceUnavailable("The storage of files does not answer.") from failure


def write(name: str, content: bytes | File[Any]) -> None:
    """Keep a file under this name, in place of one that may be there. Raises ServiceUnavailable."""
    with _answering():
        default_storage.save(name, ContentFile(content) if isinstance(content, bytes) else content)


def read(name: str, *, max_bytes: int) -> bytes:
    """The file, or one byte more than `max_bytes` of a larger one. Raises FileNotFoundError, ServiceUnavailable."""
    with _answering(), default_storage.open(name, "rb") as file:
        content: bytes = file.read(max_bytes + 1)
        return content


def remove(name: str) -> None:
    """Remove the file; none there is as good. Raises ServiceUnavailable."""
    with _answering():
        default_storage.delete(name)


def size_of(name: str) -> int | None:
    """Bytes of the file; None where there is none. Raises ServiceUnavailable."""
    try:
        with _answering():
            return int(default_storage.size(name))
    except FileNotFoundError:
        return None


def presigned_post(name: str, *, media_type: str, size: int, seconds: int) -> tuple[str, dict[str, str]]:
    """Of a remote storage: see `common.bucket.Bucket.presigned_post`. Raises ServiceUnavailable."""
    with _answering():
        storage: Any = default_storage
        found: tuple[str, dict[str, str]] = storage.presigned_post(
            name, media_type=media_type, size=size, seconds=seconds
        )
        return found
