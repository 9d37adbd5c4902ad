"""Whatever happens at once, the figures are those of the rows."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Thread

import pytest
from django.db import connection

from common.problems import Problem
from marketplace.models import AIModel
from marketplace.tests.factories import make_model
from reviews import services
from reviews.models import Review
from tests.reviews.factories import make_customer, make_review
from tests.reviews.test_services import check_figures

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*acts: Callable[[], object]) -> list[str]:
    """Each in a connection of its own. Returns the codes of the problems that came, "" for none."""
    barrier, ends = Barrier(len(acts)), ["?"] * len(acts)

    def run(number: int, act: Callable[[], object]) -> None:
        try:
            barrier.wait()
            act()
            ends[number] = ""
        except Problem as problem:
            ends[number] = problem.code
        finally:
            connection.close()

    threads = [Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return ends


def post(ai_model: AIModel, author: object, rating: int) -> Callable[[], object]:
    return lambda: make_review(ai_model, author=author, rating=rating)


def test_reviews_edits_and_deletes_at_once():
    ai_model = make_model(status="published")
    authors = [make_customer(ai_model) for _ in range(4)]
    assert (
        at_once(*(post(ai_model, author, rating) for author, rating in zip(authors, (1, 2, 5, 5), strict=True)))
        == [""] * 4
    )
    check_figures(ai_model)
    # The same person in two windows: one of them has been quicker.
    twice = make_customer(ai_model)
    assert sorted(at_once(post(ai_model, twice, 3), post(ai_model, twice, 4))) == ["", "already_reviewed"]
    check_figures(ai_model)
    first, second, third, fourth = Review.objects.filter(author__in=authors).order_by("id")

    def edit(review: Review, rating: int) -> Callable[[], object]:
        return lambda: services.edit_review(review=review, by=review.author, rating=rating, content="Anew.")

    def delete(review: Review) -> Callable[[], object]:
        return lambda: services.delete_review(review=review, by=review.author)

    ends = at_once(edit(first, 4), delete(first), edit(second, 1), delete(third), edit(fourth, 3))
    assert ends[1:] == ["", "", "", ""]
    assert ends[0] in ("", "not_found"), "it was deleted before, or after"
    assert not Review.objects.filter(pk=first.pk).exists()
    check_figures(ai_model)
    assert at_once(lambda: services.hide_review(review=second), edit(second, 5)) in (["", ""], ["", "review_hidden"])
    check_figures(ai_model)
    assert ai_model.rating_count == 2  # the one written twice, and the fourth


def test_votes_at_once_are_counted_once_each():
    ai_model = make_model(status="published")
    review = make_review(ai_model)
    readers = [make_customer(ai_model) for _ in range(3)]
    votes = [
        lambda reader=reader: services.set_helpful(review=review, by=reader, is_helpful=True)
        for reader in (*readers, readers[0])
    ]
    assert at_once(*votes) == [""] * 4
    review.refresh_from_db()
    assert review.helpful_count == review.votes.count() == 3
