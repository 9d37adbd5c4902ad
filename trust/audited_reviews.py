"""What people, publishers and staff do with reviews, each once, as T42 wants to see it recorded."""

from __future__ import annotations

from typing import Any

from gateway.tests.factories import make_call
from marketplace import services as marketplace
from marketplace.models import AIModel
from reviews.models import Report, Review
from trust import world
from trust.audited import Deeds, Person, Trace
from trust.audited_staff import Desk


def walk(deeds: Deeds) -> None:
    publisher = deeds.person(platform_role="developer")
    ai_model = _listed(publisher)
    _by_programs(deeds, publisher, ai_model)
    _on_pages(deeds, publisher, ai_model)
    _by_staff(Desk(deeds), ai_model)


def _by_programs(deeds: Deeds, publisher: Person, ai_model: AIModel) -> None:
    person, ref = _customer(deeds, ai_model), ai_model.public_id
    body: dict[str, Any] = {"rating": 2, "content": "Slow."}
    deeds.api(person, "POST", "api:reviews", ref, body=body, act="review.posted", says="after")
    review = Review.objects.get(author=person.user).pk
    body = {"rating": 4, "content": "Quick by now."}
    deeds.api(person, "PUT", "api:review", ref, review, body=body, act="review.changed", says="before after")
    body = {"content": "Thank you."}
    deeds.api(publisher, "POST", "api:review-reply", ref, review, body=body, act="review.replied", says="after")
    deeds.api(publisher, "DELETE", "api:review-reply", ref, review, act="review.reply_deleted", says="before")
    reader = deeds.person()
    body = {"reason": "spam"}
    deeds.api(reader, "POST", "api:review-report", ref, review, body=body, act="review.reported", says="after")
    deeds.api(reader, "POST", "api:model-report", ref, body=body, act="model.reported", says="after")
    deeds.api(person, "DELETE", "api:review", ref, review, act="review.deleted", says="before")


def _on_pages(deeds: Deeds, publisher: Person, ai_model: AIModel) -> None:
    person, reader = _customer(deeds, ai_model), deeds.person()
    model = [ai_model.publisher.slug, ai_model.slug]

    def press(who: Person, name: str, *args: Any, act: str, says: str, **fields: str) -> None:
        deeds.press(who.browser, name, *model, *args, leaves=Trace(act, says, who.user), **fields)

    press(person, "reviews", rating="2", content="Slow.", act="review.posted", says="after")
    review = Review.objects.get(author=person.user).pk
    press(person, "review", review, rating="4", content="Quick.", act="review.changed", says="before after")
    press(publisher, "review-reply", review, content="Thank you.", act="review.replied", says="after")
    press(reader, "review-report", review, reason="spam", act="review.reported", says="after")
    press(reader, "model-report", reason="spam", act="model.reported", says="after")
    press(person, "review-delete", review, act="review.deleted", says="before")


def _by_staff(desk: Desk, ai_model: AIModel) -> None:
    review = world.make_review(ai_model)
    desk.take(review, "hide", act="review.hidden", note="Insults.")
    desk.take(review, "show", act="review.shown")
    for action in ("uphold", "dismiss"):
        report = Report.objects.create(review=review, reporter=world.make_person(), reason="spam")
        desk.take(report, action, act="report.decided", says="after")


def _listed(publisher: Person) -> AIModel:
    ai_model = marketplace.create_model(
        publisher=publisher.user.personal_organization,
        name="Reviewed by many",
        description="Tells it.",
        version="1.0.0",
        category="other",
        api_spec={"input": world.TEXT_IN, "output": world.LABEL_OUT},
        pricing=marketplace.Terms(type="free"),
    )
    marketplace.submit(ai_model=ai_model)
    return marketplace.publish(ai_model=ai_model, by_staff=True)


def _customer(deeds: Deeds, ai_model: AIModel) -> Person:
    person = deeds.person()
    make_call(ai_model, organization=person.user.personal_organization, user=person.user)
    return person
