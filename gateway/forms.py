"""The playground's form: what a person filled in, and the call that a program would make of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Budget, Organization
from apikeys.services import MAX_RATE_LIMIT
from common import money
from common.problems import FieldError, NotFound, Problem, ValidationFailed
from common.spending import SpendLimit
from gateway.adapters import count_tokens
from gateway.adapters.anthropic import USUAL_MAX_TOKENS
from gateway.hotpath.rules import KINDS, max_output_tokens, most_of
from gateway.hotpath.snapshot import Schema
from gateway.hotpath.wire import MAX_BODY_BYTES
from gateway.models import Deployment, Endpoint, Invocation
from gateway.services.deployments import MAX_NAME_LENGTH
from marketplace.models import AIModel
from marketplace.services import find_model, today, typical_cost
from marketplace.services.controls import (
    Control,
    controls_of,
    example_values,
    examples_of,
    faults_of_no_control,
    first_token,
    initial_values,
)
from marketplace.services.forms import resolved
from marketplace.services.inputs import Upload, input_of_form
from marketplace.services.pricing import cost_of
from marketplace.services.schemas import steps_of, validator_for

MAX_LINK = 4000  # characters; proxies refuse lines of more than 8,000, and a log-in's `next` encodes it again
MAX_SHOWN_BYTES = 32 * 1024  # of a request; of larger ones the long texts are cut
SHOWN_CHARACTERS = 200
STREAM = "stream"  # the name of the box to tick
PATHS: dict[str, str] = {kind: path for path, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A call as a program makes it."""

    path: str
    kind: str
    body: dict[str, Any]

    @property
    def size(self) -> int:
        return len(msgspec.json.encode(self.body))

    @property
    def shown(self) -> Any:
        """The body for people: as it is, unless it is too long to be read."""
        return self.body if self.size <= MAX_SHOWN_BYTES else _shortened(self.body)

    @property
    def is_shortened(self) -> bool:
        return self.size > MAX_SHOWN_BYTES

    @property
    def json(self) -> str:
        return json.dumps(self.shown, ensure_ascii=False, indent=2)


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value[:SHOWN_CHARACTERS]]
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        return f"{value[:SHOWN_CHARACTERS]}… ({len(value):,} characters)"
    return value


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a call will cost, in nano-units. `most` is what is held for it as it is filled in.

    `about` is None where nothing says it; `is_usual`: it is of what others sent, as long as nothing is filled in.
    """

    about: int | None
    most: int
    is_usual: bool = False


class PlaygroundForm:
    """The form of one model. `values` are those of a form that was sent, or what it shall show at first."""

    max_link = MAX_LINK

    def __init__(
        self,
        ai_model: AIModel,
        endpoint: Endpoint | None,
        *,
        values: Mapping[str, str] | None = None,
        files: Mapping[str, Upload] | None = None,
        is_streamed: bool = True,
    ) -> None:
        self._ai_model, self._endpoint, self._values = ai_model, endpoint, values
        version = ai_model.current_version
        self.schema: dict[str, Any] = version.input_schema if version else {}
        self._root = resolved(self.schema, self.schema)
        self.is_streamed = is_streamed and self.can_stream
        self._input, self.faults = input_of_form(self.schema, values or initial_values(self.schema), files)

    @classmethod
    def prefilled(cls, ai_model: AIModel, endpoint: Endpoint | None, query: Mapping[str, str]) -> PlaygroundForm:
        """As a link asks for it: with an example, or with the values that the link carries."""
        schema = ai_model.current_version.input_schema if ai_model.current_version else {}
        if "example" in query:
            number = query["example"]
            values = example_values(schema, int(number) if number.isdecimal() and len(number) < 4 else 0)
        else:
            given = {c.name: query[c.name].replace("\r\n", "\n") for c in controls_of(schema) if _takes(c, query)}
            values = initial_values(schema) | given
        return cls(ai_model, endpoint, values=values, is_streamed=query.get(STREAM) != "")

    # --- What is shown ---

    def controls(self, errors: list[FieldError] | None = None) -> list[Control]:
        return controls_of(self.schema, self._values, self.faults if errors is None else errors)

    def faults_elsewhere(self, errors: list[FieldError]) -> list[str]:
        return faults_of_no_control(self.schema, errors)

    @property
    def is_untouched(self) -> bool:
        """Whether it shows the defaults."""
        return self._values is None or self._values == initial_values(self.schema)

    @property
    def example_count(self) -> int:
        return len(examples_of(self.schema))

    @cached_property
    def can_stream(self) -> bool:
        """Whether the answer may come bit by bit here: what speaks OpenAI's protocol, and takes `stream`."""
        return self._kind in (Invocation.Kind.CHAT, Invocation.Kind.COMPLETION) and self._takes("stream")

    @property
    def query(self) -> str:
        """The values that differ from the defaults, for a link; empty when they are none, or too long."""
        pairs = [(c.name, c.value) for c in self.controls([]) if c.is_shareable and c.value != c.initial]
        if self.can_stream and not self.is_streamed:
            pairs.append((STREAM, ""))
        return found if len(found := urlencode(pairs)) <= MAX_LINK else ""

    # --- What is asked ---

    @cached_property
    def request(self) -> ModelRequest:
        slug = f"{self._ai_model.publisher.slug}/{self._ai_model.slug}"
        path = PATHS.get(self._kind)
        if path is None or not self._takes("model"):
            invoke = f"/api/models/{slug.replace('/', ':')}/invoke"
            return ModelRequest(invoke, self._kind, self._input)
        streamed = {"stream": True} if self.is_streamed else {}
        bound = {"max_tokens": USUAL_MAX_TOKENS} if self._kind == Invocation.Kind.MESSAGES else {}
        return ModelRequest(path, self._kind, {"model": slug, **bound, **self._input, **streamed})

    def check(self) -> list[FieldError]:
        """Everything wrong with the input: what could not be read, and what does not fit the schema."""
        request, version = self.request, self._ai_model.current_version
        if request.size > MAX_BODY_BYTES:
            return [{"pointer": "", "code": "too_large", "detail": f"The input is larger than {MAX_BODY_BYTES} bytes."}]
        if version is None:
            return self.faults
        schema = Schema(validator_for(version.id, "input", self.schema), steps_of(self.schema))
        unread = {first_token(fault["pointer"]) for fault in self.faults}
        if unread == {""}:
            return self.faults
        found = schema.violations(request.body, request.size)
        return self.faults + [fault for fault in found if first_token(fault["pointer"]) not in unread]

    @property
    def estimate(self) -> Estimate | None:
        """None where there is no price, or where no budget could hold what the call may cost."""
        price, request = self._ai_model.price, self.request
        if price is None or self._endpoint is None:
            return None
        try:
            most = most_of(price, self._endpoint.max_cost_nano, request.kind, request.body, request.size)
        except ValidationFailed:
            return None
        if self.is_untouched and (typical := typical_cost(self._ai_model)) not in (None, most):
            return Estimate(typical, most, is_usual=True)
        tokens = 0
        if price.output_nano_per_million and request.kind != Invocation.Kind.EMBEDDING:
            measured = self._ai_model.measured
            typical = None if measured is None else measured.typical_output_tokens
            if typical is None:
                return Estimate(None, most)
            tokens = min(typical, max_output_tokens(request.kind, request.body))
        said = count_tokens(_text_bytes({name: value for name, value in request.body.items() if name != "model"}))
        return Estimate(min(cost_of(price, input_tokens=said, output_tokens=tokens), most), most)

    @cached_property
    def _kind(self) -> str:
        if self._endpoint is not None and self._endpoint.protocol == Endpoint.Protocol.ANTHROPIC:
            return Invocation.Kind.MESSAGES
        if self._endpoint is None or self._endpoint.protocol != Endpoint.Protocol.OPENAI:
            return Invocation.Kind.INVOKE
        known = self._root.get("properties") or {}
        if "messages" in known:
            return Invocation.Kind.CHAT
        return Invocation.Kind.EMBEDDING if "input" in known else Invocation.Kind.COMPLETION

    def _takes(self, name: str) -> bool:
        """Whether the schema lets a property of this name pass."""
        return name in (self._root.get("properties") or {}) or self._root.get("additionalProperties", True) is not False


def _pins(deployment: Deployment, organization: Organization) -> list[tuple[str, str]]:
    """The versions that it may stay at, the newest first, with the day on which one ends."""
    day, found = today(), []
    versions = deployment.ai_model.versions.visible_to(organization).order_by("-id")
    for one in versions.only("id", "version", "sunset_on"):
        if one.pk == deployment.version_id or not one.is_over(day):
            ends = _("%(version)s (ends on %(day)s)") % {"version": one.version, "day": one.sunset_on}
            found.append((one.version, ends if one.sunset_on else one.version))
    return found


def _takes(control: Control, query: Mapping[str, str]) -> bool:
    return control.is_shareable and control.name in query


def _text_bytes(value: Any) -> int:
    """The bytes of all texts within a value."""
    if isinstance(value, str):
        return len(value.encode())
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(_text_bytes(one) for one in inner)


class EndpointForm(forms.Form):
    """The second step of publishing: where calls go. A secret that is left empty stays as it was."""

    url = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=500,
        widget=forms.TextInput(attrs={"inputmode": "url", "placeholder": "https://", "spellcheck": "false"}),
        help_text=gettext_lazy(
            "Of the API's base, such as https://models.example.org/v1; for JSON the address itself."
        ),
    )
    protocol = forms.ChoiceField(label=gettext_lazy("Protocol"), choices=Endpoint.Protocol.choices)
    upstream_model = forms.CharField(
        label=gettext_lazy("Model's name there"),
        max_length=120,
        required=False,
        help_text=gettext_lazy("If it has another one there than here."),
    )
    secret = forms.CharField(
        label=gettext_lazy("Secret"),
        max_length=4000,
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=gettext_lazy(
            "What the endpoint wants of us. Kept sealed, shown to nobody, sent to this address alone."
        ),
    )
    forget_secret = forms.BooleanField(label=gettext_lazy("Forget the secret that is kept"), required=False)
    auth_header = forms.CharField(
        label=gettext_lazy("Header that carries it"),
        max_length=60,
        required=False,
        help_text=gettext_lazy("Empty: the usual one of the protocol."),
    )
    timeout_seconds = forms.IntegerField(
        label=gettext_lazy("Timeout"), min_value=1, max_value=600, initial=60, help_text=gettext_lazy("Seconds.")
    )

    def __init__(self, *args: Any, has_secret: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not has_secret:
            del self.fields["forget_secret"]

    @staticmethod
    def initial_of(endpoint: Endpoint | None) -> dict[str, Any]:
        if endpoint is None:
            return {}
        names = ("url", "protocol", "upstream_model", "auth_header", "timeout_seconds")
        return {name: getattr(endpoint, name) for name in names}

    def arguments(self, endpoint: Endpoint | None) -> dict[str, Any]:
        """Of `set_endpoint`."""
        given = {name: value for name, value in self.cleaned_data.items() if name != "forget_secret"}
        given["secret"] = "" if self.cleaned_data.get("forget_secret") else given["secret"] or None
        if endpoint is not None:
            given["max_cost_nano"] = endpoint.max_cost_nano
        return given

    def add_problem(self, problem: Problem) -> None:
        for fault in problem.errors or [{"pointer": "", "code": problem.code, "detail": problem.detail}]:
            name = str(fault["pointer"]).removeprefix("/")
            self.add_error(name if name in self.fields else None, str(fault["detail"]))


class DeploymentForm(forms.Form):
    """An organization's own name for a model. `model` is set once, when it is made."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=MAX_NAME_LENGTH,
        help_text=gettext_lazy("a–z, 0–9 and hyphens: what your programs send as “model”."),
    )
    model = forms.CharField(
        label=gettext_lazy("Model"), max_length=121, widget=forms.TextInput(attrs={"placeholder": "publisher/model"})
    )
    version = forms.ChoiceField(
        label=gettext_lazy("Version"),
        required=False,
        help_text=gettext_lazy("A pinned one stays until you change it."),
    )
    rate_limit = forms.IntegerField(
        label=gettext_lazy("Calls a minute"),
        required=False,
        min_value=1,
        max_value=MAX_RATE_LIMIT,
        help_text=gettext_lazy("Empty: no limit of its own."),
    )
    spend_limit = forms.CharField(
        label=gettext_lazy("Spend limit"),
        required=False,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        help_text=gettext_lazy("Requests stop at this amount. You are never charged more. Empty: none of its own."),
    )
    window = forms.ChoiceField(
        label=gettext_lazy("Starts again"), choices=Budget.Window.choices, initial=Budget.Window.MONTH
    )
    fallback = forms.CharField(
        label=gettext_lazy("Fallback"),
        max_length=121,
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "publisher/model"}),
        help_text=gettext_lazy("The model that is called instead while this one fails."),
    )
    POINTERS: ClassVar[dict[str, str]] = {"model_id": "model", "fallback_model_id": "fallback"}

    def __init__(self, *args: Any, organization: Organization, deployment: Deployment | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.organization, self.deployment = organization, deployment
        version: Any = self.fields["version"]
        version.choices = [("", _("Always the current one"))]
        if deployment is None:
            del self.fields["version"]
        else:
            del self.fields["model"]
            version.choices += _pins(deployment, organization)

    @staticmethod
    def initial_of(deployment: Deployment, limit: Budget | None) -> dict[str, Any]:
        other = deployment.fallback
        return {
            "name": deployment.name,
            "version": deployment.version.version if deployment.version else "",
            "rate_limit": deployment.rate_limit,
            "spend_limit": "" if limit is None else money.amount(limit.limit),
            "window": Budget.Window.MONTH if limit is None else limit.window,
            "fallback": "" if other is None else f"{other.publisher.slug}/{other.slug}",
        }

    def clean_model(self) -> UUID:
        return self._find(self.cleaned_data["model"])

    def clean_fallback(self) -> UUID | None:
        return self._find(given) if (given := self.cleaned_data["fallback"]) else None

    def clean_spend_limit(self) -> int | None:
        if not (text := self.cleaned_data["spend_limit"].replace(",", "")):
            return None
        try:
            nano = money.to_nano(text)
        except ValueError:
            nano = -1
        if not 0 <= nano <= money.MAX_NANO:
            raise forms.ValidationError(_("Enter an amount such as 20.00."), code="invalid")
        return nano

    def arguments(self) -> dict[str, Any]:
        """Of `create_deployment`, or the changes of `change_deployment`."""
        given = self.cleaned_data
        limit = given["spend_limit"]
        found = {
            "name": given["name"],
            "rate_limit": given["rate_limit"],
            "spend_limit": None if limit is None else SpendLimit(limit, given["window"]),
            "fallback_id": given["fallback"],
        }
        if self.deployment is None:
            return found | {"ai_model_id": given["model"]}
        return found | {"version": given["version"] or None}

    def add_problem(self, problem: ValidationFailed) -> None:
        for fault in problem.errors or []:
            name = str(fault["pointer"]).removeprefix("/")
            name = self.POINTERS.get(name, name)
            self.add_error(name if name in self.fields else None, str(fault["detail"]))

    def _find(self, ref: str) -> UUID:
        try:
            return find_model(ref.strip(), organization=self.organization).pk
        except NotFound:
            raise forms.ValidationError(_("There is no such model, or you may not see it."), code="unknown") from None
