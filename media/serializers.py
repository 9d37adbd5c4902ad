"""Uploaded files as the API reads and shows them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework import serializers

from common.ids import encode
from common.rest import CharField, DateTimeField, IntegerField, Serializer, TypeIDField
from media.models import File
from media.services import ENDINGS, MOST_BYTES, REASONS, Upload


def file_out(file: File) -> dict[str, Any]:
    return {
        "id": file.public_id,
        "kind": file.kind,
        "status": file.status,
        "name": file.name,
        "alt": file.alt,
        "media_type": file.media_type or file.claimed_type,
        "bytes": file.size,
        "width": file.width,
        "height": file.height,
        "urls": [f"{settings.SITE_URL}{file.url_of(part)}" for part in file.parts],
        "refusal": {"code": file.refusal, "detail": str(REASONS[file.refusal])} if file.refusal else None,
        "model": None if file.ai_model_id is None else encode("mdl", file.ai_model_id),
        "created_at": file.created_at,
    }


def upload_out(upload: Upload) -> dict[str, Any]:
    return {"method": "POST", "url": upload.url, "fields": upload.fields, "expires_at": upload.expires_at}


class FileIn(Serializer):
    kind = serializers.ChoiceField(choices=File.Kind.choices)
    model = TypeIDField("mdl", required=False, allow_null=True, help_text="Without one: the logo of the publisher.")
    name = CharField(max_length=200, help_text="What it is called; folders and unusual signs are left out.")
    media_type = serializers.ChoiceField(choices=list(ENDINGS))
    size = IntegerField(min_value=1, max_value=max(MOST_BYTES.values()), help_text="Bytes, exactly.")
    alt = CharField(
        max_length=200, required=False, allow_blank=True, default="", help_text="What a screenshot shows, in words."
    )


class RefusalOut(Serializer):
    code = CharField()
    detail = CharField()


class FileOut(Serializer):
    id = TypeIDField("fil")
    kind = serializers.ChoiceField(choices=File.Kind.choices)
    status = serializers.ChoiceField(choices=File.Status.choices)
    name = CharField()
    alt = CharField()
    media_type = CharField(help_text="Of what is kept; pictures that are shown are image/webp.")
    bytes = IntegerField(help_text="What counts towards the quota.")
    width = IntegerField(allow_null=True)
    height = IntegerField(allow_null=True)
    urls = serializers.ListField(child=CharField(), help_text="One for each width, the smallest first.")
    refusal = RefusalOut(allow_null=True)
    model = TypeIDField("mdl", allow_null=True)
    created_at = DateTimeField()


class UploadOut(Serializer):
    method = CharField()
    url = CharField()
    fields_ = serializers.DictField(child=CharField())
    expires_at = DateTimeField()

    def get_fields(self) -> Any:
        found = super().get_fields()
        found["fields"] = found.pop("fields_")  # the name is taken in the class
        return found


class NewFileOut(FileOut):
    upload = UploadOut(help_text="Where to send it: multipart/form-data with these fields, and `file` after them.")
