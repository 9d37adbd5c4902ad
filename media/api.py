"""/api/files: the pictures and example files of listings, and where they are sent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Organization
from common.pagination import PageQuery, page_response
from common.problems import LengthRequired, NotFound, PayloadTooLarge, ValidationFailed
from common.rest import APIView, Nothing
from marketplace.errors import WrongStatus
from marketplace.models import AIModel
from marketplace.services import SEE_ALL, find_model
from media import services
from media.errors import NothingArrived, QuotaExceeded, TooManyFiles, UploadEnded
from media.models import File
from media.serializers import FileIn, FileOut, NewFileOut, file_out, upload_out

FORM_BYTES = 64 * 1024  # of an upload, beside the file itself
REF = OpenApiParameter("ref", str, OpenApiParameter.PATH, description="`mdl_…` or `publisher:slug`")


def _list(rows: Any) -> list[dict[str, Any]]:
    return [file_out(row) for row in rows]


class Files(APIView):
    query = {"GET": PageQuery}
    problems = (QuotaExceeded, TooManyFiles, WrongStatus)

    @extend_schema(operation_id="list_files", responses=FileOut(many=True))
    def get(self, request: Request) -> Response:
        """All files of your organization, the newest first, with those that are being checked or were refused."""
        return page_response(
            self, File.objects.filter(organization=self.actor.organization), order=["-id"], serialize=_list
        )

    @extend_schema(operation_id="create_file", request=FileIn, responses={201: NewFileOut})
    def post(self, request: Request) -> Response:
        """Ask for room for one file. Send it where `upload` says within ten minutes, then complete it."""
        values = self.read(FileIn)
        organization: Organization = self.actor.organization
        model_id = values.pop("model", None)
        ai_model = None
        if model_id is not None:
            ai_model = AIModel.objects.owned_by(organization).filter(pk=model_id).first()
            if ai_model is None:
                detail = "Your organization has no such model."
                raise ValidationFailed(errors=[{"pointer": "/model", "code": "not_found", "detail": detail}])
        file = services.begin(organization=organization, ai_model=ai_model, **values)
        file.refresh_from_db()
        return Response({**file_out(file), "upload": upload_out(services.address_of(file))}, status=201)


class OneFile(APIView):
    @extend_schema(operation_id="get_file", responses=FileOut)
    def get(self, request: Request, id: UUID) -> Response:
        """One file of your organization."""
        return Response(file_out(self.find(id)))

    @extend_schema(operation_id="delete_file", responses={204: None})
    def delete(self, request: Request, id: UUID) -> Response:
        """Take it away, from the page and from the storage."""
        services.remove(file=self.find(id))
        return Response(status=204)

    def find(self, id: UUID) -> File:
        found: File = get_object_or_404(File, pk=id, organization=self.actor.organization)
        return found


class FileCompletion(OneFile):
    http_method_names = ["post"]
    problems = (NothingArrived, UploadEnded)

    @extend_schema(operation_id="complete_file", request=None, responses=FileOut)
    def post(self, request: Request, id: UUID) -> Response:
        """Say that it was sent. It is shown as soon as it was checked and written anew; until then it is `arrived`."""
        file = self.find(id)
        self.read(Nothing)
        return Response(file_out(services.complete(file=file)))


class ModelFiles(APIView):
    @extend_schema(operation_id="list_model_files", parameters=[REF], responses=FileOut(many=True))
    def get(self, request: Request, ref: str) -> Response:
        """The logo, screenshots and example files that the model's page shows."""
        ai_model = find_model(ref, organization=self.actor.organization, sees_all=self.actor.may(SEE_ALL))
        return page_response(
            self, File.objects.filter(ai_model=ai_model, status="ready"), order=["id"], serialize=_list
        )

    query = {"GET": PageQuery}


@csrf_exempt
@require_POST
def upload(request: HttpRequest, id: UUID) -> HttpResponse:
    """Where a file is sent when the storage is a folder: by whoever holds the signature, as at a server of S3.

    Nothing of it is read before it is known to be promised, and no larger than promised. Raises Problems.
    """
    file = File.objects.filter(pk=id).first()
    if file is None:
        raise NotFound()
    length = request.META.get("CONTENT_LENGTH") or ""
    if not length.isdecimal():
        raise LengthRequired()
    if int(length) > file.size + FORM_BYTES:
        raise PayloadTooLarge(f"The file was to have {file.size:,} bytes.", max_bytes=file.size)
    sent = request.FILES.get("file")
    if not isinstance(sent, UploadedFile):
        raise NothingArrived("Send the file as the field `file`.")
    services.take_upload(
        id=id,
        signature=request.POST.get("signature", ""),
        media_type=request.POST.get("Content-Type", ""),
        content=sent,
    )
    return HttpResponse(status=204)
