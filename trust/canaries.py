"""Secrets that can be told again wherever they turn up, and the search for them."""

from __future__ import annotations

import base64
import contextlib
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

MIN_HALF = 16  # letters of chance in half a secret, below which a find could be one


@dataclass(frozen=True)
class Secret:
    """`core`: the letters of `text` that are chance; the rest tells what it is, and may be known.

    mailed_to: the address whose mails hold it. A code is short enough to be typed, and to come about by chance: it is
    looked for as a word of its own alone.
    """

    name: str
    text: str
    core: str = ""
    mailed_to: str = ""
    is_code: bool = False

    @cached_property
    def traces(self) -> tuple[bytes, ...]:
        """It, half of it, and both as dumps and encodings show them."""
        core = self.core or self.text
        half = len(core) // 2
        parts = [core, core[:half], core[half:]] if half >= MIN_HALF else [core]
        found = [trace for part in parts for trace in _shapes(part)]
        return tuple(dict.fromkeys(found))

    def find_in(self, text: bytes) -> int:
        """Where it stands; -1 if it does not."""
        if self.is_code:
            found = re.search(rb"(?<![0-9A-Za-z])" + re.escape(self.text.encode()) + rb"(?![0-9A-Za-z])", text)
            return found.start() if found else -1
        return max((text.find(trace) for trace in self.traces), default=-1)


def _shapes(part: str) -> Iterator[bytes]:
    raw = part.encode()
    yield raw
    yield quote(part, safe="").encode()
    yield raw.hex().encode()
    for shift in range(3):  # of a text that begins anywhere in what was encoded
        encoded = base64.b64encode(b"\0" * shift + raw)[(0, 2, 3)[shift] : -4]
        yield encoded
        yield encoded.translate(bytes.maketrans(b"+/", b"-_"))


def key_secrets(name: str, value: str) -> Iterator[Secret]:
    """Of a setting `id:base64url,id:base64url`: each key as it is written, and as the bytes it stands for."""
    for item in value.split(","):
        encoded = item.partition(":")[2]
        yield Secret(name, encoded)
        raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        yield Secret(f"{name} in hexadecimal", raw.hex())


def api_key(name: str, text: str) -> Secret:
    """The site may show its first four random letters and the last four, and does."""
    return Secret(name, text, core=text[13:-6])


def token(name: str, text: str) -> Secret:
    """A JSON Web Token: who has its last part can make the others."""
    return Secret(name, text, core=text.rpartition(".")[2])


def search(secrets: list[Secret], places: Mapping[str, bytes]) -> Iterator[tuple[Secret, str, str]]:
    """Which secret stands where, and what stands around it."""
    for where, text in places.items():
        for secret in secrets:
            if (at := secret.find_in(text)) >= 0:
                yield secret, where, around(text, at, secrets)


def peel(text: bytes, layers: int = 2) -> bytes:
    """What is encoded or compressed in it, layer by layer."""
    found = []
    for run in re.findall(rb"[A-Za-z0-9+/_-]{40,}", text):
        decoded = base64.b64decode(
            run[: len(run) - (len(run) % 4 == 1)] + b"==", altchars=b"-_" if b"-" in run or b"_" in run else None
        )
        with contextlib.suppress(zlib.error):
            decoded += zlib.decompress(decoded)
        found.append(decoded)
    inner = b"\n".join(found)
    return inner + peel(inner, layers - 1) if layers > 1 and inner else inner


def around(text: bytes, at: int, secrets: list[Secret]) -> str:
    """The neighbourhood of a find, without secrets."""
    shown = text[max(0, at - 90) : at + 300]
    for secret in secrets:
        for trace in (secret.text.encode(), *secret.traces):
            shown = shown.replace(trace, b"<SECRET>")
    return " ".join(shown[:200].decode(errors="replace").split())
