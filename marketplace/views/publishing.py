"""The steps of publishing that are about the listing. Endpoint and test are the gateway's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from common import clock
from common.ids import decode
from common.money import SYMBOLS
from common.pagination import PageQuery, paginate
from common.policy import actor_of
from common.problems import NotFound, Problem, RoleRequired, ValidationFailed
from common.rest import read_query
from marketplace import services
from marketplace.errors import NotReadyToPublish, VersionNotHigher, WrongStatus
from marketplace.forms import BasicsForm, PriceForm
from marketplace.models import AIModel, Category, ModelVersion, Price
from marketplace.services.quality import checklist

PAGE_SIZE = 24
PRICES_SHOWN = 50
VERSIONS_SHOWN = 100
REFUSALS = (NotFound, ValidationFailed, NotReadyToPublish, VersionNotHigher, WrongStatus)


@require_safe
def publish(request: HttpRequest) -> HttpResponse:
    """What the organization lists, drafts first, and the way to list another one."""
    actor = actor_of(request)
    own = AIModel.objects.owned_by(actor.organization).exclude(status=AIModel.Status.ARCHIVED).detailed()
    page = paginate(own, order=["-id"], limit=PAGE_SIZE, cursor=read_query(PageQuery, request.GET).get("cursor"))
    is_developer = actor.user.role != "consumer"
    return render(request, "marketplace/publish.html", {"page": page, "is_developer": is_developer})


@require_http_methods(["GET", "HEAD", "POST"])
def publish_basics(request: HttpRequest, id: UUID | None = None) -> HttpResponse:
    """The first step. htmx sends each change: of a draft what is right is saved, what is wrong is named and kept."""
    actor = actor_of(request)
    organization = actor.organization
    ai_model = None if id is None else _find_own(request, id)
    of = {"step": "basics", "organization": organization, "ai_model": ai_model, "user": actor.user}
    kept = services.kept_step(**of)
    if request.POST.get("act") == "discard":
        services.forget_step(kept=kept)
        return redirect(request.path)
    is_post = request.method == "POST"
    known = BasicsForm.initial_of(ai_model) if ai_model else {}
    form = BasicsForm(request.POST if is_post else None, initial=services.shown_values(known, kept))
    if is_post and request.headers.get("HX-Request") == "true":
        return _autosave(request, form, of)
    if is_post and form.is_valid():
        try:
            given = BasicsForm.arguments(form.cleaned_data)
            if ai_model is None:
                ai_model = services.create_model(publisher=organization, pricing=services.Terms(type="free"), **given)
            else:
                services.update_model(ai_model=ai_model, pricing=_terms_now(ai_model), **given)
        except REFUSALS as problem:
            form.add_problem(problem)
        else:
            services.forget_step(kept=kept)
            return redirect("publish-endpoint", ai_model.pk)
    if is_post:
        services.keep_step(form=form, **of)
    preview = ai_model or _unsaved(organization, known)
    context = {"form": form, "ai_model": ai_model, "preview": preview, "kept": kept}
    return _step(request, "basics", context, 422 if is_post else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def publish_price(request: HttpRequest, id: UUID) -> HttpResponse:
    """The fourth step: what calls cost, from when on, and what that comes to. htmx sends each change, which is kept
    until the button saves it, and gets the sum."""
    ai_model = _find_own(request, id)
    of: dict[str, Any] = {"step": "price", "organization": ai_model.publisher, "ai_model": ai_model}
    kept, is_post = services.kept_step(**of), request.method == "POST"
    if request.POST.get("act") == "discard":
        services.forget_step(kept=kept)
        return redirect(request.path)
    if withdrawn := request.POST.get("withdraw", ""):
        return _withdraw_price(request, ai_model, withdrawn)
    initial = services.shown_values(PriceForm.initial_of(ai_model.price), kept)
    form = PriceForm(request.POST if is_post else None, initial=initial)
    if is_post and request.headers.get("HX-Request") == "true":
        form.is_valid()
        is_kept = services.keep_step(form=form, **of)
        context = {**_worth(form), "is_kept": is_kept, "at": clock.now(), "is_part": True}
        return render(request, "marketplace/price_step.html#sum", context)
    if is_post and form.is_valid():
        try:
            from_ = form.cleaned_data["effective_from"]
            services.set_price(ai_model=ai_model, terms=form.terms(), effective_from=from_)
        except REFUSALS as problem:
            form.add_problem(problem)
        else:
            services.forget_step(kept=kept)
            messages.success(request, _("The price is saved."))
            return redirect("publish-review", ai_model.pk)
    if is_post:
        services.keep_step(form=form, **of)
        worth = _worth(form)
    else:
        shown = PriceForm({name: form[name].value() for name in form.fields if form[name].value() is not None})
        shown.is_valid()
        worth = _worth(shown)
    history = ai_model.prices.history().order_by("-effective_from", "-id")[:PRICES_SHOWN]
    context = {"form": form, "ai_model": ai_model, "history": history, "kept": kept, **worth}
    return _step(request, "price", context, 422 if is_post else 200)


def _worth(form: PriceForm) -> dict[str, Any]:
    """What the terms in a form come to, for the calculator."""
    return {"estimate": form.estimate(), "volume": form.volume(), "symbol": _symbol()}


def _withdraw_price(request: HttpRequest, ai_model: AIModel, id: str) -> HttpResponse:
    """id: of an announced price, as its button sends it."""
    try:
        services.withdraw_price(price=get_object_or_404(ai_model.prices, pk=decode("prc", id)))
    except ValueError:
        raise Http404 from None
    except ValidationFailed as problem:
        messages.error(request, str(problem.errors[0]["detail"] if problem.errors else problem.detail))
    else:
        messages.success(request, _("The price will not come."))
    return redirect("publish-price", ai_model.pk)


@require_http_methods(["GET", "HEAD", "POST"])
def publish_review(request: HttpRequest, id: UUID) -> HttpResponse:
    """The last step: what the listing still lacks, and the way into the catalogue; later, the way out of it."""
    ai_model = _find_own(request, id)
    problem: Problem | None = None
    if request.method == "POST":
        act = request.POST.get("act", "")
        try:
            said = _act(ai_model, act, request.POST)
        except (RoleRequired, *REFUSALS) as found:
            problem = found
        else:
            messages.success(request, said)
            return redirect("publish-review", ai_model.pk) if act != "delete" else redirect("publish")
    points = checklist(ai_model)
    context = {
        "ai_model": ai_model,
        "problem": problem,
        "points": points,
        "met": sum(point.is_met for point in points),
        "is_ready": all(point.is_met for point in points if point.required),
        "is_staffed": settings.PUBLISH_APPROVAL == "staff",
        "is_editable": ai_model.status in ("draft", "rejected"),
        "older": _older_versions(ai_model),
    }
    return _step(request, "review", context, 422 if problem else 200)


def _older_versions(ai_model: AIModel) -> list[ModelVersion]:
    """The published ones that are not called by name of the model any more, the newest first."""
    published = ai_model.versions.filter(published_at__isnull=False)
    rows = published.exclude(pk=ai_model.current_version_id) if ai_model.current_version_id else published
    return list(rows.only("version", "sunset_on").order_by("-id")[:VERSIONS_SHOWN])


def _act(ai_model: AIModel, act: str, given: Mapping[str, str]) -> str:
    """Take the step that a button names, and say so. Raises ValidationFailed for one that there is not."""
    match act:
        case "submit" if settings.PUBLISH_APPROVAL == "staff":
            services.submit(ai_model=ai_model)
            return _("The staff will look at it. You hear of it by mail.")
        case "submit":
            services.publish(ai_model=ai_model, by_staff=False)
            return _("Everybody can find it now.")
        case "deprecate":
            services.deprecate(ai_model=ai_model, sunset_on=_day(given))
            return _("Callers are told to look for another model.")
        case "end-version":
            version, day = given.get("version", ""), _day(given)
            services.set_version_sunset(ai_model=ai_model, version=version, sunset_on=day)
            if day is None:
                return _("Version %(version)s stays.") % {"version": version}
            return _("Whoever is pinned to %(version)s gets a mail.") % {"version": version}
        case "delete":
            services.delete_model(ai_model=ai_model)
            return _("The listing is gone.")
    raise ValidationFailed(errors=[{"pointer": "/act", "code": "unknown", "detail": _("There is no such step.")}])


def _day(given: Mapping[str, str]) -> date | None:
    """Of a field of dates. Raises ValidationFailed for what is none."""
    if not (text := given.get("sunset_on", "")):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        detail = _("Enter a day such as 2030-12-31.")
        raise ValidationFailed(errors=[{"pointer": "/sunset_on", "code": "invalid", "detail": detail}]) from None


def _autosave(request: HttpRequest, form: BasicsForm, of: dict[str, Any]) -> HttpResponse:
    """Save what is right of a draft. What is wrong, or of a listing that others see, is kept as it was typed."""
    form.is_valid()
    ai_model: AIModel | None = of["ai_model"]
    wrong = [str(form.fields[name].label) for name in form.errors if name in form.fields]
    known = BasicsForm.initial_of(ai_model) if ai_model else {}
    is_saved = False
    if ai_model is not None and _saves_itself(ai_model):
        try:
            given = BasicsForm.arguments({**known, **form.cleaned_data})
            ai_model = services.update_model(ai_model=ai_model, pricing=_terms_now(ai_model), **given)
            is_saved = True
        except REFUSALS as problem:
            wrong.append(problem.detail)
    if is_saved and not wrong:
        services.forget_step(kept=services.kept_step(**of))
        is_kept = False
    else:
        is_kept = services.keep_step(form=form, **of)
    shown = _unsaved(of["organization"], {**known, **form.cleaned_data}, ai_model)
    context = {"preview": shown, "wrong": wrong, "is_saved": is_saved, "is_kept": is_kept}
    return render(request, "marketplace/basics_step.html#side", {**context, "at": clock.now(), "is_part": True})


def _saves_itself(ai_model: AIModel) -> bool:
    """Only what nobody relies on yet, and nobody looks at."""
    return ai_model.status in ("draft", "rejected")


def _unsaved(publisher: Any, values: Mapping[str, Any], like: AIModel | None = None) -> AIModel:
    """The listing as it would look with these values; it is no row."""
    words = {name: values.get(name) or "" for name in ("name", "description", "license")}
    shown = AIModel(publisher=publisher, slug=like.slug if like else "your-model", **words)
    shown.name = shown.name or _("Your model")
    shown.category = values.get("category") or Category.OTHER
    shown.context_tokens = values.get("context_tokens")
    shown.is_callable = like.is_callable if like else True
    price = like.price if like else None
    shown.known_prices = [price or Price(type="free", currency=settings.CURRENCY)]
    return shown


def _terms_now(ai_model: AIModel) -> services.Terms:
    price = ai_model.price
    return services.Terms(type="free") if price is None else services.terms_of(price)


def _symbol() -> str:
    return SYMBOLS.get(settings.CURRENCY, settings.CURRENCY)


def _find_own(request: HttpRequest, id: UUID) -> AIModel:
    """Of the organization that acts; those of others are not there, whoever may see them."""
    organization = actor_of(request).organization
    return get_object_or_404(AIModel.objects.owned_by(organization).exclude(status="archived").detailed(), pk=id)


def _step(request: HttpRequest, name: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    return render(request, f"marketplace/{name}_step.html", {"step": name, **context}, status=status)
