"""One cursor pagination: by key, never by OFFSET, so that a late page costs no more than the first."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, TypeVar, cast
from urllib.parse import urlencode

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Expression, F, Field, FloatField, ForeignObjectRel, Model, Q, QuerySet
from django.db.models.functions import Cast
from django.utils.crypto import constant_time_compare, salted_hmac
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from common.problems import InvalidParameter
from common.rest import APIView, CharField, IntegerField, Query

MAX_LIMIT = 100
DEFAULT_LIMIT = 20
MAX_CURSOR_LENGTH = 2000
MAC_BYTES = 12

Row = TypeVar("Row", bound=Model)
Serialize = type[BaseSerializer[Any]] | Callable[[Sequence[Any]], Sequence[Any]]


class Page(TypedDict):
    """A list as the API answers it."""

    data: Sequence[Any]
    has_more: bool
    next_cursor: str | None


class PageQuery(Query):
    """The two parameters of every list; an endpoint adds its filters in a subclass."""

    limit = IntegerField(min_value=1, max_value=MAX_LIMIT, default=DEFAULT_LIMIT)
    cursor = CharField(max_length=MAX_CURSOR_LENGTH, required=False, trim_whitespace=False)


def paginate(
    queryset: QuerySet[Row],
    *,
    order: Sequence[str],
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
    serialize: Serialize = list,
) -> Page:
    """The first `limit` rows after `cursor`, and the cursor that follows them.

    order: names of fields or annotations, `-` for descending; the primary key is added where it does not end the list.
    Nulls come last in both directions. serialize: a serializer class, or a function of the rows.
    Raises InvalidParameter for a cursor that was not made here for this order.
    """
    keys = _keys(queryset, order)
    queryset = queryset.annotate(**{key.name: key.expression for key in keys if key.expression is not None})
    if cursor:
        queryset = queryset.filter(_after(keys, _decode(cursor, keys)))
    rows = list(queryset.order_by(*(key.ordering() for key in keys))[: limit + 1])
    has_more = len(rows) > limit
    rows = rows[:limit]
    next_cursor = _encode(keys, [key.value(rows[-1]) for key in keys]) if has_more else None
    return {"data": _serialize(serialize, rows), "has_more": has_more, "next_cursor": next_cursor}


def page_before(
    queryset: QuerySet[Any], *, order: Sequence[str], limit: int, cursor: str, at_most: int
) -> tuple[int, str]:
    """How many rows stand before the page after `cursor`, and the cursor of the page before it: "" for the first one.

    Counts no further than `at_most`. Raises InvalidParameter as `paginate` does.
    """
    keys = _keys(queryset, order)
    queryset = queryset.annotate(**{key.name: key.expression for key in keys if key.expression is not None})
    before = queryset.filter(~_after(keys, _decode(cursor, keys)))
    count = before.order_by()[:at_most].count()
    if count <= limit:
        return count, ""
    row = before.order_by(*(key.ordering().reverse_ordering() for key in keys))[limit]
    return count, _encode(keys, [key.value(row) for key in keys])


def page_response(view: APIView, queryset: QuerySet[Row], *, order: Sequence[str], serialize: Serialize) -> Response:
    """`paginate` for a view whose query is a `PageQuery`, with a `Link` to the next page."""
    page = paginate(
        queryset, order=order, limit=view.params["limit"], cursor=view.params.get("cursor"), serialize=serialize
    )
    response = Response(page)
    if page["next_cursor"] is not None:
        kept = [(name, text) for name, texts in view.request.query_params.lists() for text in texts if name != "cursor"]
        query = urlencode([*kept, ("cursor", page["next_cursor"])])
        response["Link"] = f'<{settings.SITE_URL.rstrip("/")}{view.request.path}?{query}>; rel="next"'
    return response


def _serialize(serialize: Serialize, rows: Sequence[Any]) -> Sequence[Any]:
    if isinstance(serialize, type) and issubclass(serialize, BaseSerializer):
        return cast(Sequence[Any], serialize(rows, many=True).data)
    return cast(Callable[[Sequence[Any]], Sequence[Any]], serialize)(rows)


@dataclass(frozen=True, slots=True)
class _Key:
    """One ordering column. `expression` is set where the row itself does not carry a value that compares exactly."""

    name: str
    descending: bool
    nullable: bool
    field: Field[Any, Any]
    expression: Expression | F | None

    def ordering(self) -> Any:
        # NULLS LAST only where there can be nulls: it keeps PostgreSQL from using a plain index for a descending order.
        last = True if self.nullable else None
        return F(self.name).desc(nulls_last=last) if self.descending else F(self.name).asc(nulls_last=last)

    def value(self, row: Any) -> Any:
        return row[self.name] if isinstance(row, Mapping) else getattr(row, self.name)

    def is_equal(self, value: Any) -> Q:
        return Q(**{f"{self.name}__isnull": True}) if value is None else Q(**{self.name: value})

    def is_after(self, value: Any) -> Q | None:
        """Rows behind `value` in this column; None where there can be none, since nulls are last."""
        if value is None:
            return None
        behind = Q(**{f"{self.name}__{'lt' if self.descending else 'gt'}": value})
        return behind | Q(**{f"{self.name}__isnull": True}) if self.nullable else behind


def _keys(queryset: QuerySet[Any], order: Sequence[str]) -> list[_Key]:
    pk = queryset.model._meta.pk.name
    names = list(order)
    if not any(name.removeprefix("-") in (pk, "pk") for name in names):
        names.append(f"-{pk}" if names and names[-1].startswith("-") else pk)
    return [_key(queryset, name.removeprefix("-"), name.startswith("-")) for name in names]


def _key(queryset: QuerySet[Any], name: str, descending: bool) -> _Key:
    annotation = queryset.query.annotations.get(name)
    nullable = annotation is not None
    if annotation is not None:
        field = annotation.output_field
    else:
        model: Any = queryset.model
        for part in name.split("__"):
            step = model._meta.pk if part == "pk" else model._meta.get_field(part)
            nullable = nullable or isinstance(step, ForeignObjectRel) or step.null
            model = step.related_model
        field = step.target_field if step.is_relation else step
    if isinstance(field, FloatField):
        # A `real` read as text and sent back as double precision no longer equals itself.
        return _Key(f"_key_{name}", descending, nullable, field, Cast(F(name), FloatField()))
    if "__" in name:
        return _Key(f"_key_{name.replace('__', '_')}", descending, nullable, field, F(name))
    return _Key(name, descending, nullable, field, None)


def _after(keys: Sequence[_Key], values: Sequence[Any]) -> Q:
    """The rows behind `values`: equal in the first n columns and behind in the next, for any n."""
    condition = Q(pk__in=[])
    equal = Q()
    for key, value in zip(keys, values, strict=True):
        behind = key.is_after(value)
        if behind is not None:
            condition |= equal & behind
        equal &= key.is_equal(value)
    if (bound := keys[0].is_after(values[0])) is not None:  # lets an index on the first column begin in the right place
        condition &= bound | keys[0].is_equal(values[0])
    return condition


def _signature(payload: bytes) -> bytes:
    return salted_hmac("common.pagination", payload, algorithm="sha256").digest()[:MAC_BYTES]


def _order_text(keys: Sequence[_Key]) -> str:
    return ",".join(f"-{key.name}" if key.descending else key.name for key in keys)


def _encode(keys: Sequence[_Key], values: Sequence[Any]) -> str:
    """Opaque, and signed so that every value in a cursor is one that the database gave us."""
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]  # microseconds included
    payload = json.dumps([_order_text(keys), *plain], cls=DjangoJSONEncoder, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_signature(payload) + payload).decode().rstrip("=")


def _decode(cursor: str, keys: Sequence[_Key]) -> list[Any]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    signature, payload = raw[:MAC_BYTES], raw[MAC_BYTES:]
    if not payload or not constant_time_compare(signature, _signature(payload)):
        raise bad_cursor("This cursor was not given out here. Take `next_cursor` from the last answer as it is.")
    order, *values = json.loads(payload)
    if order != _order_text(keys):
        raise bad_cursor("This cursor belongs to a list in another order. Begin again without it.")
    return [None if value is None else key.field.to_python(value) for key, value in zip(keys, values, strict=True)]


def bad_cursor(detail: str) -> InvalidParameter:
    return InvalidParameter(
        f"cursor: {detail}", errors=[{"pointer": "/cursor", "code": "invalid_cursor", "detail": detail}]
    )
