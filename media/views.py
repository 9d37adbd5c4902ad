"""The files themselves, and the pages on which publishers upload them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from common import files
from common.ids import decode
from common.policy import actor_of
from common.problems import NotFound, ServiceUnavailable, ValidationFailed
from marketplace.errors import WrongStatus
from marketplace.models import AIModel
from marketplace.services import SEE_ALL
from media import services
from media.errors import QuotaExceeded, TooManyFiles
from media.forms import ExampleForm, LogoForm, ScreenshotForm, UploadForm
from media.models import File

REFUSALS = (ValidationFailed, QuotaExceeded, TooManyFiles, WrongStatus, ServiceUnavailable)
FORMS: dict[str, type[UploadForm]] = {"logo": LogoForm, "screenshot": ScreenshotForm, "example": ExampleForm}
CACHE_SECONDS = 3600


@require_safe
def media(request: HttpRequest, id: UUID, part: str) -> HttpResponse:
    """One part of a file that was checked. Whatever its bytes are, no browser runs them. Raises NotFound."""
    actor = actor_of(request)
    seen = File.objects.visible_to(actor.organization, sees_all=actor.may(SEE_ALL))
    file = seen.filter(pk=id, status=File.Status.READY).select_related("ai_model").first()
    if file is None or (part not in file.parts if file.is_picture else part != file.name):
        raise NotFound()
    name = f"{file.stored_as}/{part if file.is_picture else file.parts[0]}"
    try:
        content = files.read(name, max_bytes=file.size)
    except FileNotFoundError:  # removed this moment
        raise NotFound() from None
    response = HttpResponse(content, content_type=_served_type(file))
    is_public = file.ai_model is None or file.ai_model.is_public
    response.headers["Cache-Control"] = f"public, max-age={CACHE_SECONDS}" if is_public else "private, no-cache"
    response.headers["Content-Disposition"] = str(content_disposition_header(not file.is_picture, _offered(file, part)))
    response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'; sandbox"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


def _served_type(file: File) -> str:
    """By what we wrote, from a list of types that no browser runs."""
    if file.is_picture:
        return "image/webp"
    if file.media_type in ("application/json", "text/plain", "text/csv"):
        return "text/plain; charset=utf-8"
    return file.media_type if file.media_type in services.ENDINGS else "application/octet-stream"


def _offered(file: File, part: str) -> str:
    return f"{file.kind}-{part}" if file.is_picture else file.name


@require_http_methods(["GET", "HEAD", "POST"])
def publish_media(request: HttpRequest, id: UUID) -> HttpResponse:
    """Beside the five steps: the logo, screenshots and example files of a listing."""
    organization = actor_of(request).organization
    own = AIModel.objects.owned_by(organization).exclude(status=AIModel.Status.ARCHIVED).detailed()
    return _page(request, get_object_or_404(own, pk=id))


@require_http_methods(["GET", "HEAD", "POST"])
def publish_logo(request: HttpRequest) -> HttpResponse:
    """The logo of the publisher."""
    return _page(request, None)


def _page(request: HttpRequest, ai_model: AIModel | None) -> HttpResponse:
    organization = actor_of(request).organization
    own = File.objects.filter(organization=organization, ai_model=ai_model)
    kinds = list(FORMS) if ai_model is not None else ["logo"]
    forms = {kind: FORMS[kind](prefix=kind) for kind in kinds}
    kind = request.POST.get("kind", "")
    if request.method == "POST" and request.POST.get("act") == "remove":
        file = own.filter(pk__in=_ids(request.POST.get("file", ""))).first()
        if file is not None:
            services.remove(file=file)
            messages.success(request, _("The file is gone."))
        return redirect(request.path)
    if request.method == "POST" and kind in forms:
        form = forms[kind] = FORMS[kind](request.POST, request.FILES, prefix=kind)
        if form.is_valid():
            sent: UploadedFile = form.cleaned_data["file"]
            try:
                services.receive(
                    organization=organization,
                    ai_model=ai_model,
                    kind=kind,
                    content=sent,
                    media_type=sent.content_type or "",
                    alt=form.cleaned_data.get("alt", ""),
                )
            except REFUSALS as found:
                form.add_problem(found)
            else:
                messages.success(request, _("The file has arrived. It is shown as soon as it was checked."))
                return redirect(request.path)
    rows = list(own.order_by("kind", "id"))
    context: dict[str, Any] = {
        "step": "media",
        "ai_model": ai_model,
        "organization": organization,
        "parts": [(File.Kind(kind), form, [row for row in rows if row.kind == kind]) for kind, form in forms.items()],
        "is_checking": any(row.status == File.Status.ARRIVED for row in rows),
        "reasons": services.REASONS,
        "taken": File.objects.all().taken(organization.pk),
        "quota": services.most_bytes(),
    }
    wrong = any(form.is_bound and form.errors for form in forms.values())
    return render(request, "media/publish.html", context, status=422 if wrong else 200)


def _ids(text: str) -> list[UUID]:
    try:
        return [decode("fil", text)]
    except ValueError:
        return []
