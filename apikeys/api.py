"""/api/keys."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import services
from apikeys.errors import KeyNotActive, ReportNotSigned, ReportReplayed
from apikeys.models import APIKey
from apikeys.serializers import KeyIn, KeyOut, KeyPatch, LeakIn, LeakOut, NewKeyOut, RotatedKeyOut, RotateIn
from common.jsonsafe import UnsafeJSON, loads
from common.pagination import PageQuery, page_response
from common.problems import InvalidJSON, ValidationFailed
from common.rest import APIView, read_body

MAX_REPORT_BYTES = 1024 * 1024
MAX_LEAKS = 1000


def answer(key: APIKey, serializer: type[KeyOut] = KeyOut, secret: str = "") -> Any:
    context = {"spend_limits": services.spend_limits_of([key.id]), "secret": secret}
    return serializer(key, context=context).data


def list_of(keys: Sequence[APIKey]) -> Any:
    return KeyOut(keys, many=True, context={"spend_limits": services.spend_limits_of([key.id for key in keys])}).data


class Keys(APIView):
    query = {"GET": PageQuery}

    @extend_schema(operation_id="list_keys", responses=KeyOut(many=True))
    def get(self, request: Request) -> Response:
        """The organization's keys, the newest first, revoked ones too."""
        keys = APIKey.objects.of_organization(self.actor.organization)
        return page_response(self, keys, order=["-id"], serialize=list_of)

    @extend_schema(operation_id="create_key", request=KeyIn, responses={201: NewKeyOut})
    def post(self, request: Request) -> Response:
        """Make a key. Its secret is in this answer only."""
        values = self.read(KeyIn)
        actor = self.actor
        key, secret = services.issue_key(organization=actor.organization, user=actor.user, by=actor.key, **values)
        return Response(answer(key, NewKeyOut, secret), status=201)


class Leaks(APIView):
    """Where partners report secrets that were found in public, as GitHub's secret scanning does."""

    authentication_classes = ()  # the signature is all that counts
    max_body_bytes = MAX_REPORT_BYTES
    problems = (ReportNotSigned, ReportReplayed)

    @extend_schema(
        operation_id="report_leaked_keys",
        request=LeakIn(many=True),
        responses=LeakOut(many=True),
        auth=[],
        parameters=[
            OpenApiParameter("Github-Public-Key-Identifier", str, OpenApiParameter.HEADER),
            OpenApiParameter("Github-Public-Key-Signature", str, OpenApiParameter.HEADER),
            OpenApiParameter("Agorai-Public-Key-Identifier", str, OpenApiParameter.HEADER),
            OpenApiParameter("Agorai-Public-Key-Signature", str, OpenApiParameter.HEADER),
            OpenApiParameter("Agorai-Timestamp", str, OpenApiParameter.HEADER),
        ],
    )
    def post(self, request: Request) -> Response:
        """Report leaked keys, signed with ECDSA on P-256 and SHA-256, in base64.

        With GitHub's headers the body is signed; with ours `<Agorai-Timestamp>.<body>`, not older than five minutes.
        Keys that were found are revoked at once, and their people told.
        """
        raw = read_body(request._request, self.max_body_bytes)
        headers = request.headers
        if "Agorai-Public-Key-Identifier" in headers:
            begin, timestamp = "Agorai", headers.get("Agorai-Timestamp", "")
        else:
            begin, timestamp = "Github", None
        partner = services.require_signature(
            raw,
            key_id=headers.get(f"{begin}-Public-Key-Identifier", ""),
            signature=headers.get(f"{begin}-Public-Key-Signature", ""),
            timestamp=timestamp,
        )
        leaks = read_report(raw)
        found = services.accept_report(raw, leaks, partner=partner)
        return Response(
            [
                {
                    "token_hash": base64.b64encode(hashlib.sha256(leak.token.encode()).digest()).decode(),
                    "token_type": leak.type,
                    "label": "true_positive" if is_ours else "false_positive",
                }
                for leak, is_ours in zip(leaks, found, strict=True)
            ]
        )


def read_report(raw: bytes) -> list[services.Leak]:
    """The leaks that a report names. Raises InvalidJSON, ValidationFailed."""
    try:
        body = loads(raw, max_bytes=MAX_REPORT_BYTES)
    except UnsafeJSON as error:
        raise InvalidJSON(error.detail) from error
    if not isinstance(body, list) or not 0 < len(body) <= MAX_LEAKS or not all(isinstance(one, dict) for one in body):
        detail = f"Send a list of 1 to {MAX_LEAKS} objects."
        raise ValidationFailed(errors=[{"pointer": "", "code": "invalid", "detail": detail}])
    known = ("token", "type", "url")
    bound = LeakIn(data=[{name: one[name] for name in known if name in one} for one in body], many=True)
    if not bound.is_valid():
        raise ValidationFailed("Each object needs a token, and may have a type and a url.")
    return [services.Leak(one["token"], one.get("type", ""), one.get("url") or "") for one in bound.validated_data]


class Key(APIView):
    """One key of the organization; those of others do not exist here."""

    problems = (KeyNotActive,)

    def find(self, id: UUID) -> APIKey:
        return get_object_or_404(APIKey.objects.of_organization(self.actor.organization), pk=id)

    def find_to_change(self, id: UUID) -> APIKey:
        key = self.find(id)
        services.require_control(key=key, user=self.actor.user, role=self.actor.role)
        return key

    @extend_schema(operation_id="get_key", responses=KeyOut)
    def get(self, request: Request, id: UUID) -> Response:
        return Response(answer(self.find(id)))

    @extend_schema(operation_id="change_key", request=KeyPatch, responses=KeyOut)
    def patch(self, request: Request, id: UUID) -> Response:
        key = self.find_to_change(id)
        return Response(answer(services.change_key(key=key, changes=self.read(KeyPatch), by=self.actor.key)))

    @extend_schema(operation_id="revoke_key", responses={204: None})
    def delete(self, request: Request, id: UUID) -> Response:
        """Revoke the key. Repeating it changes nothing."""
        services.revoke_key(key=self.find_to_change(id))
        return Response(status=204)


class KeyRotation(Key):
    http_method_names = ["put"]

    @extend_schema(operation_id="rotate_key", request=RotateIn, responses=RotatedKeyOut)
    def put(self, request: Request, id: UUID) -> Response:
        """Give the key a new secret, which is in this answer only. The old one works until `overlap_until`."""
        key = self.find_to_change(id)
        key, secret = services.rotate_key(key=key, by=self.actor.key, **self.read(RotateIn))
        return Response(answer(key, RotatedKeyOut, secret))
