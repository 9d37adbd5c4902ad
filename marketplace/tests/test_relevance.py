"""Whether people find what they look for."""

import pytest

from marketplace.models import AIModel
from marketplace.search import Query, engine
from marketplace.tests import relevance

pytestmark = pytest.mark.django_db


def missed():
    """What is not answered among the first three, with what came instead."""
    for wanted in relevance.queries():
        found = engine().find(Query(text=wanted.text), limit=relevance.FIRST)
        shown = [f"{model.publisher.slug}/{model.slug}" for model in AIModel.objects.in_order(found.ids)]
        if not wanted.answers.intersection(shown):
            yield wanted.text, shown


def test_the_set_is_whole_and_asks_for_what_there_is():
    wanted = relevance.queries()
    assert len({one.text for one in wanted}) == len(wanted) == 60
    listed = relevance.make_catalogue()
    assert {answer for one in wanted for answer in one.answers} <= set(listed)


def test_what_people_type_is_answered_among_the_first_three_by_postgresql():
    relevance.make_catalogue()
    misses = list(missed())
    assert len(relevance.queries()) - len(misses) >= relevance.WANTED, misses


def test_what_people_type_is_answered_among_the_first_three_by_elasticsearch(elastic):
    relevance.make_catalogue()
    elastic.rebuild()
    misses = list(missed())
    assert len(relevance.queries()) - len(misses) >= relevance.WANTED, misses
