"""The playground: a call from the model's page. It needs a session; the active organization pays."""

from __future__ import annotations

import json
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from common.ids import encode
from common.money import display
from common.policy import Actor, actor_of
from common.problems import Problem
from gateway.hotpath.app import running_gateway
from gateway.hotpath.rules import Answer, Call, kind_of
from gateway.hotpath.snapshot import Caller
from marketplace.services import find_model
from marketplace.services.forms import body_of_form


@require_POST
async def playground(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """Runs the model once with the posted form, and shows the model's page with what came back."""
    actor = await sync_to_async(_actor)(request)
    ai_model = await sync_to_async(find_model)(f"{publisher}:{slug}", organization=actor.organization)
    version = ai_model.current_version
    body, errors = body_of_form(version.input_schema if version else {}, request.POST)
    run: dict[str, Any] = {}
    status = 200
    if not errors:
        try:
            run = await _run(ai_model.id, body, actor)
        except Problem as problem:
            status, errors = problem.status, problem.errors
            run = {"error": str(problem.detail), "code": problem.code, "request_id": ""}
    context = {"ai_model": ai_model, "run": run, "values": request.POST, "errors": errors}
    return await sync_to_async(render)(
        request, "marketplace/model.html", context, status=422 if errors and status == 200 else status
    )


def _actor(request: HttpRequest) -> Actor:
    return actor_of(request)


async def _run(ai_model_id: Any, body: dict[str, Any], actor: Actor) -> dict[str, Any]:
    gateway = await running_gateway()
    caller: Caller = await gateway.snapshots.caller_of_person((actor.organization.id, actor.user.id))
    await gateway.check_rate(caller)
    listing = await gateway.find_listing(ai_model_id, caller)
    size = len(json.dumps(body).encode())
    call = Call(caller, listing, kind_of(listing, body), body, size)
    answer: Answer = await gateway.answer(call)
    return {
        "output_json": json.dumps(answer.output, indent=2, ensure_ascii=False),
        "output": answer.output,
        "cost": display(answer.cost_nano, settings.CURRENCY),
        "latency_ms": call.elapsed_ms(),
        "input_tokens": answer.usage.input_tokens,
        "output_tokens": answer.usage.output_tokens,
        "request_id": encode("req", call.id),
    }
