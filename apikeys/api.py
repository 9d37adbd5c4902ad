"""/api/keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import services
from apikeys.errors import KeyNotActive
from apikeys.models import APIKey
from apikeys.serializers import KeyIn, KeyOut, KeyPatch, NewKeyOut, RotatedKeyOut, RotateIn
from common.pagination import PageQuery, page_response
from common.rest import APIView


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
