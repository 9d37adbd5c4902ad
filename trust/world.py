"""People, keys and models to attack, made by the product's own services. To be imported inside `run`."""

from __future__ import annotations

import io
import json
from typing import Any

from django.core.files.base import ContentFile
from PIL import Image

from accounts import services as accounts
from accounts.models import Organization, User
from apikeys import services as apikeys
from apikeys.models import APIKey
from billing import services as billing
from common.ids import uuid7
from common.sealing import open_sealed
from gateway import services as gateway
from gateway.tests.factories import make_call
from marketplace import services as marketplace
from marketplace.models import AIModel
from media import services as media
from media.models import File
from notifications.adapters import Envelope
from notifications.adapters.email import render
from notifications.models import Message, payload_context
from reviews import services as reviews
from reviews.models import Review
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


def make_people(count: int) -> list[str]:
    """The addresses of people with the same password, which is hashed once."""
    if not count:
        return []
    hashed = make_person().password
    people = [accounts.open_account(email=new_address(), password=None, name="Nora") for _ in range(count)]
    User.objects.filter(pk__in=[one.pk for one in people]).update(password=hashed)
    return [one.email for one in people]


def make_key(user: User, **values: Any) -> tuple[APIKey, str]:
    """A key of the person's own organization, unless another is named."""
    organization = values.pop("organization", None) or user.personal_organization
    return apikeys.issue_key(organization=organization, user=user, **{"name": "production", **values})


def give_credit(organization: Organization, amount_nano: int) -> None:
    """So much to spend, beside what it has."""
    billing.grant_credit(
        organization=organization, amount_nano=amount_nano, source="given", key=f"given:{uuid7()}", reason="trial"
    )


def make_model(ground: Ground, *, name: str = "Mood", **values: Any) -> AIModel:
    """A free, published model whose calls go to `ground.upstream`, which answers `{"label": "ok"}`."""
    publisher = make_person(platform_role="developer").personal_organization
    ai_model = marketplace.create_model(
        publisher=publisher,
        name=name,
        description="Tells it.",
        version="1.0.0",
        category="other",
        **{
            "api_spec": {"input": TEXT_IN, "output": LABEL_OUT},
            "pricing": marketplace.Terms(type="free"),
            **values,
        },
    )
    gateway.set_endpoint(ai_model=ai_model, url=ground.upstream.url, protocol="json", secret="upstream-s3cret")
    marketplace.submit(ai_model=ai_model)
    marketplace.publish(ai_model=ai_model, by_staff=True)
    ai_model.refresh_from_db()
    return ai_model


def make_review(ai_model: AIModel, *, by: User | None = None) -> Review:
    """By somebody whose organization called the model once."""
    by = by or make_person()
    organization = by.personal_organization
    make_call(ai_model, organization=organization, user=by)
    return reviews.post_review(ai_model=ai_model, author=by, organization=organization, rating=4, content="Quick.")


def make_file(organization: Organization, ai_model: AIModel | None) -> File:
    """A logo that was checked and is shown."""
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "PNG")
    content = ContentFile(picture.getvalue(), name="logo.png")
    file = media.receive(
        organization=organization, ai_model=ai_model, kind="logo", content=content, media_type="image/png", alt=""
    )
    media.check_files()
    file.refresh_from_db()
    return file


def newest_mail(email: str) -> str:
    """The text of the newest mail to an address, as it waits to be sent."""
    row = Message.objects.filter(to_address=email).order_by("-id").first()
    if row is None:
        raise LookupError(f"there is no mail to {email}")
    payload = json.loads(open_sealed(bytes(row.payload or b""), payload_context(row.id)))
    return str(render(Envelope(row.id, row.kind, row.to_address, row.language, payload)).body)


def new_address() -> str:
    return f"{uuid7().hex}@example.org"
