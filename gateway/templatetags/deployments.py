"""What pages about models say of deployments."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django import template
from django.template import Context
from django.urls import reverse
from django.utils.http import urlencode

from accounts.models import role_may
from common.policy import Actor, actor_of
from gateway.models import Deployment
from marketplace.models import AIModel

register = template.Library()


@register.simple_tag(takes_context=True)
def pinned_here(context: Context, ai_model: AIModel) -> dict[str, list[Deployment]]:
    """The own deployments that stay at a version of the model, by its number; nothing for strangers."""
    actor, found = _actor(context), defaultdict(list)
    if actor.organization is not None:
        own = Deployment.objects.pinned_to(ai_model.pk).filter(organization=actor.organization)
        for one in own.select_related("version"):
            assert one.version is not None
            found[one.version.version].append(one)
    return dict(found)


@register.filter
def at_version(pins: dict[str, list[Deployment]], number: str) -> list[Deployment]:
    """Of what `pinned_here` found."""
    return pins.get(number, [])


@register.simple_tag(takes_context=True)
def deploy_address(context: Context, ai_model: AIModel) -> str:
    """Where whoever reads may make a deployment of the model; empty where they may not."""
    actor = _actor(context)
    if actor.organization is None or not ai_model.is_callable or not role_may(actor.role, "deployments.change"):
        return ""
    slug = f"{ai_model.publisher.slug}/{ai_model.slug}"
    return f"{reverse('deployments')}?{urlencode({'new': '', 'model': slug})}"


def _actor(context: Any) -> Actor:
    """Also within an inclusion, which has the request beside its names."""
    return actor_of(context.get("request") or context.request)
