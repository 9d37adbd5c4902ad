"""Which language a text is in: py3langid's naive Bayes model over byte patterns, 139 languages."""

from __future__ import annotations

import lzma
import mmap
import os
import shutil
import struct
import tempfile
import threading
import zipfile
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    from py3langid.langid import LanguageIdentifier

UNDETERMINED = "und"

NAMES = {
    "ace": "Acehnese", "af": "Afrikaans", "am": "Amharic", "an": "Aragonese", "ar": "Arabic", "ary": "Moroccan Arabic",
    "arz": "Egyptian Arabic", "as": "Assamese", "az": "Azerbaijani", "ba": "Bashkir", "bcl": "Central Bikol",
    "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali", "br": "Breton", "bs": "Bosnian", "ca": "Catalan",
    "crh": "Crimean Tatar", "cs": "Czech", "cy": "Welsh", "da": "Danish", "de": "German", "dz": "Dzongkha",
    "el": "Greek", "en": "English", "eo": "Esperanto", "es": "Spanish", "et": "Estonian", "eu": "Basque",
    "ext": "Extremaduran", "fa": "Persian", "fi": "Finnish", "fo": "Faroese", "fr": "French",
    "fuv": "Nigerian Fulfulde", "fy": "Western Frisian", "ga": "Irish", "gcf": "Guadeloupean Creole",
    "gcr": "Guianese Creole", "gd": "Scottish Gaelic", "gl": "Galician", "gom": "Goan Konkani",
    "grc": "Ancient Greek", "gu": "Gujarati", "gug": "Paraguayan Guaraní", "guw": "Gun", "ha": "Hausa",
    "hbo": "Ancient Hebrew", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "ht": "Haitian Creole",
    "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "ig": "Igbo", "is": "Icelandic", "it": "Italian",
    "ja": "Japanese", "jv": "Javanese", "ka": "Georgian", "kab": "Kabyle", "kik": "Kikuyu", "kk": "Kazakh",
    "km": "Khmer", "kn": "Kannada", "ko": "Korean", "ku": "Kurdish", "ky": "Kyrgyz", "la": "Latin",
    "lb": "Luxembourgish", "lg": "Ganda", "lij": "Ligurian", "ln": "Lingala", "lo": "Lao", "lt": "Lithuanian",
    "ltg": "Latgalian", "lv": "Latvian", "mg": "Malagasy", "mk": "Macedonian", "ml": "Malayalam", "mn": "Mongolian",
    "mr": "Marathi", "ms": "Malay", "mt": "Maltese", "my": "Burmese", "ne": "Nepali", "nl": "Dutch",
    "nn": "Norwegian Nynorsk", "no": "Norwegian", "nso": "Northern Sotho", "oc": "Occitan", "om": "Oromo",
    "or": "Odia", "pa": "Punjabi", "pcm": "Nigerian Pidgin", "pl": "Polish", "ps": "Pashto", "pt": "Portuguese",
    "qu": "Quechua", "ro": "Romanian", "ru": "Russian", "rw": "Kinyarwanda", "sa": "Sanskrit",
    "sdh": "Southern Kurdish", "se": "Northern Sami", "si": "Sinhala", "sk": "Slovak", "sl": "Slovenian",
    "sn": "Shona", "so": "Somali", "sq": "Albanian", "sr": "Serbian", "st": "Southern Sotho", "sv": "Swedish",
    "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "tg": "Tajik", "th": "Thai", "tk": "Turkmen", "tl": "Tagalog",
    "tr": "Turkish", "tt": "Tatar", "ug": "Uyghur", "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek",
    "uzs": "Southern Uzbek", "vec": "Venetian", "vi": "Vietnamese", "vo": "Volapük", "wa": "Walloon",
    "wuu": "Wu Chinese", "xh": "Xhosa", "yo": "Yoruba", "yue": "Cantonese", "zh": "Chinese", "zu": "Zulu",
    "zxx": "No linguistic content", UNDETERMINED: "Undetermined",
}  # fmt: skip

_loading = threading.Lock()
_identifier: LanguageIdentifier | None = None


def identify(text: str) -> dict[str, object]:
    """`language` is an ISO 639 code, `und` for text without a letter; `confidence` from 0 to 1."""
    if not any(character.isalpha() for character in text):
        return {"language": UNDETERMINED, "name": NAMES[UNDETERMINED], "confidence": 0.0}
    code, confidence = load().classify(text)
    return {"language": code, "name": NAMES.get(code, code), "confidence": round(confidence, 4)}


def is_loaded() -> bool:
    return _identifier is not None


def load() -> LanguageIdentifier:
    """The model, read once, about half a second.

    py3langid keeps 70 MB of tables on the heap. They are the same here, but stay in an unlinked temporary file that is
    mapped, so that only the pages a text touches count.
    """
    global _identifier
    with _loading:
        if _identifier is None:
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its buffers, one for each thread, would cost more
            from py3langid import langid

            tables = _map_tables(langid.MODEL_DIR / langid.MODEL_FILE)
            _identifier = langid.LanguageIdentifier(
                tables["ptc"],
                tables["pc"],
                tables["classes"].tolist(),
                _plain(tables["nextmove"]),
                _plain(tables["out_feat"]),
                norm_probs=True,
                tk_row=_plain(tables["nextmove_row"]),
            )
    return _identifier


def _map_tables(path: os.PathLike[str]) -> dict[str, numpy.ndarray[Any, Any]]:
    """The arrays of an LZMA-packed `.npz`, mapped from a temporary file."""
    import numpy

    tables = {}
    with tempfile.TemporaryFile() as file:
        with lzma.open(path) as packed:
            shutil.copyfileobj(packed, file, 1 << 14)  # larger writes make large pages, and each would be mapped whole
        file.flush()
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        for member in zipfile.ZipFile(file).infolist():
            shape, dtype, offset = _array_header(file, member)
            table = numpy.frombuffer(pages, dtype, count=int(numpy.prod(shape)), offset=offset)
            tables[member.filename.removesuffix(".npy")] = table.reshape(shape)
    return tables


def _array_header(file: IO[bytes], member: zipfile.ZipInfo) -> tuple[tuple[int, ...], numpy.dtype[Any], int]:
    """Shape, type and position of an array that is stored unpacked in a zip file."""
    from numpy.lib import format as npy

    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is packed and cannot be mapped")
    file.seek(member.header_offset + 26)  # of the local header: lengths of the name and of the extra field
    name_length, extra_length = struct.unpack("<HH", file.read(4))
    file.seek(name_length + extra_length, os.SEEK_CUR)
    npy.read_magic(file)
    shape, _, dtype = npy.read_array_header_1_0(file)
    return shape, dtype, file.tell()


def _plain(table: numpy.ndarray[Any, Any]) -> memoryview:
    """Without numpy's cost for each element: the model walks byte by byte."""
    return table.data.cast("B").cast(table.dtype.char)
