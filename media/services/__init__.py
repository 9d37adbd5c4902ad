"""What changes uploaded files."""

from media.services.checking import REASONS, check_files, sweep_files
from media.services.names import ENDINGS, MOST_BYTES, MOST_FILES, TAKEN
from media.services.room import most_bytes
from media.services.uploads import Upload, address_of, begin, complete, receive, remove, take_upload

__all__ = [
    "ENDINGS",
    "MOST_BYTES",
    "MOST_FILES",
    "REASONS",
    "TAKEN",
    "Upload",
    "address_of",
    "begin",
    "check_files",
    "complete",
    "most_bytes",
    "receive",
    "remove",
    "sweep_files",
    "take_upload",
]
