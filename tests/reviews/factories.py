"""Reviews for tests, resting on calls that were made the way the gateway makes them."""

from __future__ import annotations

from typing import Any

from accounts.models import User
from accounts.tests.factories import make_user
from gateway.tests.factories import make_call
from marketplace.models import AIModel
from reviews import services
from reviews.models import Review


def make_customer(ai_model: AIModel, *, calls: int = 1, **values: Any) -> User:
    """Somebody whose personal organization has so many settled calls of the model."""
    user = make_user(**values)
    for _ in range(calls):
        make_call(ai_model, organization=user.personal_organization, user=user)
    return user


def make_review(ai_model: AIModel, *, author: User | None = None, **values: Any) -> Review:
    author = author or make_customer(ai_model)
    given = {"rating": 4, "title": "Does its work", "content": "Quick, and rarely wrong.", **values}
    return services.post_review(ai_model=ai_model, author=author, organization=author.personal_organization, **given)
