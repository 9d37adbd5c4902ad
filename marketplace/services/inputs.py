"""A model's input from a sent form. Whether it fits the schema is asked afterwards, by the schema."""

from __future__ import annotations

import base64
import mimetypes
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any, Protocol

from django.utils.translation import gettext as _

from common import jsonsafe
from common.problems import FieldError, escape_pointer
from marketplace.services.controls import PREFIX, SYSTEM, WHOLE
from marketplace.services.forms import TEXTS, Property, properties_of
from marketplace.services.schemas import Schema

MAX_JSON_BYTES = 256 * 1024
MAX_FILE_BYTES = 4 * 1024 * 1024
MEGABYTE = 1024 * 1024
MEDIA_TYPE = re.compile(r"[\w.+-]{1,80}/[\w.+-]{1,80}", re.ASCII)
NUMBER = re.compile(r"[-+]?(\d{1,64}\.?\d{0,64}|\.\d{1,64})([eE][-+]?\d{1,4})?", re.ASCII)


class Upload(Protocol):
    """A file that was sent, as Django gives it."""

    name: str | None
    size: int | None
    content_type: str | None

    def read(self) -> bytes: ...


class Unreadable(ValueError):
    """What cannot be made a value of."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


def input_of_form(
    schema: Schema, values: Mapping[str, str], files: Mapping[str, Upload] | None = None
) -> tuple[dict[str, Any], list[FieldError]]:
    """The input that a sent form describes, and what in it cannot be read.

    A control left empty is left out, unless the property is required: then it is an empty text or list, or null.
    """
    rows = properties_of(schema)
    if rows is None:
        try:
            body = read_json(values.get(WHOLE, ""))
        except Unreadable as error:
            return {}, [{"pointer": "", "code": error.code, "detail": error.detail}]
        if isinstance(body, dict):
            return body, []
        return {}, [{"pointer": "", "code": "invalid", "detail": _("The input is a JSON object: { … }.")}]
    found: dict[str, Any] = {}
    faults: list[FieldError] = []
    for row in rows:
        try:
            if (value := _value(row, values, files or {})) is not _NOTHING:
                found[row.name] = value
        except Unreadable as error:
            faults.append({"pointer": f"/{escape_pointer(row.name)}", "code": error.code, "detail": error.detail})
    return found, faults


_NOTHING: Any = object()


def _value(row: Property, values: Mapping[str, str], files: Mapping[str, Upload]) -> Any:
    text = values.get(PREFIX + row.name, "").replace("\r\n", "\n")
    if "\0" in text:
        raise Unreadable("nul", _("NUL characters are not allowed."))
    match row.kind:
        case "fixed":
            return row.options[0]
        case "boolean":
            return bool(text) if text or row.required or row.schema.get("default") is True else _NOTHING
        case "message":
            return _messages(row, text, values.get(SYSTEM, "").replace("\r\n", "\n"))
        case "file":
            upload = files.get(PREFIX + row.name)
            return _file(row.schema, upload) if upload is not None else _nothing(row)
    if not text.strip():
        return _nothing(row)
    if row.kind in TEXTS:
        return text
    if row.kind == "lines":
        return [line for line in text.split("\n") if line.strip()]
    if row.kind in ("number", "integer"):
        return _number(text.strip())
    return read_json(text)


def _nothing(row: Property) -> Any:
    """What an empty control stands for."""
    if not row.required:
        return _NOTHING
    if row.is_nullable:
        return None
    if row.kind == "lines":
        return []
    return "" if row.kind in TEXTS else _NOTHING


def _messages(row: Property, text: str, system: str) -> list[dict[str, str]]:
    if "\0" in system:
        raise Unreadable("nul", _("NUL characters are not allowed."))
    if not text.strip():
        raise Unreadable("required", _("This field is required."))
    spoken = [{"role": "user", "content": text}]
    if row.has_system and system.strip():
        spoken.insert(0, {"role": "system", "content": system})
    return spoken


def _number(text: str) -> int | float:
    if not NUMBER.fullmatch(text):
        raise Unreadable("invalid_json", _("Enter a number."))
    if re.fullmatch("[-+]?[0-9]+", text):
        return int(text)
    value = float(text)
    if not isfinite(value):
        raise Unreadable("number_out_of_range", _("Enter a number."))
    return value


def read_json(text: str) -> Any:
    """A JSON text from a person. Raises Unreadable."""
    try:
        return jsonsafe.loads(text.encode("utf-8", "surrogatepass"), max_bytes=MAX_JSON_BYTES)
    except jsonsafe.UnsafeJSON as error:
        raise Unreadable(error.code, _("This is not JSON: {}").format(error.detail)) from None


def _file(schema: Schema, upload: Upload) -> str:
    """A file as the text that the schema wants. Raises Unreadable for one that is too large or of another type."""
    size = upload.size or 0
    if size > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // MEGABYTE
        raise Unreadable("too_large", _("The file is larger than {} MB.").format(limit))
    declared = (upload.content_type or "").partition(";")[0].strip().lower()
    if declared in ("", "application/octet-stream"):
        declared = mimetypes.guess_type(upload.name or "")[0] or "application/octet-stream"
    wanted = str(schema.get("contentMediaType") or "*").partition(";")[0].strip().lower()
    if not fnmatchcase(declared, wanted):
        raise Unreadable("media_type", _("Choose a file of type {}; this one is {}.").format(wanted, declared))
    text = base64.b64encode(upload.read()).decode()
    if schema.get("format") in ("data-url", "data-uri"):
        kind = declared if MEDIA_TYPE.fullmatch(declared) else "application/octet-stream"
        return f"data:{kind};base64,{text}"
    return text
