"""The playground: a model's form, its answer, and what it was asked before. The active organization pays.

Below it the two steps of publishing that are about the endpoint, and the pages of deployments.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render, resolve_url
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts.models import role_may
from accounts.services.rights import require_right
from common import clock
from common.ids import decode, uuid7
from common.pagination import PageQuery, paginate
from common.policy import Actor, actor_of
from common.problems import FieldError, NotAuthenticated, Problem, RateLimited, ValidationFailed
from common.rest import read_query
from gateway import services
from gateway.errors import EndpointRefused
from gateway.forms import STREAM, DeploymentForm, EndpointForm, ModelRequest, PlaygroundForm
from gateway.hotpath.call import Gateway
from gateway.hotpath.orm import release_connection, run_in_django
from gateway.hotpath.rules import Answer, Call
from gateway.hotpath.session import EventStream, admit, ask
from gateway.models import Deployment, Endpoint, Invocation
from gateway.serializers import answer_shown, raw_shown
from gateway.services.check_words import steps_of
from marketplace.models import AIModel
from marketplace.services import SEE_ALL, find_model, forget_step, keep_step, kept_step, shown_values

RUNS_SHOWN = 20
RUNS_SINCE = timedelta(days=30)


@require_http_methods(["GET", "HEAD", "POST"])
async def playground(request: HttpRequest, publisher: str, slug: str) -> HttpResponseBase:
    """Shows the form; runs the model once with what was posted. As a page, as JSON or, if asked, as a stream."""
    visit = await sync_to_async(Visit.of)(request, publisher, slug)
    if request.method != "POST":
        return await sync_to_async(visit.page)()
    if (answer := await sync_to_async(visit.answer_without_a_call)()) is not None:
        return answer
    try:
        return await _run(visit)
    except Problem as problem:
        return await sync_to_async(visit.refuse)(problem)


async def _run(visit: Visit) -> HttpResponseBase:
    """Raises the problem of a call that was refused or failed."""
    asked = visit.form.request
    gateway, call = await admit(
        id=visit.id,
        organization_id=visit.actor.organization.id,
        user_id=visit.actor.user.id,
        ai_model_id=visit.ai_model.id,
        kind=asked.kind,
        body=asked.body,
        size=asked.size,
    )
    if visit.form.is_streamed:
        return await _stream(visit, gateway, call)
    return await sync_to_async(visit.answer)(await ask(gateway, call))


async def _stream(visit: Visit, gateway: Gateway, call: Call) -> HttpResponseBase:
    start = await sync_to_async(visit.start)()
    stream = EventStream(gateway, call)
    first = await stream.first()

    async def events() -> AsyncIterator[bytes]:
        try:
            yield _event("start", start)
            yield first
            async for event in stream.rest():
                yield event
            yield _event("receipt", await run_in_django(visit.figures))
        finally:
            stream.leave()

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(events(), content_type="text/event-stream; charset=utf-8", headers=headers)


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


@dataclass(slots=True)
class Visit:
    """One request to the page: who comes, for which model, with what. Its methods ask the database."""

    request: HttpRequest
    actor: Actor
    ai_model: AIModel
    endpoint: Endpoint | None
    form: PlaygroundForm
    id: Any = field(default_factory=uuid7)  # of the call, if one is made

    @classmethod
    def of(cls, request: HttpRequest, publisher: str, slug: str) -> Visit:
        actor = actor_of(request)
        ref = f"{publisher}:{slug}"
        ai_model = find_model(ref, organization=actor.organization, sees_all=actor.may(SEE_ALL))
        endpoint = Endpoint.objects.of_model(ai_model.id).first() if ai_model.is_callable else None
        if request.method == "POST":
            is_streamed = STREAM in request.POST and (_wants(request) == "stream" or _is_fragment(request))
            form = PlaygroundForm(
                ai_model, endpoint, values=request.POST, files=cast(Any, request.FILES), is_streamed=is_streamed
            )
        else:
            form = PlaygroundForm.prefilled(ai_model, endpoint, request.GET)
        visit = cls(request, actor, ai_model, endpoint, form)
        if request_id := getattr(request, "request_id", ""):
            visit.id = decode("req", request_id)  # so that `x-request-id` leads to the receipt
        return visit

    @property
    def address(self) -> str:
        return reverse("playground", args=[self.ai_model.publisher.slug, self.ai_model.slug])

    @property
    def address_with_values(self) -> str:
        return f"{self.address}?{query}" if (query := self.form.query) else self.address

    # --- Answers ---

    def answer_without_a_call(self) -> HttpResponse | None:
        """None when the model is to be called; no connection to the database is kept while it works."""
        if _is_fragment(self.request):
            return render(self.request, "gateway/estimate.html", {"estimate": self.form.estimate})
        if not self.actor.is_authenticated:
            if _wants(self.request) != "page":
                return self.refuse(NotAuthenticated(_("Your session has ended. Log in again to go on.")))
            entrance = "account_signup" if self.request.POST.get("then") == "signup" else settings.LOGIN_URL
            return redirect(f"{resolve_url(entrance)}?{urlencode({'next': self.address_with_values})}")
        if errors := self.form.check():
            return self.refuse(ValidationFailed(errors=errors))
        release_connection()
        return None

    def page(self, run: Run | None = None, errors: list[FieldError] | None = None, status: int = 200) -> HttpResponse:
        controls = self.form.controls(errors or [])
        number = self.request.GET.get("example", "")
        example = (int(number) + 1) % max(self.form.example_count, 1) if number.isdecimal() and len(number) < 4 else 0
        example_asked = PlaygroundForm.prefilled(self.ai_model, self.endpoint, {"example": "0"}).request
        context = {
            "asked": self.form.request if run or not self.form.is_untouched else example_asked,
            "ai_model": self.ai_model,
            "form": self.form,
            "is_callable": self.endpoint is not None,
            "main": [control for control in controls if control.required],
            "beside": [control for control in controls if control.is_beside],
            "more": [control for control in controls if not control.is_main],
            "controls": controls,
            "has_files": any(control.kind == "file" for control in controls),
            "errors": bool(errors),
            "faults": self.form.faults_elsewhere(errors or []),
            "run": run,
            "runs": self.runs(),
            "payer": self.actor.organization,
            "address": self.address,
            "link": self.request.build_absolute_uri(self.address_with_values),
            "example": f"{self.address}?example={example}",
            "storage": f"playground:{getattr(self.actor.user, 'public_id', '')}:{self.ai_model.public_id}",
        }
        response = render(self.request, "gateway/playground.html", context, status=status)
        patch_vary_headers(response, ["Accept"])
        return response

    def answer(self, answer: Answer) -> HttpResponse:
        shown = answer_shown(self.form.request.kind, answer.output)
        run = Run(self.form.request, self.receipt(), answer=shown, raw=raw_shown(answer.output))
        if _wants(self.request) == "page":
            return self.page(run)
        return JsonResponse({**self.start(), **self.figures(), "answer": shown, "raw": run.raw})

    def refuse(self, problem: Problem) -> HttpResponse:
        run = Run(self.form.request, self.receipt(), problem=problem)
        if _wants(self.request) == "page":
            return self.page(None if problem.errors else run, problem.errors, problem.status)
        controls = self.form.controls(problem.errors)
        body = {
            **(self.start() if run.receipt else {}),
            **(self.figures() if run.receipt else {}),
            "status": problem.status,
            "message": problem.detail,
            "link": run.link,
        }
        if problem.errors:
            told = {"controls": controls, "faults": self.form.faults_elsewhere(problem.errors)}
            body["fields"] = {control.id: " ".join(control.errors) for control in controls if control.errors}
            body["errors"] = render_to_string("gateway/errors.html", told, self.request)
        return JsonResponse(body, status=problem.status, headers=problem.headers)

    def start(self) -> dict[str, Any]:
        """What is known of the call before it is answered."""
        shown = {"asked": self.form.request}
        return {
            "request_id": self.request.request_id if hasattr(self.request, "request_id") else "",
            "asked": render_to_string("gateway/asked.html", shown, self.request),
            "code": render_to_string("gateway/code.html", shown, self.request),
        }

    def figures(self) -> dict[str, Any]:
        return {"figures": render_to_string("gateway/figures.html", {"receipt": self.receipt()}, self.request)}

    def receipt(self) -> Invocation | None:
        """The call as it was settled; None if it was refused before it began."""
        return Invocation.objects.filter(pk=self.id).first()

    def runs(self) -> list[Invocation]:
        if not self.actor.is_authenticated:
            return []
        since = clock.now() - RUNS_SINCE
        calls = Invocation.objects.tried_by(self.actor.user, self.actor.organization, self.ai_model.id, since=since)
        return list(calls[:RUNS_SHOWN])


@dataclass(frozen=True, slots=True)
class Run:
    """What the page shows of a run: an answer, or the problem that came instead."""

    asked: ModelRequest
    receipt: Invocation | None
    answer: dict[str, Any] | None = None
    raw: str = ""
    problem: Problem | None = None

    @property
    def link(self) -> dict[str, str] | None:
        """Where a person can do something about the problem."""
        if self.problem is None or not (href := self.problem.extra.get("fix_url")):
            return None
        words = {
            "insufficient_credit": _("See what was spent"),
            "spend_limit_reached": _("Look at the limit"),
            "subscription_required": _("See the price"),
        }
        return {"href": str(href), "text": words.get(self.problem.code, _("What to do"))}


def _wants(request: HttpRequest) -> str:
    """How the answer is to come: "stream", "json" or "page"."""
    accepted = request.headers.get("Accept", "")
    if "text/event-stream" in accepted:
        return "stream"
    return "json" if "application/json" in accepted and "text/html" not in accepted else "page"


def _is_fragment(request: HttpRequest) -> bool:
    """Whether the form asks what its values would cost."""
    return request.method == "POST" and request.headers.get("HX-Request") == "true"


# --- Publishing: the endpoint and its test ----------------------------------------------------------------------------

methods = require_http_methods(["GET", "HEAD", "POST"])


@methods
def publish_endpoint(request: HttpRequest, id: UUID) -> HttpResponse:
    """The second step: where calls go. The secret is taken and never shown. htmx sends each change, which is kept, but
    for the secret, until the button saves it."""
    ai_model = _find_own(request, id)
    endpoint = Endpoint.objects.of_model(ai_model.pk).first()
    of: dict[str, Any] = {"step": "endpoint", "organization": ai_model.publisher, "ai_model": ai_model}
    kept, is_post = kept_step(**of), request.method == "POST"
    if request.POST.get("act") == "discard":
        forget_step(kept=kept)
        return redirect(request.path)
    initial = shown_values(EndpointForm.initial_of(endpoint), kept)
    has_secret = endpoint is not None and endpoint.sealed_secret is not None
    form = EndpointForm(request.POST if is_post else None, initial=initial, has_secret=has_secret)
    if is_post and request.headers.get("HX-Request") == "true":
        return render(request, "gateway/endpoint_step.html#kept", {"is_kept": keep_step(form=form, **of)})
    if is_post and form.is_valid():
        try:
            services.set_endpoint(ai_model=ai_model, **form.arguments(endpoint))
        except (EndpointRefused, ValidationFailed) as problem:
            form.add_problem(problem)
        else:
            forget_step(kept=kept)
            services.ask_check(ai_model=ai_model)
            return redirect("publish-test", ai_model.pk)
    if is_post:
        keep_step(form=form, **of)
    context = {
        "step": "endpoint",
        "kept": kept,
        "form": form,
        "ai_model": ai_model,
        "has_secret": has_secret,
        "signing_key": "" if endpoint is None else base64.b64encode(services.signing_key_of(endpoint)).decode(),
    }
    return render(request, "gateway/endpoint_step.html", context, status=422 if form.is_bound else 200)


@methods
def publish_test(request: HttpRequest, id: UUID) -> HttpResponse:
    """The third step: the contract check. htmx asks each second for what has come (`#check`), as long as it runs."""
    ai_model = _find_own(request, id)
    refusal = ""
    if request.method == "POST":
        try:
            services.ask_check(ai_model=ai_model)
        except RateLimited as problem:
            refusal = problem.detail
        else:
            return redirect("publish-test", ai_model.pk)
    check = services.latest_check(ai_model.pk)
    steps = steps_of(check.steps if check else [])
    context = {
        "step": "test",
        "ai_model": ai_model,
        "check": check,
        "steps": steps,
        "failed": sum(one.outcome == "failed" for one in steps),
        "refusal": refusal,
        "has_endpoint": ai_model.is_callable,
    }
    is_part = request.headers.get("HX-Request") == "true"
    template = f"gateway/test_step.html{'#check' if is_part else ''}"
    return render(request, template, context, status=429 if refusal else 200)


def _find_own(request: HttpRequest, id: UUID) -> AIModel:
    own = AIModel.objects.owned_by(actor_of(request).organization).exclude(status=AIModel.Status.ARCHIVED)
    return get_object_or_404(own.detailed(), pk=id)


# --- Deployments ------------------------------------------------------------------------------------------------------


@methods
def deployments(request: HttpRequest) -> HttpResponse:
    """The organization's own names for models, and the form for another one."""
    actor = actor_of(request)
    may_change = role_may(actor.role, "deployments.change")
    form = None
    if request.method == "POST" or (may_change and "new" in request.GET):
        require_right(actor.role, "deployments.change")
        initial = {"model": request.GET.get("model", "")}
        form = DeploymentForm(request.POST or None, organization=actor.organization, initial=initial)
    if form is not None and form.is_bound and form.is_valid():
        try:
            made = services.create_deployment(organization=actor.organization, **form.arguments())
        except ValidationFailed as problem:
            form.add_problem(problem)
        else:
            messages.success(request, _("Send “%(name)s” as “model”.") % {"name": made.name})
            return redirect("deployment", made.pk)
    rows = Deployment.objects.for_actor(actor).select_related("ai_model__publisher", "version", "fallback__publisher")
    given = request.GET.copy()
    for name in ("new", "model"):
        given.pop(name, None)
    page = paginate(rows, order=["-id"], limit=50, cursor=read_query(PageQuery, given).get("cursor"))
    limits = services.spend_limits_of(page["data"])
    context = {
        "page": page,
        "rows": [{"one": one, "limit": limits.get(one.pk)} for one in page["data"]],
        "form": form,
        "may_change": may_change,
    }
    return render(request, "gateway/deployments.html", context, status=422 if form is not None and form.errors else 200)


@methods
def deployment(request: HttpRequest, id: UUID) -> HttpResponse:
    """One of them: pin, limit, pause, delete. Those of other organizations are not there."""
    actor = actor_of(request)
    rows = Deployment.objects.for_actor(actor).select_related("ai_model__publisher", "version", "fallback__publisher")
    found = get_object_or_404(rows, pk=id)
    limit = services.spend_limits_of([found]).get(found.pk)
    may_change = role_may(actor.role, "deployments.change")
    form = None
    if request.method == "POST":
        require_right(actor.role, "deployments.change")
        if (answer := _act(request, found)) is not None:
            return answer
    if may_change:
        given = request.POST if request.method == "POST" else None
        initial = DeploymentForm.initial_of(found, limit)
        form = DeploymentForm(given, organization=actor.organization, deployment=found, initial=initial)
    if form is not None and form.is_bound and form.is_valid():
        try:
            services.change_deployment(deployment=found, changes=form.arguments())
        except ValidationFailed as problem:
            form.add_problem(problem)
        else:
            messages.success(request, _("The deployment is saved."))
            return redirect("deployment", found.pk)
    context = {"deployment": found, "limit": limit, "form": form}
    return render(request, "gateway/deployment.html", context, status=422 if form is not None and form.errors else 200)


def _act(request: HttpRequest, found: Deployment) -> HttpResponse | None:
    """What a button beside the form does; None for the form itself."""
    match request.POST.get("act"):
        case "pause" | "resume" as act:
            status = Deployment.Status.PAUSED if act == "pause" else Deployment.Status.ACTIVE
            services.change_deployment(deployment=found, changes={"status": status})
            messages.success(request, _("Calls by its name are refused.") if act == "pause" else _("It works again."))
            return redirect("deployment", found.pk)
        case "delete":
            services.delete_deployment(deployment=found)
            messages.success(request, _("“%(name)s” is deleted.") % {"name": found.name})
            return redirect("deployments")
    return None
