"""The set that search is measured by."""

import pytest

from marketplace.tests import relevance

pytestmark = pytest.mark.django_db


def test_the_set_is_whole_and_asks_for_what_there_is():
    wanted = relevance.queries()
    assert len({one.text for one in wanted}) == len(wanted) == 60
    listed = relevance.make_catalogue()
    assert {answer for one in wanted for answer in one.answers} <= set(listed)
