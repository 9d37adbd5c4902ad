"""People, keys and models to attack, made by the product's own services. To be imported inside `run`."""

from __future__ import annotations

from typing import Any

from accounts import services as accounts
from accounts.models import User
from apikeys import services as apikeys
from apikeys.models import APIKey
from common.ids import uuid7
from gateway import services as gateway
from marketplace import services as marketplace
from marketplace.models import AIModel
from trust.ground import Ground

PASSWORD = "correct horse battery staple 42"
TEXT_IN = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
LABEL_OUT = {"type": "object", "required": ["label"], "properties": {"label": {"type": "string"}}}


def make_person(*, email: str | None = None, name: str = "Ada Lovelace", **fields: Any) -> User:
    """A person with a verified address, a personal organization and `PASSWORD`."""
    user = accounts.open_account(email=email or new_address(), password=PASSWORD, name=name)
    if fields:
        User.objects.filter(pk=user.pk).update(**fields)
        user.refresh_from_db()
    return user


def make_key(user: User, **values: Any) -> tuple[APIKey, str]:
    """A key of the person's own organization, unless another is named."""
    organization = values.pop("organization", None) or user.personal_organization
    return apikeys.issue_key(organization=organization, user=user, **{"name": "production", **values})


def make_model(ground: Ground, *, name: str = "Mood", **values: Any) -> AIModel:
    """A free, published model whose calls go to `ground.upstream`, which answers `{"label": "ok"}`."""
    publisher = make_person(platform_role="developer").personal_organization
    ai_model = marketplace.create_model(
        publisher=publisher,
        name=name,
        description="Tells it.",
        version="1.0.0",
        category="other",
        api_spec={"input": TEXT_IN, "output": LABEL_OUT},
        **{"pricing": marketplace.Terms(type="free"), **values},
    )
    gateway.set_endpoint(ai_model=ai_model, url=ground.upstream.url, protocol="json", secret="upstream-s3cret")
    marketplace.submit(ai_model=ai_model)
    marketplace.publish(ai_model=ai_model, by_staff=True)
    ai_model.refresh_from_db()
    return ai_model


def new_address() -> str:
    return f"{uuid7().hex}@example.org"
