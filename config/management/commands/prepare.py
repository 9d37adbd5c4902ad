import fcntl
import hashlib
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand

UNUSED = ["redoc"]  # the other reader of API documents in drf-spectacular's package


class Command(BaseCommand):
    help = "Bring the database, the static files and the demo in step with the code, in one process. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        self.tell("Migrating the database")
        call_command("migrate", verbosity=0)
        self.collect_static_files()
        self.tell("Filling the demo")
        call_command("seed_demo", verbosity=0)

    def collect_static_files(self) -> None:
        """Only when one of them changed: hashing and compressing all of them takes a while. One process at a time."""
        root = Path(settings.STATIC_ROOT)
        root.parent.mkdir(parents=True, exist_ok=True)
        note = root / ".made-from"
        digest = _sources_digest()
        with root.with_name(f".{root.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if note.is_file() and note.read_text() == digest:
                return
            self.tell("Collecting static files")
            call_command("collectstatic", interactive=False, clear=True, ignore_patterns=UNUSED, verbosity=0)
            note.write_text(digest)

    def tell(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _sources_digest() -> str:
    digest = hashlib.sha256(repr(settings.STORAGES["staticfiles"]).encode())
    for finder in get_finders():
        for path, storage in sorted(finder.list(UNUSED), key=lambda found: found[0]):
            found = Path(storage.path(path)).stat()
            digest.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()
