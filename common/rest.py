"""The REST surface: safe JSON in and out, strict serializers, and the `APIView` that every endpoint derives from.

class Things(APIView):
    query = {"GET": ThingsQuery}

    def post(self, request: Request) -> Response:
        values = self.read(ThingIn)
        thing = services.make_thing(actor=self.actor, **values)
        return Response(ThingOut(thing).data, status=201)
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from difflib import get_close_matches
from typing import Any, ClassVar, NoReturn, cast
from uuid import UUID

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, QueryDict
from django.http.request import RawPostDataException
from rest_framework import renderers, serializers, views
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from common import ids, jsonsafe, limiter, limits, money
from common.limiter import Decision, headers_of
from common.policy import Actor, PolicyPermission, actor_of
from common.problems import (
    FieldError,
    InvalidJSON,
    InvalidParameter,
    LengthRequired,
    MethodNotAllowed,
    PayloadTooLarge,
    Problem,
    ValidationFailed,
    flatten,
)

MAX_BODY_BYTES = 1024 * 1024
MIN_BIGINT, MAX_BIGINT = -(2**63), 2**63 - 1


# --- JSON in and out ---


class SafeJSONParser(BaseParser):
    """Reads at most the view's `max_body_bytes` and refuses what JSON allows but nobody may store."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        view = (parser_context or {}).get("view")
        raw = read_body(stream, getattr(view, "max_body_bytes", MAX_BODY_BYTES))
        try:
            return jsonsafe.loads(raw, max_bytes=len(raw))
        except jsonsafe.UnsafeJSON as error:
            fault: FieldError = {"pointer": error.pointer, "code": error.code, "detail": error.detail}
            raise InvalidJSON(error.detail, errors=[fault]) from error


def read_body(stream: Any, max_bytes: int) -> bytes:
    """At most `max_bytes` of a request or stream; raises PayloadTooLarge, where possible before reading."""
    announced = stream.META.get("CONTENT_LENGTH", "") if isinstance(stream, HttpRequest) else ""
    if not (announced.isdigit() and int(announced) > max_bytes):
        raw: bytes = stream.read(max_bytes + 1)
        if len(raw) <= max_bytes:
            return raw
    raise PayloadTooLarge(f"The body may have at most {max_bytes:,} bytes.", max_bytes=max_bytes)


class JSONRenderer(renderers.JSONRenderer):
    """UTF-8 and compact. No browsable API, no second representation."""

    charset = None
    ensure_ascii = False


class Negotiation(DefaultContentNegotiation):
    """By `Accept` alone: `format` is an ordinary parameter here, which an endpoint may declare."""

    settings = cast(Any, type("NoOverride", (), {"URL_FORMAT_OVERRIDE": None}))


# --- Serializers ---


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that a typing error most likely meant."""
    found = get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return found[0] if found else None


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """One sentence about an unknown field or parameter, naming the nearest valid one or all of them."""
    shown = name if len(name) <= 60 else f"{name[:60]}…"
    valid = sorted(known)
    if (meant := nearest(name, valid)) is not None:
        return f"There is no {kind} “{shown}”. Did you mean “{meant}”?"
    return f"There is no {kind} “{shown}”. " + (
        f"Valid: {', '.join(valid)}." if valid else f"No {kind} is accepted here."
    )


class Serializer(serializers.Serializer[Any]):
    """For input: a name that is not a writable field is an error. For output: only what is declared leaves."""

    default_error_messages = {"invalid": "Send an object, not {datatype}."}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            message = self.error_messages["invalid"].format(datatype=json_type(data))
            raise serializers.ValidationError({"non_field_errors": [message]}, code="invalid")
        known = [str(field.field_name) for field in self._writable_fields]
        faults: dict[str, Any] = {}
        for name in data:
            if name not in known:
                message = unknown_name("field", str(name), known)
                faults[name] = [serializers.ErrorDetail(message, code="unknown_field")]
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({**cast(dict[str, Any], error.detail), **faults}) from error
        if faults:
            raise serializers.ValidationError(faults)
        return value


class Nothing(Serializer):
    """A body without fields."""


class Query(Serializer):
    """The query parameters of an endpoint. Values arrive as text; a faulty one is a 400 that names the parameter."""


def json_type(value: Any) -> str:
    """How JSON calls the type of a parsed value, for messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case Mapping():
            return "an object"
        case _:
            return type(value).__name__


def _is_text_input(field: serializers.Field[Any, Any, Any, Any]) -> bool:
    return isinstance(field.root, Query)


class CharField(serializers.CharField):
    """A string and nothing that could be made one. NUL and lone surrogates are refused by DRF's own validators."""

    default_error_messages = {"invalid": "Send a string."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class IntegerField(serializers.IntegerField):
    """A whole number that fits the database's bigint."""

    default_error_messages = {"invalid": "Send a whole number."}

    def __init__(self, *, min_value: int = MIN_BIGINT, max_value: int = MAX_BIGINT, **kwargs: Any) -> None:
        super().__init__(min_value=min_value, max_value=max_value, **kwargs)

    def to_internal_value(self, data: Any) -> int:
        if (
            isinstance(data, bool)
            or not isinstance(data, int | str)
            or (isinstance(data, str) and not _is_text_input(self))
        ):
            self.fail("invalid")
        return super().to_internal_value(cast(Any, data))


class BooleanField(serializers.BooleanField):
    """true or false; in a query also the words."""

    default_error_messages = {"invalid": "Send true or false."}
    WORDS: ClassVar[dict[str, bool]] = {"true": True, "false": False, "1": True, "0": False}

    def to_internal_value(self, data: Any) -> bool:
        if isinstance(data, bool):
            return data
        if _is_text_input(self) and isinstance(data, str) and data.lower() in self.WORDS:
            return self.WORDS[data.lower()]
        self.fail("invalid")


class DateTimeField(serializers.DateTimeField):
    """RFC 3339. Out in UTC with `Z`; in with any offset, and without one it is taken as UTC."""

    default_error_messages = {"invalid": "Send an RFC 3339 instant such as 2026-11-30T23:00:00Z."}

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("default_timezone", UTC)
        super().__init__(**kwargs)

    def to_internal_value(self, value: Any) -> Any:
        if not isinstance(value, str):
            self.fail("invalid", format="")
        return super().to_internal_value(value)


class ChoiceField(serializers.ChoiceField):
    """One of a few words; for another one the nearest is named."""

    def fail(self, key: str, **kwargs: Any) -> NoReturn:
        if key == "invalid_choice":
            message = unknown_name("value", str(kwargs["input"]), [str(choice) for choice in self.choices])
            raise serializers.ValidationError(message, code=key)
        super().fail(key, **kwargs)


ListField = serializers.ListField


class TypeIDField(serializers.Field[UUID, str, str, Any]):
    """A UUID, outside a TypeID with this prefix."""

    default_error_messages = {"invalid": "Send an id that begins with {prefix}_."}

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        self.prefix = prefix
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> UUID:
        try:
            return ids.decode(self.prefix, data if isinstance(data, str) else "")
        except ValueError:
            self.fail("invalid", prefix=self.prefix)

    def to_representation(self, value: UUID) -> str:
        return ids.encode(self.prefix, value)


class MoneyField(serializers.Field[int, Any, money.Money, Any]):
    """Nano-units of the instance's currency, outside `{"amount": "0.00068", "currency": "USD"}`."""

    default_error_messages = {
        "invalid": 'Send {{"amount": "20.00", "currency": "{currency}"}}.',
        "invalid_amount": "Send the amount as a decimal string with at most nine decimals, such as “20.00”.",
        "too_small": "At least {limit}.",
        "too_large": "At most {limit}.",
        "wrong_currency": "This site works in {currency} only.",
    }

    def __init__(self, *, min_nano: int = 0, max_nano: int = money.MAX_NANO, **kwargs: Any) -> None:
        self.min_nano, self.max_nano = min_nano, max_nano
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, Mapping):
            self.fail("invalid", currency=settings.CURRENCY)
        faults: dict[str, list[serializers.ErrorDetail]] = {}
        for name in data:
            if name not in ("amount", "currency"):
                self._fault(
                    faults, str(name), "unknown_field", unknown_name("field", str(name), ("amount", "currency"))
                )
        if data.get("currency", settings.CURRENCY) != settings.CURRENCY:
            self._fault(faults, "currency", "wrong_currency", currency=settings.CURRENCY)
        nano = self.read_amount(data.get("amount"))
        if nano is None:
            self._fault(faults, "amount", "invalid_amount")
        elif nano < self.min_nano:
            self._fault(faults, "amount", "too_small", limit=money.amount(self.min_nano))
        elif nano > self.max_nano:
            self._fault(faults, "amount", "too_large", limit=money.amount(self.max_nano))
        if nano is None or faults:
            raise serializers.ValidationError(faults)
        return nano

    def _fault(
        self, faults: dict[str, list[serializers.ErrorDetail]], name: str, code: str, message: str = "", **values: str
    ) -> None:
        text = message or self.error_messages[code].format(**values)
        faults[name] = [serializers.ErrorDetail(text, code=code)]

    @staticmethod
    def read_amount(amount: Any) -> int | None:
        """Nano-units of an amount as JSON gives it; None when it is no exact decimal. Floats are not exact."""
        if isinstance(amount, int) and not isinstance(amount, bool) and abs(amount) <= MAX_BIGINT:
            amount = str(amount)
        try:
            return money.to_nano(amount) if isinstance(amount, str) else None
        except ValueError:
            return None

    def to_representation(self, value: int) -> money.Money:
        return money.money(value, settings.CURRENCY)


# --- Views ---


class APIView(views.APIView):
    """The base of every endpoint: policy, rate limit, strict query, safe body, one shape of errors."""

    permission_classes = (PolicyPermission,)
    parser_classes = (SafeJSONParser,)
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = Negotiation
    throttle_classes = ()
    metadata_class = None
    http_method_names = ["get", "post", "put", "patch", "delete", "head"]

    max_body_bytes: ClassVar[int] = MAX_BODY_BYTES
    query: ClassVar[type[Query] | Mapping[str, type[Query]]] = Query  # one class stands for GET alone
    problems: ClassVar[tuple[type[Problem], ...]] = ()  # of this view's own, for the reference

    params: dict[str, Any]  # the query parameters, validated
    decisions: Sequence[Decision] = ()  # of the rate limits that this request fell under

    @property
    def actor(self) -> Actor:
        """Who is acting. Raises the resolver's problem for an organization that the caller is no member of."""
        return actor_of(self.request)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if (request.method or "").lower() not in self.http_method_names or not hasattr(
            self, (request.method or "").lower()
        ):
            raise MethodNotAllowed(f"{request.method} is not allowed here.")
        self.format_kwarg = None
        renderer, media_type = self.perform_content_negotiation(request)
        request.accepted_renderer, request.accepted_media_type = renderer, media_type
        try:
            self.perform_authentication(request)
        except Exception:
            self._count(limits.buckets_of(request, is_authenticated=False))  # guesses count too
            raise
        self._count(limits.buckets_of(request))
        self.check_permissions(request)
        self.params = self.read_query(request)
        _measure_chunked_body(request._request, self.max_body_bytes)

    def _count(self, buckets: list[limiter.Bucket]) -> None:
        """Take one request from each bucket; raises RateLimited."""
        self.decisions = limiter.check_all(buckets)
        limits.require(self.decisions)

    def read_query(self, request: Request) -> dict[str, Any]:
        """The declared query parameters of this method. Raises InvalidParameter for any other."""
        declared = self.query if isinstance(self.query, Mapping) else {"GET": self.query, "HEAD": self.query}
        method = "GET" if request.method == "HEAD" else request.method or ""
        return read_query(declared.get(method, Query), request.query_params, context={"request": request, "view": self})

    def read(self, serializer: type[serializers.BaseSerializer[Any]], **kwargs: Any) -> Any:
        """The body, validated by `serializer`. Raises ValidationFailed with every fault at once."""
        body = self.body()
        if body is None:
            raise ValidationFailed(errors=[{"pointer": "", "code": "invalid", "detail": "Send an object, not null."}])
        bound = serializer(data=body, context={"request": self.request, "view": self}, **kwargs)
        if bound.is_valid():
            return bound.validated_data
        details = serializers.ValidationError(cast(Any, bound.errors)).get_full_details()
        empty = not self.request.META.get("CONTENT_LENGTH") or self.request.META["CONTENT_LENGTH"] == "0"
        raise ValidationFailed("The request has no body; send a JSON object." if empty else "", errors=flatten(details))

    def body(self) -> Any:
        """The parsed body, any JSON value; an empty object when there is none."""
        try:
            return self.request.data
        except RawPostDataException as error:
            raise InvalidJSON("The body is a form; send JSON.") from error

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if self.decisions:
            for name, value in headers_of(self.decisions).items():
                response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def read_query(query: type[Query], given: QueryDict, *, context: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Validate query parameters. Raises InvalidParameter: unknown, repeated or unfit ones."""
    bound = query(data={}, context=dict(context or {}))
    known = {str(field.field_name): field for field in bound._writable_fields}
    faults: list[FieldError] = []
    values: dict[str, Any] = {}
    for name, texts in given.lists():
        field = known.get(name)
        if field is None:
            faults.append(_parameter_fault(name, "unknown_parameter", unknown_name("parameter", name, known)))
        elif isinstance(field, serializers.ListField):
            values[name] = [part for text in texts for part in str(text).split(",") if part]
        elif len(texts) > 1:
            faults.append(_parameter_fault(name, "repeated_parameter", "Give this parameter once."))
        else:
            values[name] = texts[0]
    bound = query(data=values, context=dict(context or {}))
    if not bound.is_valid():
        faults.extend(flatten(serializers.ValidationError(cast(Any, bound.errors)).get_full_details()))
    if faults:
        raise InvalidParameter(
            " ".join(f"{fault['pointer'][1:]}: {fault['detail']}" for fault in faults), errors=faults
        )
    return cast(dict[str, Any], bound.validated_data)


def _parameter_fault(name: str, code: str, detail: str) -> FieldError:
    return {"pointer": f"/{name[:60]}", "code": code, "detail": detail}


def _measure_chunked_body(request: HttpRequest, max_bytes: int) -> None:
    """Give a body that was sent without its length one, since Django and DRF would take it as empty."""
    if request.META.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" not in request.META:
        return
    if isinstance(request, WSGIRequest):  # reads as many bytes as the length says: none
        raise LengthRequired()
    raw = request.read(max_bytes + 1)
    request._body = raw
    request.META["CONTENT_LENGTH"] = str(len(raw))
