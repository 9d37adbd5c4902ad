"""What the endpoints share: finding the model that an address names, and answers that a client may have already."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec
from django.http import HttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from common import clock
from common.cache import Made
from common.ids import decode
from common.problems import PreconditionFailed
from common.rest import APIView
from marketplace import services
from marketplace.models import AIModel
from marketplace.search.kept import SHELF
from marketplace.serializers import model_out
from marketplace.services.forgetting import tag_of

if TYPE_CHECKING:
    from accounts.models import Organization

REF = OpenApiParameter("ref", str, OpenApiParameter.PATH, description="`mdl_…` or `publisher:slug`")
IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    description="The `ETag` of what you have read. Has the listing been changed since, the answer is 412.",
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="The `ETag` of what you have. Is it the same, the answer is 304 without a body.",
)


#: What PUT replaces. The first half of a model's ETag is of these alone.
REPLACED = (
    *("name", "description", "version", "category", "capabilities", "api_spec", "pricing", "license"),
    *("context_tokens", "test_enabled"),
)
ETAG_LENGTH = 33


class Shown(NamedTuple):
    """What the API shows of a model, as JSON, and its ETag: of what PUT replaces, a hyphen, of all of it."""

    etag: str
    body: bytes


def shown_models(ids: Sequence[UUID], *, organization: Organization | None) -> list[Shown]:
    """The models with these ids in their order, as far as the organization may see them.

    Public ones are kept for everybody. No other is ever put there: whoever may see it has it read anew.
    """
    keys = {id.hex: id for id in ids}
    kept = SHELF.read({key: tag_of(id) for key, id in keys.items()}, _public)
    found = {keys[key]: Shown(entry[:ETAG_LENGTH].decode(), entry[ETAG_LENGTH:]) for key, entry in kept.items()}
    if rest := [id for id in ids if id not in found]:
        rows = AIModel.objects.visible_to(organization).in_order(rest) if organization is not None else []
        found |= {row.pk: show(row) for row in rows}
    return [found[id] for id in ids if id in found]


def show(ai_model: AIModel) -> Shown:
    body = model_out(ai_model)
    replaced = {name: body[name] for name in REPLACED}
    content = msgspec.json.encode(body)
    return Shown(f"{_digest(msgspec.json.encode(replaced))}-{_digest(content)}", content)


def _public(keys: Sequence[str]) -> dict[str, Made]:
    made = {}
    for row in AIModel.objects.published().in_order([UUID(key) for key in keys]):
        announced = row.announced_price  # shown until it is in force, and not a moment longer
        seconds = (announced.effective_from - clock.now()).total_seconds() if announced is not None else None
        shown = show(row)
        made[row.pk.hex] = Made(shown.etag.encode() + shown.body, seconds)
    return made


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def conditional(request: Request, content: bytes, etag: str = "") -> HttpResponse:
    """This JSON with its ETag, or 304 for a client that has it."""
    etag = f'"{etag or _digest(content)}"'
    known = parse_etags(request.headers.get("If-None-Match", ""))
    is_known = "*" in known or etag in (tag.removeprefix("W/") for tag in known)
    response = HttpResponse(status=304) if is_known else HttpResponse(content, content_type="application/json")
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, ["Authorization", "Cookie", "X-API-Key", "Agorai-Organization"])
    return response


class OneModel(APIView):
    """The base of what is done with one model."""

    def find(self, ref: str) -> AIModel:
        return services.find_model(ref, organization=self.actor.organization, sees_all=self.actor.may(services.SEE_ALL))

    def shown(self, ref: str) -> Shown:
        """What the API shows of the model of this address. Raises NotFound."""
        id: UUID | None
        try:
            id = decode("mdl", ref)
        except ValueError:
            id = AIModel.objects.published().referred_to(ref).values_list("pk", flat=True).first()
        found = shown_models([id], organization=None) if id is not None else []
        return found[0] if found else show(self.find(ref))

    def find_own(self, ref: str) -> AIModel:
        ai_model = self.find(ref)
        services.require_publisher(ai_model=ai_model, organization=self.actor.organization)
        return ai_model

    def require_match(self, ai_model: AIModel) -> None:
        """Lock the model, and raise PreconditionFailed if it is no longer what the client has seen (`If-Match`).

        What others make of it, such as a review, is no conflict: it compares what would be replaced.
        """
        given = self.request.headers.get("If-Match")
        services.hold_models(ai_model.pk)
        if given is None or given.strip() == "*":
            return
        known = {tag.removeprefix("W/").strip('"').partition("-")[0] for tag in parse_etags(given)}
        current = show(AIModel.objects.detailed().get(pk=ai_model.pk)).etag
        if current.partition("-")[0] not in known:
            raise PreconditionFailed(headers={"ETag": f'"{current}"'})
