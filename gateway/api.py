"""Endpoints of models, receipts of calls, and the callable models as OpenAI's clients list them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import services as apikeys
from apikeys.models import APIKey
from billing.services import ensure_account
from common import clock
from common.limiter import Bucket
from common.limits import buckets_of_deployment
from common.pagination import PageQuery, page_response
from common.problems import NotFound, RateLimited, SecondFactorStale
from common.rest import APIView, Nothing, read_body
from gateway import errors, services
from gateway.errors import (
    ConfirmationNotSigned,
    EndpointRefused,
    GatewayElsewhere,
    ModelNotFound,
    NoEndpoint,
    ReceiptNotFound,
)
from gateway.hotpath.predictions import PredictionIn
from gateway.models import Deployment, Endpoint, Invocation, Prediction
from gateway.serializers import (
    CheckOut,
    ConfirmationIn,
    ConfirmationOut,
    DeploymentIn,
    DeploymentOut,
    DeploymentPatch,
    EndpointIn,
    EndpointOut,
    LimitsOut,
    LimitsQuery,
    PredictionOut,
    PredictionQuery,
    PredictionRowOut,
    ReceiptOut,
    RequestQuery,
    openai_model,
)
from gateway.services import set_endpoint
from gateway.services.confirmations import MAX_BYTES as MAX_CONFIRMATION_BYTES
from gateway.services.echo import ECHO_ID, ECHO_SLUG
from gateway.services.prediction_content import SEALED, document_of, summary_of
from gateway.services.predictions import cancel_prediction
from marketplace.models import AIModel
from marketplace.services import SEE_ALL, find_model, require_publisher

MAX_LISTED = 1000
UNDER_V1 = (Endpoint.Protocol.OPENAI, Endpoint.Protocol.ANTHROPIC)
LOOKS_PER_MINUTE = 60  # at one's own limits
#: Of every request that makes a call; docs/idempotency.md says what it does.
ONCE = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description=(
        "1 to 255 visible ASCII characters, such as a UUID. For 24 hours a repeat under the same key gets the first "
        "answer, with `Idempotency-Replayed: true`, and makes no second call; while the first is running 409 "
        "`idempotent_request_running`, with another body, address or mode 422 `idempotency_key_reused`."
    ),
)


class OneOwnModel(APIView):
    """The base of what the publisher's people alone may see or do, and staff."""

    def _own_model(self, ref: str, *, is_everybodys: bool) -> AIModel:
        """is_everybodys: staff may do the same with the models of others."""
        ai_model = find_model(ref, organization=self.actor.organization, sees_all=self.actor.may(SEE_ALL))
        if not is_everybodys:
            require_publisher(ai_model=ai_model, organization=self.actor.organization)
        return ai_model


class ModelEndpoint(OneOwnModel):
    """Where the calls of a model go."""

    problems = (EndpointRefused, SecondFactorStale)

    @extend_schema(responses=EndpointOut)
    def get(self, request: Request, ref: str) -> Response:
        ai_model = self._own_model(ref, is_everybodys=self.actor.may("gateway.view_endpoint"))
        endpoint = Endpoint.objects.of_model(ai_model.id).first()
        if endpoint is None:
            raise NotFound("This model has no endpoint yet.")
        return Response(EndpointOut(endpoint).data)

    @extend_schema(request=EndpointIn, responses=EndpointOut)
    def put(self, request: Request, ref: str) -> Response:
        ai_model = self._own_model(ref, is_everybodys=self.actor.may_act("gateway.change_endpoint"))
        values = self.read(EndpointIn)
        if "max_cost" in values:
            values["max_cost_nano"] = values.pop("max_cost")
        endpoint = set_endpoint(ai_model=ai_model, **values)
        return Response(EndpointOut(endpoint).data)


class ModelCheck(OneOwnModel):
    """The contract check of the endpoint: eight questions, which a worker asks one after the other."""

    problems = (NoEndpoint, RateLimited)

    @extend_schema(operation_id="get_check", responses=CheckOut)
    def get(self, request: Request, ref: str) -> Response:
        """The last run; while it is under way, with the steps taken so far."""
        ai_model = self._own_model(ref, is_everybodys=self.actor.may("gateway.view_endpoint"))
        check = services.latest_check(ai_model.id)
        if check is None:
            raise NotFound("This endpoint was not checked yet.")
        return Response(CheckOut(check).data)

    @extend_schema(operation_id="start_check", request=None, responses={202: CheckOut})
    def post(self, request: Request, ref: str) -> Response:
        """Ask for a run; the one under way if there is one. Read it until `ended_at` is there."""
        ai_model = self._own_model(ref, is_everybodys=self.actor.may_act("gateway.change_endpoint"))
        self.read(Nothing)
        return Response(CheckOut(services.ask_check(ai_model=ai_model)).data, status=202)


def deployments_shown(deployments: Sequence[Deployment]) -> Any:
    return DeploymentOut(deployments, many=True, context={"spend_limits": services.spend_limits_of(deployments)}).data


class Deployments(APIView):
    """The organization's own names for models. What is called by one is pinned and limited as it says."""

    query = {"GET": PageQuery}

    @extend_schema(operation_id="list_deployments", responses=DeploymentOut(many=True))
    def get(self, request: Request) -> Response:
        rows = Deployment.objects.for_actor(self.actor).select_related("version")
        return page_response(self, rows, order=["-id"], serialize=deployments_shown)

    @extend_schema(operation_id="create_deployment", request=DeploymentIn, responses={201: DeploymentOut})
    def post(self, request: Request) -> Response:
        values = self.read(DeploymentIn)
        made = services.create_deployment(organization=self.actor.organization, **values)
        return Response(deployments_shown([made])[0], status=201)


class OneDeployment(APIView):
    """One of them; those of other organizations do not exist here."""

    def find(self, id: UUID) -> Deployment:
        return get_object_or_404(Deployment.objects.for_actor(self.actor).select_related("version"), pk=id)

    @extend_schema(operation_id="get_deployment", responses=DeploymentOut)
    def get(self, request: Request, id: UUID) -> Response:
        return Response(deployments_shown([self.find(id)])[0])

    @extend_schema(operation_id="change_deployment", request=DeploymentPatch, responses=DeploymentOut)
    def patch(self, request: Request, id: UUID) -> Response:
        """In force within a second."""
        changed = services.change_deployment(deployment=self.find(id), changes=self.read(DeploymentPatch))
        return Response(deployments_shown([changed])[0])

    @extend_schema(operation_id="delete_deployment", responses={204: None})
    def delete(self, request: Request, id: UUID) -> Response:
        """Calls by its name are refused within a second; its receipts stay."""
        services.delete_deployment(deployment=self.find(id))
        return Response(status=204)


def receipts(actor: Any) -> Any:
    """The calls whose receipts the actor may read: the organization's; of a key that only invokes, its own."""
    calls = Invocation.objects.of_organization(actor.organization)
    if actor.scopes is not None and "analytics:read" not in actor.scopes:
        calls = calls.filter(api_key_id=actor.key.id)
    return calls.select_related("publisher", "ai_model", "version", "price", "deployment")


class Requests(APIView):
    """Calls of the organization, newest first."""

    query = RequestQuery

    @extend_schema(parameters=[RequestQuery], responses=ReceiptOut(many=True))
    def get(self, request: Request) -> Response:
        calls = receipts(self.actor)
        match self.params.get("status"):
            case "ok":
                calls = calls.filter(http_status__lt=400)
            case "error":
                calls = calls.filter(http_status__gte=400)
        return page_response(self, calls, order=["-id"], serialize=ReceiptOut)


class Receipt(APIView):
    """What one call was, and why it cost what it cost."""

    problems = (ReceiptNotFound,)

    @extend_schema(responses=ReceiptOut)
    def get(self, request: Request, id: UUID) -> Response:
        call = receipts(self.actor).filter(pk=id).first()
        if call is None:
            raise ReceiptNotFound()
        return Response(ReceiptOut(call).data)


class Limits(APIView):
    """Every limit that the caller's calls fall under, as it is enforced now; for a key that is blocked, too.

    It has a rate of its own, and takes nothing from those that it tells about.
    """

    def _count(self, buckets: list[Bucket]) -> None:
        if buckets[0].name != "network":  # of nobody in particular: a guess, which counts as one
            buckets = [Bucket(f"limits:{buckets[0].key}", LOOKS_PER_MINUTE, name="limits")]
        super()._count(buckets)

    query = LimitsQuery

    @extend_schema(operation_id="list_limits", parameters=[LimitsQuery], responses=LimitsOut)
    def get(self, request: Request) -> Response:
        """With a key: what limits it. Signed in: what limits the organization, and you. Of calls by a deployment's
        name, its limits too."""
        actor = self.actor
        ensure_account(actor.organization)
        more = self._limits_of_deployment()
        if actor.key is not None:
            limits = apikeys.limits_of_key(actor.key, **more)
        else:
            limits = apikeys.limits_of_person(actor.user.pk, actor.organization, **more)
        return Response(LimitsOut({"actor": actor, "limits": limits}).data)

    def _limits_of_deployment(self) -> dict[str, Any]:
        if (name := self.params.get("deployment")) is None:
            return {}
        deployment = get_object_or_404(Deployment.objects.for_actor(self.actor), name=name)
        buckets = buckets_of_deployment(deployment.pk, deployment.rate_limit)
        return {"subject_ids": [deployment.pk], "buckets": buckets}


def openai_models(actor: Any) -> Any:
    """The published models that the caller can call under `/v1`: with a key those that it is for."""
    found = AIModel.objects.published().filter(is_callable=True)
    if actor.key is not None and actor.key.allowed_models:
        found = found.filter(pk__in=actor.key.allowed_models)
    if _is_test(actor):
        found = found.filter(test_enabled=True)
    return found.filter(versions__endpoint__protocol__in=UNDER_V1).distinct().detailed()


def _is_test(actor: Any) -> bool:
    return actor.key is not None and actor.key.mode == APIKey.Mode.TEST


class OpenAIModels(APIView):
    """Every model that can be called under `/v1`, in OpenAI's shape."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        rows = openai_models(self.actor).order_by("-id")[:MAX_LISTED]
        data = [openai_model(row) for row in rows]
        if _is_test(self.actor) and ECHO_ID in (self.actor.key.allowed_models or [ECHO_ID]):
            data.insert(0, {"id": ECHO_SLUG, "object": "model", "created": 0, "owned_by": ECHO_SLUG.partition("/")[0]})
        return Response({"object": "list", "data": data})


class OpenAIModel(APIView):
    """One of them."""

    @extend_schema(
        parameters=[OpenApiParameter("slug", str, OpenApiParameter.PATH, description="publisher/name")],
        responses=OpenApiTypes.OBJECT,
    )
    def get(self, request: Request, slug: str) -> Response:
        publisher, _, name = slug.partition("/")
        row = openai_models(self.actor).filter(publisher__slug=publisher, slug=name).first()
        if row is None:
            raise ModelNotFound()
        return Response(openai_model(row))


def predictions(actor: Any) -> Any:
    """Those that a key made; of a person, those that their keys made in this organization."""
    found = Prediction.objects.filter(organization=actor.organization)
    found = found.filter(user=actor.user) if actor.key is None else found.filter(api_key=actor.key.id)
    return found.select_related("ai_model__publisher", "version")


class Predictions(APIView):
    """Long work. What is posted here is answered by the gateway, as other calls are."""

    query = {"GET": PredictionQuery}
    problems = (*errors.CALL_PROBLEMS, errors.PredictionsFull)

    @extend_schema(operation_id="list_predictions", parameters=[PredictionQuery], responses=PredictionRowOut(many=True))
    def get(self, request: Request) -> Response:
        """Yours that are still kept, newest first, without what was sent and what came back."""
        found = predictions(self.actor).kept().defer(*SEALED)
        if (status := self.params.get("status")) is not None:
            found = found.filter(status=status)
        return page_response(self, found, order=["-id"], serialize=lambda rows: [summary_of(row) for row in rows])

    @extend_schema(
        operation_id="create_prediction",
        summary="Call any model without waiting for it",
        request=PredictionIn,
        parameters=[
            OpenApiParameter("Prefer", str, OpenApiParameter.HEADER, description="`wait` or `wait=5`: seconds, to 60."),
            ONCE,
        ],
        responses={
            201: OpenApiResponse(PredictionOut, description="It ended while you waited."),
            202: OpenApiResponse(PredictionOut, description="It is in line."),
        },
    )
    def post(self, request: Request) -> Response:
        raise GatewayElsewhere()


class OnePrediction(APIView):
    problems = (errors.PredictionNotFound, errors.PredictionExpired)

    @extend_schema(operation_id="get_prediction", responses=PredictionOut)
    def get(self, request: Request, id: UUID) -> Response:
        """How far it is, and what came back."""
        return Response(document_of(find_prediction(self.actor, id)))


class PredictionCancel(APIView):
    problems = (errors.PredictionNotFound, errors.PredictionExpired, errors.PredictionEnded)

    @extend_schema(operation_id="cancel_prediction", request=None, responses=PredictionOut)
    def post(self, request: Request, id: UUID) -> Response:
        """In line it ends at once. While it runs, the gateway hangs up on the model, and it ends a moment later."""
        return Response(cancel_prediction(id=find_prediction(self.actor, id).pk))


def find_prediction(actor: Any, id: UUID) -> Prediction:
    """Raises PredictionNotFound, PredictionExpired."""
    found: Prediction | None = predictions(actor).filter(pk=id).first()
    if found is None:
        raise errors.PredictionNotFound()
    if found.expires_at is not None and found.expires_at <= clock.now():
        raise errors.PredictionExpired()
    return found


class UsageConfirmations(APIView):
    """Where publishers confirm what a call used."""

    authentication_classes = ()  # the signature is all that counts
    max_body_bytes = MAX_CONFIRMATION_BYTES
    problems = (ConfirmationNotSigned,)

    @extend_schema(
        operation_id="confirm_usage",
        request=ConfirmationIn,
        responses=ConfirmationOut,
        auth=[],
        parameters=[OpenApiParameter("X-Agorai-Signature", str, OpenApiParameter.HEADER)],
    )
    def post(self, request: Request) -> Response:
        """Confirm the usage of a call, signed as calls are.

        `t=<unix seconds>,v1=<hex HMAC-SHA-256 of "<t>.<request id>.<body>">` with the endpoint's signing secret, at
        most five minutes old. The first confirmation counts. It decides of a call that the gateway could not settle
        itself; any other it is compared with, and changes nothing.
        """
        raw = read_body(request._request, self.max_body_bytes)
        kept = services.confirm_usage(raw, signature=request.headers.get("X-Agorai-Signature", ""))
        return Response(ConfirmationOut(kept).data)


class Elsewhere(APIView):
    """The gateway's own addresses: `gateway.hotpath.app` answers them before Django is asked.

    They are named here for the access policy and the OpenAPI document. A request that does arrive was sent to the wrong
    process.
    """

    problems = errors.CALL_PROBLEMS

    def post(self, request: Request, **kwargs: Any) -> Response:
        raise GatewayElsewhere()


ANSWER = {200: OpenApiResponse(OpenApiTypes.OBJECT, description="The upstream's answer, as it is.")}


class ChatCompletions(Elsewhere):
    @extend_schema(
        request=OpenApiTypes.OBJECT, parameters=[ONCE], responses=ANSWER, summary="Chat completion, also streamed"
    )
    def post(self, request: Request, **kwargs: Any) -> Response:
        return super().post(request)


class Completions(Elsewhere):
    @extend_schema(
        request=OpenApiTypes.OBJECT, parameters=[ONCE], responses=ANSWER, summary="Completion, also streamed"
    )
    def post(self, request: Request, **kwargs: Any) -> Response:
        return super().post(request)


class Embeddings(Elsewhere):
    @extend_schema(request=OpenApiTypes.OBJECT, parameters=[ONCE], responses=ANSWER, summary="Embeddings")
    def post(self, request: Request, **kwargs: Any) -> Response:
        return super().post(request)


class Messages(Elsewhere):
    @extend_schema(
        request=OpenApiTypes.OBJECT,
        parameters=[ONCE],
        responses=ANSWER,
        summary="Message in Anthropic's shape, also streamed",
        description="For models whose endpoint speaks Anthropic's Messages API; errors come in its envelope.",
    )
    def post(self, request: Request, **kwargs: Any) -> Response:
        return super().post(request)


class Invoke(Elsewhere):
    @extend_schema(
        request=OpenApiTypes.OBJECT,
        parameters=[ONCE],
        responses={200: OpenApiResponse(OpenApiTypes.OBJECT, description="The model's output.")},
        summary="Call any model with its own input",
    )
    def post(self, request: Request, **kwargs: Any) -> Response:
        return super().post(request)
