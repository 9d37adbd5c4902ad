"""Who may review what, and what a review leaves behind."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.models import Membership
from accounts.tests.factories import mails_to, make_user
from common.ids import uuid7
from common.problems import NotFound, ValidationFailed
from gateway.tests.factories import make_call
from marketplace.errors import NotYourModel
from marketplace.models import AIModel
from marketplace.search import Query, engine
from marketplace.tests.factories import make_model, make_organization
from observability.models import AuditEvent
from reviews import errors, services
from reviews.models import Report, Review
from reviews.services import summary_of
from tests.reviews.factories import make_customer, make_review

pytestmark = pytest.mark.django_db


def check_figures(ai_model: AIModel) -> None:
    """The summary and the listing say what the visible rows say."""
    ratings = list(Review.objects.of_model(ai_model).visible().values_list("rating", flat=True))
    ai_model.refresh_from_db(fields=["rating_sum", "rating_count"])
    assert summary_of(ai_model).stars == tuple(ratings.count(star) for star in range(1, 6))
    assert (ai_model.rating_sum, ai_model.rating_count) == (sum(ratings), len(ratings))


def test_a_review_shows_calls_and_the_version_last_called():
    ai_model = make_model(status="published")
    review = make_review(ai_model, author=make_customer(ai_model, calls=3), rating=5)
    assert (review.verified_calls, str(review.version)) == (3, "1.0.0")
    assert summary_of(ai_model).mean == 5
    assert summary_of(ai_model).bayesian_mean == round(40 / 11, 2)
    check_figures(ai_model)


def test_only_settled_live_calls_of_this_model_by_the_own_organization_count(settings: Any):
    ai_model, other = make_model(status="published"), make_model(status="published")
    user = make_customer(other)
    mine = user.personal_organization
    make_call(ai_model, organization=mine, user=user, mode="test")
    make_call(ai_model, organization=mine, user=user, is_settled=False)
    make_call(ai_model, organization=make_user().personal_organization)
    with pytest.raises(errors.NotAUser) as refused:
        make_review(ai_model, author=user)
    assert refused.value.extra == {"settled_calls": 0, "needed_calls": 1}
    settings.REVIEW_MIN_CALLS = 2
    make_call(ai_model, organization=mine, user=user)
    with pytest.raises(errors.NotAUser):
        make_review(ai_model, author=user)
    make_call(ai_model, organization=mine, user=user)
    assert make_review(ai_model, author=user).verified_calls == 2


def test_the_publishers_people_review_nothing_of_their_own():
    publisher = make_organization()
    ai_model = make_model(publisher=publisher, status="published")
    insider = make_customer(ai_model)
    Membership.objects.create(organization=publisher, user=insider, role="member")
    with pytest.raises(errors.OwnModel):  # though they act for another organization
        make_review(ai_model, author=insider)
    outsider = make_customer(ai_model)
    make_call(ai_model, organization=publisher)
    with pytest.raises(errors.OwnModel):
        services.post_review(ai_model=ai_model, author=outsider, organization=publisher, rating=5, content="Good.")


def test_the_database_says_so_too():
    ai_model = make_model(status="published")
    review = make_review(ai_model)
    insider = make_user()
    Membership.objects.create(organization=ai_model.publisher, user=insider, role="member")
    fields = {"rating": 5, "content": "Good.", "verified_calls": 1}
    fields |= {"created_at": review.created_at, "updated_at": review.created_at, "ai_model": ai_model}
    for author, organization in ((make_user(), ai_model.publisher), (insider, insider.personal_organization)):
        with pytest.raises(IntegrityError, match="of their own organization"), transaction.atomic():
            Review.objects.create(author=author, organization=organization, **fields)
    with pytest.raises(IntegrityError, match="stays that of"), transaction.atomic():
        Review.objects.filter(pk=review.pk).update(author=insider)
    for column, value, name in (
        ("rating", 6, "review_rating_within_1_and_5"),
        ("rating", 0, "review_rating_within_1_and_5"),
        ("content", "", "review_content_not_empty"),
        ("verified_calls", 0, "review_rests_on_calls"),
    ):
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            Review.objects.filter(pk=review.pk).update(**{column: value})


def test_a_draft_is_not_reviewed():
    ai_model = make_model(status="published")
    user = make_customer(ai_model)
    AIModel.objects.filter(pk=ai_model.pk).update(status="suspended")
    with pytest.raises(NotFound):
        make_review(ai_model, author=user)


def test_everybody_has_one_review_of_a_model():
    ai_model = make_model(status="published")
    review = make_review(ai_model)
    with pytest.raises(errors.AlreadyReviewed) as refused:
        make_review(ai_model, author=review.author)
    assert refused.value.extra == {"review_id": review.public_id}


def test_an_edit_keeps_what_was_said_and_counts_anew():
    ai_model = make_model(status="published")
    review = make_review(ai_model, rating=1, title="Bad", content="Failed twice.")
    make_call(ai_model, organization=review.organization)
    edited = services.edit_review(review=review, by=review.author, rating=4, content="Repaired by now.")
    assert (edited.rating, edited.title, edited.content, edited.verified_calls) == (4, "", "Repaired by now.", 2)
    assert edited.is_edited
    [before] = edited.edits.all()
    assert (before.rating, before.title, before.content) == (1, "Bad", "Failed twice.")
    assert before.written_at == review.created_at
    assert before.replaced_at == edited.updated_at
    check_figures(ai_model)
    services.edit_review(review=edited, by=review.author, rating=4, content="Repaired by now.")
    assert edited.edits.count() == 1
    event = AuditEvent.objects.get(action="review.changed")
    assert (event.before["rating"], event.after["rating"]) == (1, 4)
    with pytest.raises(errors.NotYourReview):
        services.edit_review(review=edited, by=make_user(), rating=1, content="x")


def test_a_deleted_review_counts_no_more_and_may_be_written_anew():
    ai_model = make_model(status="published")
    make_review(ai_model, rating=5)
    review = make_review(ai_model, rating=1)
    with pytest.raises(errors.NotYourReview):
        services.delete_review(review=review, by=make_user())
    services.delete_review(review=review, by=review.author)
    check_figures(ai_model)
    assert ai_model.rating_count == 1
    make_review(ai_model, author=review.author, rating=2)
    check_figures(ai_model)
    with pytest.raises(NotFound):
        services.delete_review(review=review, by=review.author)


def test_what_is_hidden_counts_nowhere_and_comes_back():
    ai_model = make_model(status="published")
    make_review(ai_model, rating=5)
    review = make_review(ai_model, rating=1)
    services.hide_review(review=review, reason="Insults.")
    check_figures(ai_model)
    assert summary_of(ai_model).stars == (0, 0, 0, 0, 1)
    [mail] = mails_to(review.author.email)
    assert "Insults." in mail.body
    for step in (
        lambda: services.edit_review(review=review, by=review.author, rating=5, content="x"),
        lambda: services.delete_review(review=review, by=review.author),
        lambda: services.set_helpful(review=review, by=make_user(), is_helpful=True),
    ):
        with pytest.raises(errors.ReviewHidden):
            step()
    with pytest.raises(errors.AlreadyReviewed):
        make_review(ai_model, author=review.author)
    services.show_review(review=review)
    check_figures(ai_model)
    assert list(AuditEvent.objects.filter(target_id=review.pk).order_by("id").values_list("action", flat=True)) == [
        "review.posted",
        "review.hidden",
        "review.shown",
    ]


def test_the_publisher_replies_once_and_may_say_it_better():
    ai_model = make_model(status="published")
    review, publisher = make_review(ai_model), ai_model.publisher
    by = make_user()
    with pytest.raises(NotYourModel):
        services.reply(review=review, organization=review.organization, by=by, content="Thanks.")
    services.reply(review=review, organization=publisher, by=by, content="Thanks.")
    replied = services.reply(review=review, organization=publisher, by=by, content="Thank you.")
    assert replied.answer is not None
    assert replied.answer.content == "Thank you."
    assert replied.answer.updated_at > replied.answer.created_at
    [mail] = mails_to(review.author.email)
    assert "Thanks." in mail.body
    with pytest.raises(NotYourModel):
        services.delete_reply(review=review, organization=review.organization)
    services.delete_reply(review=review, organization=publisher)
    services.delete_reply(review=review, organization=publisher)
    assert Review.objects.detailed().get().answer is None


def test_readers_say_that_it_helped_each_once():
    ai_model = make_model(status="published")
    review, reader = make_review(ai_model), make_user()
    for _ in range(2):
        assert services.set_helpful(review=review, by=reader, is_helpful=True).helpful_count == 1
    assert services.set_helpful(review=review, by=make_user(), is_helpful=True).helpful_count == 2
    for _ in range(2):
        assert services.set_helpful(review=review, by=reader, is_helpful=False).helpful_count == 1
    with pytest.raises(errors.OwnReview):
        services.set_helpful(review=review, by=review.author, is_helpful=True)
    insider = make_user()
    Membership.objects.create(organization=ai_model.publisher, user=insider, role="member")
    with pytest.raises(errors.OwnModel):
        services.set_helpful(review=review, by=insider, is_helpful=True)


def test_reports_of_the_same_review_are_decided_together():
    ai_model = make_model(status="published")
    review, other = make_review(ai_model), make_review(ai_model)
    first = services.report_review(review=review, by=make_user(), reason="spam")
    services.report_review(review=review, by=make_user(), reason="other", note="It is a poem.")
    kept = services.report_review(review=other, by=review.author, reason="abuse")
    staff = make_user()
    assert services.decide_report(report=first, by=staff, uphold=True, note="Advertising.") == 2
    assert services.decide_report(report=first, by=staff, uphold=False) == 0
    review.refresh_from_db()
    assert (review.hidden_at is not None, review.hidden_reason) == (True, "Advertising.")
    assert list(Report.objects.open()) == [kept]
    services.decide_report(report=kept, by=staff, uphold=False)
    other.refresh_from_db()
    assert other.hidden_at is None
    check_figures(ai_model)


def test_a_report_says_why_and_nobody_reports_the_same_twice():
    ai_model = make_model(status="published")
    review, reader = make_review(ai_model), make_user()
    for reason, note, code in (("misleading", "", "invalid_choice"), ("other", "", "required")):
        with pytest.raises(ValidationFailed) as refused:
            services.report_review(review=review, by=reader, reason=reason, note=note)
        assert refused.value.errors[0]["code"] == code
    with pytest.raises(errors.OwnReview):
        services.report_review(review=review, by=review.author, reason="spam")
    services.report_review(review=review, by=reader, reason="spam")
    with pytest.raises(errors.AlreadyReported):
        services.report_review(review=review, by=reader, reason="abuse")
    report = services.report_model(ai_model=ai_model, by=reader, reason="misleading")
    with pytest.raises(errors.AlreadyReported):
        services.report_model(ai_model=ai_model, by=reader, reason="harmful")
    services.decide_report(report=report, by=None, uphold=False)
    services.report_model(ai_model=ai_model, by=reader, reason="harmful")
    with pytest.raises(IntegrityError, match="report_reason"), transaction.atomic():
        Report.objects.create(ai_model=ai_model, reporter=make_user(), reason="off_topic")


def test_the_publisher_is_told_by_mail():
    publisher = make_user(platform_role="developer").personal_organization
    ai_model = make_model(publisher=publisher, status="published")
    make_review(ai_model, rating=2, content="Slow.")
    mail = mails_to(publisher.personal_owner.email)[-1]
    assert "2 of 5" in mail.subject
    assert "Slow." in mail.body
    assert f"/models/{publisher.slug}/{ai_model.slug}/reviews" in mail.body


def test_the_order_by_rating_follows():
    good, bad = (make_model(status="published", name=name) for name in ("Good", "Bad"))
    make_review(good, rating=5)
    review = make_review(bad, rating=1)
    assert engine().find(Query(sort="rating"), limit=5).ids == [good.pk, bad.pk]
    services.edit_review(review=review, by=review.author, rating=5, content="Repaired.")
    make_review(bad, rating=5)
    assert engine().find(Query(sort="rating"), limit=5).ids == [bad.pk, good.pk]


def test_whatever_removes_reviews_moves_the_figures():
    ai_model = make_model(status="published")
    make_review(ai_model, rating=2)
    kept = make_review(ai_model, rating=5)
    Review.objects.of_model(ai_model).exclude(pk=kept.pk).delete()
    check_figures(ai_model)
    Review.objects.filter(pk=kept.pk).update(rating=3)
    check_figures(ai_model)
    Review.objects.all().delete()
    check_figures(ai_model)


def test_the_calls_of_a_customer_are_counted_in_an_index():
    ai_model = make_model(status="published")
    make_call(ai_model, organization=make_user().personal_organization)
    from billing.models import UsageEvent  # the plan alone matters here

    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = UsageEvent.objects.of_customer(uuid7(), ai_model.pk).order_by()[:10].explain()
    assert "Index Only Scan" in plan or "Bitmap Index Scan" in plan or "Index Scan" in plan
    assert "Filter" not in plan
