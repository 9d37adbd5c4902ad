"""A process of its own that looks into what strangers sent, and writes it anew. A script; imports nothing of ours.

It reads one request after the other: a line of JSON, `{"kind", "type", "bytes"}`, and so many bytes. It answers with
a line, `{"type", "width", "height", "parts": [[name, bytes], …]}` or `{"refused": code}`, and the bytes of the parts.
What it may take of the machine is limited from the start; whoever feeds it ends it when it takes too long.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import unicodedata
import wave
from typing import Any

from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

#: Address space, in bytes: 128 MiB beyond what it starts with. What is larger fails here, and not on the machine.
MOST_MEMORY = 160 * 1024 * 1024
#: The most picture elements of each type. Decoding WebP holds every one four times.
MOST_PIXELS = {"image/png": 9_000_000, "image/jpeg": 9_000_000, "image/webp": 4_200_000}
LONGEST_SIDE = 10_000
PLUGINS = {"image/png": PngImagePlugin, "image/jpeg": JpegImagePlugin, "image/webp": WebPImagePlugin}
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
#: Widths that are made of a picture, in pixels; a logo is a square of each, a screenshot is never made larger.
LOGO_SIDES = (64, 128, 256)
SCREENSHOT_WIDTHS = (480, 960, 1920)
TEXTS = ("application/json", "text/plain", "text/csv")
ALLOWED_CONTROLS = "\t\n\r"
WAVE_FRAMES = 65_536

Found = dict[str, Any]
Parts = list[tuple[str, bytes]]


class Refused(Exception):
    """The code says why; see `media.services.checking.REASONS`."""


def look(kind: str, media_type: str, raw: bytes) -> tuple[Found, Parts]:
    """What the file is, and the file as it is kept. Raises Refused; may raise anything where a decoder gives up."""
    if media_type in FORMATS:
        return _picture(kind, media_type, raw)
    if kind != "example":
        raise Refused("not_a_picture")
    if media_type == "audio/wav":
        return {"type": media_type}, [("file", _sound(raw))]
    if media_type in TEXTS:
        return {"type": media_type}, [("file", _text(media_type, raw))]
    raise Refused("type_not_taken")


def _picture(kind: str, media_type: str, raw: bytes) -> tuple[Found, Parts]:
    """Only this type's own decoder ever sees it, and only once its header promises few enough pixels."""
    try:
        image = Image.open(io.BytesIO(raw), formats=[FORMATS[media_type]])
    except Image.DecompressionBombError as error:
        raise Refused("too_many_pixels") from error
    except Image.UnidentifiedImageError as error:
        raise Refused("not_what_it_says") from error
    width, height = image.size
    if width * height > MOST_PIXELS[media_type] or max(width, height) > LONGEST_SIDE:
        raise Refused("too_many_pixels")
    if media_type == "image/jpeg" and kind != "example":
        image.draft("RGB", (SCREENSHOT_WIDTHS[-1], SCREENSHOT_WIDTHS[-1]))
    try:
        image.load()
        drawn = _upright(image)
        del image
    except MemoryError as error:
        raise Refused("too_many_pixels") from error
    found = {"type": "image/webp", "width": drawn.width, "height": drawn.height}
    if kind == "logo":
        return found, [(f"{side}.webp", _written(_square(drawn, side), "WEBP")) for side in LOGO_SIDES]
    if kind == "screenshot":
        widths = [width for width in SCREENSHOT_WIDTHS if width < drawn.width]
        largest = min(drawn.width, SCREENSHOT_WIDTHS[-1])
        sizes = sorted({*widths, largest})
        return found, [(f"{width}.webp", _written(_scaled(drawn, width), "WEBP")) for width in sizes]
    return found | {"type": media_type}, [("file", _written(drawn, FORMATS[media_type]))]


def _upright(image: Image.Image) -> Image.Image:
    """The first picture in it, turned as its EXIF says, in RGB or RGBA, with nothing else of what came."""
    try:
        turned = ImageOps.exif_transpose(image) or image
    except MemoryError:
        raise
    except Exception:  # an EXIF block that cannot be read says nothing
        turned = image
    del image
    has_alpha = turned.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in turned.info
    mode = "RGBA" if has_alpha else "RGB"
    plain = turned if turned.mode == mode else turned.convert(mode)
    plain.info = {}  # from which the encoders take what they are not told
    return plain


def _square(image: Image.Image, side: int) -> Image.Image:
    fitted = ImageOps.contain(image, (side, side))
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(fitted, ((side - fitted.width) // 2, (side - fitted.height) // 2))
    return canvas


def _scaled(image: Image.Image, width: int) -> Image.Image:
    if width == image.width:
        return image
    return image.resize((width, max(1, round(image.height * width / image.width))), reducing_gap=2.0)


def _written(image: Image.Image, format: str) -> bytes:
    out = io.BytesIO()
    if format == "JPEG":
        image.convert("RGB").save(out, "JPEG", quality=90, optimize=False)
    elif format == "PNG":
        image.save(out, "PNG", compress_level=3)
    else:
        image.save(out, "WEBP", quality=84, method=3)
    return out.getvalue()


def _sound(raw: bytes) -> bytes:
    """The same PCM, in a file with nothing beside it. Raises Refused."""
    out = io.BytesIO()
    try:
        with wave.open(io.BytesIO(raw), "rb") as source, wave.open(out, "wb") as target:
            target.setnchannels(source.getnchannels())
            target.setsampwidth(source.getsampwidth())
            target.setframerate(source.getframerate())
            if not 0 < source.getnframes() <= len(raw):
                raise Refused("not_what_it_says")
            while frames := source.readframes(WAVE_FRAMES):
                target.writeframes(frames)
    except (wave.Error, EOFError) as error:
        raise Refused("not_what_it_says") from error
    return out.getvalue()


def _text(media_type: str, raw: bytes) -> bytes:
    """Text in UTF-8 without control characters, and JSON that is JSON. Raises Refused."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused("not_what_it_says") from error
    if any(unicodedata.category(letter) == "Cc" and letter not in ALLOWED_CONTROLS for letter in set(text)):
        raise Refused("not_what_it_says")
    if media_type == "application/json":
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused("not_what_it_says") from error
    if not text.strip():
        raise Refused("empty")
    return text.encode()


def _serve() -> None:
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        asked = json.loads(line)
        raw = source.read(asked["bytes"])
        parts: Parts = []
        try:
            found, parts = look(asked["kind"], asked["type"], raw)
        except Refused as refused:
            found = {"refused": str(refused)}
        except MemoryError:
            found = {"refused": "too_many_pixels"}
        except Exception:  # whatever a decoder says of a file that is broken
            found = {"refused": "not_what_it_says"}
        told = found | {"parts": [(name, len(content)) for name, content in parts]}
        target.write(json.dumps(told).encode() + b"\n")
        for _name, content in parts:
            target.write(content)
        target.flush()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    Image.MAX_IMAGE_PIXELS = max(MOST_PIXELS.values())
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    PngImagePlugin.MAX_TEXT_CHUNK = 64 * 1024
    PngImagePlugin.MAX_TEXT_MEMORY = 256 * 1024
    Image.preinit = Image.init = lambda: True  # type: ignore[assignment]  # no decoder beside the three is loaded


if __name__ == "__main__":
    _limit()
    _serve()
