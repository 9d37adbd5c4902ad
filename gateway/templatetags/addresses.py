"""For the page of a model: the addresses it is called at, and the errors that they answer."""

from __future__ import annotations

from typing import Any, TypedDict

from django import template
from django.utils.translation import gettext as _

from apikeys import errors as apikeys
from common import problems
from gateway import errors
from gateway.adapters.anthropic import USUAL_MAX_TOKENS
from gateway.models import Endpoint, Invocation
from gateway.services.examples import Example, example_of
from marketplace.models import AIModel, Category
from marketplace.services.forms import example_of_schema

register = template.Library()

Kind = Invocation.Kind

#: Of calls that do not get as far as the model.
ENTRY_PROBLEMS: tuple[type[problems.Problem], ...] = (
    problems.InvalidJSON,
    problems.NotAuthenticated,
    problems.MissingScope,
    problems.PayloadTooLarge,
    problems.UnsupportedMediaType,
    problems.ValidationFailed,
    problems.RateLimited,
    apikeys.KeyMalformed,
    apikeys.KeyUnknown,
    apikeys.KeyRevoked,
    apikeys.KeyExpired,
    apikeys.IPNotAllowed,
    errors.NotForTestKeys,
    errors.MoneyUnavailable,
)
OPENAI_TASKS = {Category.CHAT, Category.TEXT_GENERATION, Category.CODE, Category.EMBEDDINGS}
PATHS = {
    Kind.CHAT: "/v1/chat/completions",
    Kind.COMPLETION: "/v1/completions",
    Kind.EMBEDDING: "/v1/embeddings",
    Kind.MESSAGES: "/v1/messages",
}


class Address(TypedDict):
    """One address. `body` is an example of what it takes; `takes_model`: the model's name is part of it.

    `answered`: the exchange of the last contract check, whose request `body` is then; None where there is none.
    """

    id: str
    path: str
    title: str
    text: str
    body: Any
    takes_model: bool
    answered: Example | None
    problems: list[type[problems.Problem]]


@register.simple_tag
def call_addresses(ai_model: AIModel) -> list[Address]:
    """Where the model can be called, a provider's address first; as it would be, where there is no endpoint yet."""
    publisher, slug = ai_model.publisher.slug, ai_model.slug
    example = example_of_schema(ai_model.current_version.input_schema) if ai_model.current_version else {}
    kind = _kind_under_v1(ai_model)
    bound = {"max_tokens": USUAL_MAX_TOKENS} if kind == Kind.MESSAGES else {}
    checked = example_of(ai_model)
    found = []
    if kind is not None:
        answered = checked if checked and checked.kind == kind else None
        body = answered.input if answered else {**bound, **example}
        found = [_address_under_v1(kind, {"model": f"{publisher}/{slug}", **body}, answered)]
    answered = checked if checked and checked.kind == Kind.INVOKE else None
    invoke: Address = {
        "id": "invoke",
        "path": f"/api/models/{publisher}:{slug}/invoke",
        "title": _("Invoke"),
        "text": _("Takes the model's own input and answers with its own output, whatever the task."),
        "body": answered.input if answered else example,
        "takes_model": False,
        "answered": answered,
        "problems": _sorted(*ENTRY_PROBLEMS, *errors.CALL_PROBLEMS),
    }
    return [*found, invoke]


def _kind_under_v1(ai_model: AIModel) -> str | None:
    """The kind of call under `/v1` that the model takes, by its endpoint and its input; None if it takes none."""
    version = ai_model.current_version
    if version is None:
        return None
    endpoint = Endpoint.objects.of_model(ai_model.pk).filter(version_id__lte=version.pk).first()
    if endpoint is not None and endpoint.protocol == Endpoint.Protocol.ANTHROPIC:
        return Kind.MESSAGES
    speaks_openai = (
        ai_model.category in OPENAI_TASKS if endpoint is None else endpoint.protocol == Endpoint.Protocol.OPENAI
    )
    properties = version.input_schema.get("properties")
    if not speaks_openai or not isinstance(properties, dict):
        return None
    for name, kind in (("messages", Kind.CHAT), ("input", Kind.EMBEDDING), ("prompt", Kind.COMPLETION)):
        if name in properties:
            return kind
    return None


def _address_under_v1(kind: str, body: Any, answered: Example | None) -> Address:
    words = {
        Kind.CHAT: (
            _("Chat completion"),
            _("A chat as OpenAI's clients know it; with “stream” set to true the answer comes piece by piece."),
        ),
        Kind.COMPLETION: (
            _("Completion"),
            _("A completion as OpenAI's clients know it; with “stream” set to true it comes piece by piece."),
        ),
        Kind.EMBEDDING: (_("Embeddings"), _("Vectors, as OpenAI's clients know them.")),
        Kind.MESSAGES: (
            _("Message"),
            _("A message as Anthropic's clients know it; with “stream” set to true it comes piece by piece."),
        ),
    }
    title, text = words[Kind(kind)]
    return {
        "id": kind,
        "path": PATHS[Kind(kind)],
        "title": title,
        "text": text,
        "body": body,
        "takes_model": True,
        "answered": answered,
        "problems": _sorted(*ENTRY_PROBLEMS, *errors.CALL_PROBLEMS, errors.WrongProtocol),
    }


def _sorted(*found: type[problems.Problem]) -> list[type[problems.Problem]]:
    return sorted(found, key=lambda problem: (problem.status, problem.code))
