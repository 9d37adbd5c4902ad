"""What publishers fill in about a listing, step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from common import jsonsafe
from common.money import MAX_NANO, NANO, amount, to_nano
from common.problems import Problem
from marketplace.models import SEMVER, AIModel, Category, Price
from marketplace.services.pricing import Terms, cost_of, faults_of
from marketplace.services.schemas import MAX_SCHEMA_BYTES, UnfitSchema, check_schema

MAX_CAPABILITIES = 20
TEXT_INPUT = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": {"type": "string", "description": "What is looked at"}},
    "examples": [{"text": "A fine day."}],
}
ANY_OUTPUT = {"type": "object"}
#: Field of a form -> where services say that something is wrong with it.
POINTERS = {
    "/api_spec/input": "input_schema",
    "/api_spec/output": "output_schema",
    "/pricing/amount": "amount_nano",
    "/pricing/period": "period",
    "/pricing/rates/per_call": "per_call_nano",
    "/pricing/rates/input_tokens_per_million": "input_nano_per_million",
    "/pricing/rates/output_tokens_per_million": "output_nano_per_million",
    "/effective_from": "effective_from",
    "/version": "version",
    "/changelog": "changelog",
}
DAYS = 30  # of a month, for estimates


class ProblemForm(forms.Form):
    def add_problem(self, problem: Problem) -> None:
        """Set what a service refused beside the field it is about; what is about none stands above all."""
        for fault in problem.errors or [{"pointer": "", "code": problem.code, "detail": problem.detail}]:
            pointer = str(fault["pointer"])
            name = next((field for start, field in POINTERS.items() if pointer.startswith(start)), None)
            self.add_error(name if name in self.fields else None, str(fault["detail"]))


class SchemaField(forms.CharField):
    """A JSON Schema, typed as JSON."""

    def __init__(self, *, takes_object: bool = False, **kwargs: Any) -> None:
        self.takes_object = takes_object
        attrs = {"rows": 9, "spellcheck": "false", "autocapitalize": "none", "class": "mono"}
        super().__init__(max_length=MAX_SCHEMA_BYTES, widget=forms.Textarea(attrs=attrs), **kwargs)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        try:
            schema = jsonsafe.loads(text.encode("utf-8", "surrogatepass"), max_bytes=MAX_SCHEMA_BYTES)
            check_schema(schema, takes_object=self.takes_object)
        except jsonsafe.UnsafeJSON as fault:
            raise forms.ValidationError(_("This is not JSON: {}").format(fault.detail), code="invalid") from None
        except UnfitSchema as fault:
            where = f"{fault.pointer}: " if fault.pointer else ""
            raise forms.ValidationError(f"{where}{fault.detail}", code=fault.code) from None
        return schema

    def prepare_value(self, value: Any) -> Any:
        return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict) else value


class WordsField(forms.CharField):
    """A list of short names, with commas or spaces between."""

    def clean(self, value: Any) -> Any:
        words = list(dict.fromkeys(super().clean(value).replace(",", " ").lower().split()))
        if len(words) > MAX_CAPABILITIES or any(len(word) > 40 for word in words):
            raise forms.ValidationError(_("At most 20 words of at most 40 letters."), code="invalid")
        return words

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value


class BasicsForm(ProblemForm):
    """The first step: what the model is, and what goes in and out."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=120)
    category = forms.ChoiceField(label=gettext_lazy("Task"), choices=Category.choices)
    description = forms.CharField(
        label=gettext_lazy("Description"),
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 6}),
        help_text=gettext_lazy("Markdown. What it is good for, its limits, its data, how it was evaluated."),
    )
    capabilities = WordsField(
        label=gettext_lazy("Capabilities"),
        required=False,
        help_text=gettext_lazy("Such as streaming, tools, vision; with commas between."),
    )
    license = forms.CharField(
        label=gettext_lazy("License"),
        max_length=60,
        required=False,
        help_text=gettext_lazy("An SPDX identifier such as Apache-2.0, or a few words."),
    )
    context_tokens = forms.IntegerField(
        label=gettext_lazy("Context"),
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        help_text=gettext_lazy("The most tokens that one call may hold, if it counts in tokens."),
    )
    version = forms.RegexField(
        SEMVER,
        label=gettext_lazy("Version"),
        max_length=20,
        initial="1.0.0",
        error_messages={"invalid": gettext_lazy("Three numbers with dots between, such as 1.4.2.")},
    )
    changelog = forms.CharField(
        label=gettext_lazy("What this version changed"),
        max_length=5_000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("Markdown. It stands beside the version for good, once that is published."),
    )
    input_schema = SchemaField(
        label=gettext_lazy("Input"),
        takes_object=True,
        initial=TEXT_INPUT,
        help_text=gettext_lazy("A JSON Schema. The playground's form, the checks and the examples come from it."),
    )
    output_schema = SchemaField(label=gettext_lazy("Output"), initial=ANY_OUTPUT)
    test_enabled = forms.BooleanField(label=gettext_lazy("Keys in test mode may call it, for nothing"), required=False)

    @staticmethod
    def initial_of(ai_model: AIModel) -> dict[str, Any]:
        version = ai_model.current_version
        names = ("name", "category", "description", "capabilities", "license", "context_tokens", "test_enabled")
        found = {name: getattr(ai_model, name) for name in names}
        if version is not None:
            found |= {"version": version.version, "input_schema": version.input_schema}
            found["output_schema"] = version.output_schema
            # Of a published version they stay: what is typed then is about the next one.
            found["changelog"] = "" if version.published_at else version.changelog
        return found

    @staticmethod
    def arguments(values: Mapping[str, Any]) -> dict[str, Any]:
        """Of `create_model` and `update_model`, without the price."""
        plain = ("name", "category", "description", "capabilities", "license", "context_tokens", "version", "changelog")
        spec = {"input": values["input_schema"], "output": values["output_schema"]}
        return {name: values[name] for name in plain} | {"api_spec": spec, "test_enabled": values["test_enabled"]}


class AmountField(forms.CharField):
    """Nano-units, typed as a decimal amount; nothing is None."""

    def __init__(self, **kwargs: Any) -> None:
        attrs = {"inputmode": "decimal", "autocomplete": "off"}
        super().__init__(required=False, widget=forms.TextInput(attrs=attrs), **kwargs)

    def to_python(self, value: Any) -> int | None:  # type: ignore[override]
        if not (text := super().to_python(value)):
            return None
        try:
            nano = to_nano(text.replace(",", ""))
        except ValueError:
            raise forms.ValidationError(_("Enter an amount such as 0.40."), code="invalid") from None
        if not 0 <= nano <= MAX_NANO:
            raise forms.ValidationError(_("Enter an amount of at least 0."), code="invalid")
        return nano

    def prepare_value(self, value: Any) -> Any:
        return amount(value) if isinstance(value, int) else value


class PriceForm(ProblemForm):
    """The fourth step, and the calculator beside it, which saves nothing."""

    type = forms.ChoiceField(label=gettext_lazy("Price"), choices=Price.Type.choices, widget=forms.RadioSelect)
    per_call_nano = AmountField(label=gettext_lazy("Per call"))
    input_nano_per_million = AmountField(label=gettext_lazy("Per million input tokens"))
    output_nano_per_million = AmountField(label=gettext_lazy("Per million output tokens"))
    amount_nano = AmountField(label=gettext_lazy("Subscription"))
    period = forms.ChoiceField(label=gettext_lazy("Every"), required=False, choices=[("", "–"), *Price.Period.choices])
    effective_from = forms.DateTimeField(
        label=gettext_lazy("From"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text=gettext_lazy(
            "In the time zone at the foot of the page. Empty: at once. Calls under way keep theirs."
        ),
    )
    calls = forms.IntegerField(label=gettext_lazy("Calls a day"), required=False, min_value=0, max_value=10**9)
    tokens_in = forms.IntegerField(label=gettext_lazy("Tokens in a call"), required=False, min_value=0, max_value=10**7)
    tokens_out = forms.IntegerField(label=gettext_lazy("Tokens out"), required=False, min_value=0, max_value=10**7)
    CALCULATOR = ("calls", "tokens_in", "tokens_out")
    RATES = ("per_call_nano", "input_nano_per_million", "output_nano_per_million", "amount_nano")

    @staticmethod
    def initial_of(price: Price | None) -> dict[str, Any]:
        usual = {"calls": 1000, "tokens_in": 500, "tokens_out": 500}
        if price is None:
            return {"type": "free", **usual}
        names = ("type", "period", *PriceForm.RATES)
        return {name: getattr(price, name) for name in names} | usual

    def terms(self) -> Terms:
        given = self.cleaned_data
        return Terms(type=given["type"], period=given["period"] or None, **{name: given[name] for name in self.RATES})

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if values.get("type") == Price.Type.FREE:
            values |= dict.fromkeys(self.RATES) | {"period": ""}
        elif not self.errors:
            for fault in faults_of(self.terms()):
                self.add_error(POINTERS.get(f"/pricing{fault['pointer']}"), str(fault["detail"]))
        return values

    def volume(self) -> dict[str, Any] | None:
        """What `DAYS` days bring from fewer calls a day to more, for the tag `chart`; None while there is nothing to
        draw. Exact sums in units of the currency: by call, by token in, by token out."""
        if self.errors or not self.cleaned_data["calls"]:
            return None
        terms, given = self.terms(), self.cleaned_data
        steps = [max(given["calls"], 5) * fifths // 5 for fifths in range(1, 11)]
        parts: tuple[tuple[str, int | None, dict[str, int]], ...] = (
            (_("Calls"), terms.per_call_nano, {}),
            (_("Tokens in"), terms.input_nano_per_million, {"input_tokens": given["tokens_in"] or 0}),
            (_("Tokens out"), terms.output_nano_per_million, {"output_tokens": given["tokens_out"] or 0}),
        )
        names = ("per_call_nano", "input_nano_per_million", "output_nano_per_million")
        series = []
        for (label, nano, tokens), name in zip(parts, names, strict=True):
            one = Price(currency=settings.CURRENCY, **{name: nano})
            each = cost_of(one, **{"input_tokens": 0, "output_tokens": 0, **tokens})
            if each:
                series.append((label, [each * calls * DAYS / NANO for calls in steps]))
        labels = [number_format(calls, force_grouping=True) for calls in steps]
        return {"labels": labels, "series": series} if series else None

    def estimate(self) -> list[tuple[str, int]]:
        """What callers pay at these terms: words and nano-units; nothing while the terms are wrong."""
        if self.errors:
            return []
        terms, given = self.terms(), self.cleaned_data
        names = ("per_call_nano", "input_nano_per_million", "output_nano_per_million")
        price = Price(currency=settings.CURRENCY, **{name: getattr(terms, name) for name in names})
        call = cost_of(price, input_tokens=given["tokens_in"] or 0, output_tokens=given["tokens_out"] or 0)
        day = call * (given["calls"] or 0)
        return [(_("One call"), call), (_("A day"), day), (_("%(days)d days") % {"days": DAYS}, day * DAYS)]
