"""What may be sent, and what files are called."""

from __future__ import annotations

import re
import unicodedata

MIB = 1024 * 1024
PICTURES = ("image/png", "image/jpeg", "image/webp")
#: By kind: the types that are taken, the most bytes of one file, and how many a model may have.
TAKEN: dict[str, tuple[str, ...]] = {
    "logo": PICTURES,
    "screenshot": PICTURES,
    "example": (*PICTURES, "application/json", "text/plain", "text/csv", "audio/wav"),
}
MOST_BYTES = {"logo": MIB, "screenshot": 4 * MIB, "example": 6 * MIB}
MOST_FILES = {"logo": 1, "screenshot": 8, "example": 10}
ENDINGS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "application/json": ".json",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "audio/wav": ".wav",
}
#: What else browsers and people call the same.
OTHER_NAMES = {
    "image/jpg": "image/jpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "text/markdown": "text/plain",
    "application/vnd.ms-excel": "text/csv",  # what Windows calls it where Excel is installed
}
_BY_ENDING = {ending: media_type for media_type, ending in ENDINGS.items()} | {
    ".jpeg": "image/jpeg",
    ".md": "text/plain",
    ".log": "text/plain",
}
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)$", re.IGNORECASE)  # what Windows takes for a device
MOST_NAME = 80  # letters


def claimed_type(given: str, name: str) -> str:
    """The type that a browser, or the file's name, says it has. A claim: what it is shows when it is decoded."""
    plain = given.partition(";")[0].strip().lower()
    plain = OTHER_NAMES.get(plain, plain)
    if plain in ENDINGS:
        return plain
    ending = re.search(r"\.\w{1,5}$", name)
    guessed = _BY_ENDING.get(ending[0].lower(), "") if ending and plain in ("", "application/octet-stream") else ""
    return guessed or plain


def safe_name(name: str, media_type: str) -> str:
    """A name without folders, signs that hide something, or an ending other than the type's: `sample.json`."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    stem = last.rpartition(".")[0] or last
    kept = "".join(letter for letter in stem if letter.isalnum() or letter in " -_.()")
    kept = re.sub(r"\.{2,}|\s{2,}", " ", kept).strip(" .-")[:MOST_NAME].strip(" .-")
    if not kept or _RESERVED.match(kept):
        kept = "file"
    return kept + ENDINGS.get(media_type, "")
