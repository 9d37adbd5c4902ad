import base64
import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db.models import Case, CharField, DecimalField, F, FloatField, IntegerField, Value, When
from django.db.models.expressions import RawSQL
from django.http import QueryDict
from rest_framework import serializers

from common.pagination import MAX_CURSOR_LENGTH, PageQuery, page_before, page_response, paginate
from common.problems import InvalidParameter
from common.rest import read_query

pytestmark = pytest.mark.django_db  # with tables of Django's own: the module knows none of ours


def walk(queryset, order, limit=3):
    """Every row, page by page."""
    cursor, rows = None, []
    for _ in range(100):
        page = paginate(queryset, order=order, limit=limit, cursor=cursor)
        assert len(page["data"]) <= limit
        rows += page["data"]
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor is not None)
        if cursor is None:
            return rows
    raise AssertionError("The list does not end.")


@pytest.fixture
def groups():
    Group.objects.all().delete()
    return Group.objects.bulk_create(Group(name=f"{number:02}") for number in range(20))


def scored(values, field):
    """The groups with an annotation `score` that repeats `values`, None included."""
    whens = [When(name=f"{number:02}", then=Value(value)) for number, value in enumerate(values) if value is not None]
    return Group.objects.annotate(score=Case(*whens, output_field=field))


@pytest.mark.parametrize("limit", [1, 3, 19, 20, 21])
@pytest.mark.parametrize("order", [["name"], ["-name"], ["id"], ["-pk"], []])
def test_pages_add_up_to_the_list(groups, order, limit):
    names = [group.name for group in walk(Group.objects.all(), order, limit)]

    assert names == sorted((group.name for group in groups), reverse=order in (["-name"], ["-pk"]))


@pytest.mark.parametrize("order", [("score", "name"), ("-score", "name"), ("score", "-name"), ("-score", "-name")])
@pytest.mark.parametrize("seed", range(5))
def test_ties_and_nulls_lose_no_row_and_repeat_none(groups, order, seed):
    values = random.Random(seed).choices([None, 1, 2, 3], k=len(groups))
    score = dict(zip((group.name for group in groups), values, strict=True))

    names = [group.name for group in walk(scored(values, IntegerField()), order)]

    down = [part.startswith("-") for part in order]
    expected = sorted(score, reverse=down[1])
    expected.sort(key=lambda name: score[name] or 0, reverse=down[0])
    assert names == sorted(expected, key=lambda name: score[name] is None)  # nulls last in either direction


@pytest.mark.parametrize("order", [("score", "name"), ("-score", "name"), ("name",), ("-name",)])
@pytest.mark.parametrize("limit", [3, 5, 20])
def test_every_page_knows_the_one_before_it(groups, order, limit):
    queryset = scored(random.Random(7).choices([None, 1, 2, 3], k=len(groups)), IntegerField())
    cursor, pages = "", []
    while True:
        page = paginate(queryset, order=order, limit=limit, cursor=cursor)
        if cursor:
            before, previous = page_before(queryset, order=order, limit=limit, cursor=cursor, at_most=100)
            assert before == limit * len(pages)
            assert list(paginate(queryset, order=order, limit=limit, cursor=previous)["data"]) == pages[-1]
        pages.append(list(page["data"]))
        if not (cursor := page["next_cursor"]):
            break
    assert sum(map(len, pages)) == 20


def test_what_stands_before_is_counted_so_far_and_no_further(groups):
    cursor = paginate(Group.objects.all(), order=["name"], limit=12)["next_cursor"]
    before, previous = page_before(Group.objects.all(), order=["name"], limit=5, cursor=cursor, at_most=7)
    assert before == 7
    assert [
        group.name for group in paginate(Group.objects.all(), order=["name"], limit=5, cursor=previous)["data"]
    ] == [f"{number:02}" for number in range(7, 12)]


def test_a_list_of_nulls_alone_is_walked_too(groups):
    assert len(walk(scored([None] * 20, IntegerField()), ["-score"])) == 20


def test_single_precision_survives_the_journey_through_the_cursor(groups):
    queryset = Group.objects.annotate(score=RawSQL("(name::int %% 7)::real / 7.3::real", [], output_field=FloatField()))

    names = [group.name for group in walk(queryset, ["-score", "name"], 2)]

    assert len(names) == len(set(names)) == 20


def test_decimals_and_texts_that_need_escaping(groups):
    tenths = [Decimal("0.1"), Decimal("0.10000000000000000001")]
    decimals = scored(tenths * 10, DecimalField(max_digits=30, decimal_places=20))
    texts = scored(['"', "\\", "é☂", "'", "%_"] * 4, CharField())

    assert len({group.name for group in walk(decimals, ["score"], 1)}) == 20
    assert len({group.name for group in walk(texts, ["score"], 1)}) == 20


def test_microseconds_tell_rows_apart():
    Session.objects.all().delete()
    start = datetime(2026, 1, 31, 23, 59, 59, 999_000, tzinfo=UTC)
    for number in range(9):
        at = start + timedelta(microseconds=number // 2)
        Session.objects.create(session_key=f"key{number}", session_data="", expire_date=at)

    keys = [session.pk for session in walk(Session.objects.all(), ["-expire_date", "session_key"], 2)]

    assert keys == ["key8", "key6", "key7", "key4", "key5", "key2", "key3", "key0", "key1"]


def test_an_order_may_follow_a_relation():
    kinds = [ContentType.objects.create(app_label="shop", model=name) for name in ("b", "a")]
    for kind in kinds:
        for codename in ("y", "x", "z"):
            Permission.objects.create(content_type=kind, codename=codename, name=codename)
    queryset = Permission.objects.filter(content_type__app_label="shop")

    found = [(row.content_type.model, row.codename) for row in walk(queryset, ["content_type__model", "-codename"], 2)]

    assert found == [(model, codename) for model in "ab" for codename in "zyx"]


def test_a_page_is_one_query_without_an_offset(groups, django_assert_num_queries):
    first = paginate(Group.objects.all(), order=["-name"], limit=5)

    with django_assert_num_queries(1) as queries:
        paginate(Group.objects.all(), order=["-name"], limit=5, cursor=first["next_cursor"])
    assert "OFFSET" not in queries.captured_queries[0]["sql"]


def test_what_is_added_meanwhile_shifts_nothing(groups):
    first = paginate(Group.objects.all(), order=["name"], limit=5)
    Group.objects.create(name="000 came in between")

    second = paginate(Group.objects.all(), order=["name"], limit=5, cursor=first["next_cursor"])

    assert [group.name for group in second["data"]] == ["05", "06", "07", "08", "09"]


def test_rows_may_be_dictionaries(groups):
    rows = walk(Group.objects.values("id", "name"), ["-name"], 7)

    assert [row["name"] for row in rows] == [f"{number:02}" for number in reversed(range(20))]


class GroupOut(serializers.Serializer):
    name = serializers.CharField()


def test_rows_are_serialized_by_a_class_or_a_function(groups):
    by_class = paginate(Group.objects.all(), order=["name"], limit=1, serialize=GroupOut)
    by_function = paginate(
        Group.objects.all(), order=["name"], limit=1, serialize=lambda rows: [row.name for row in rows]
    )

    assert by_class["data"] == [{"name": "00"}]
    assert by_function["data"] == ["00"]


class TestBadCursors:
    @pytest.mark.parametrize(
        "cursor",
        ["x", "%%%", "é", "A" * 40, base64.urlsafe_b64encode(json.dumps(["name", "05"]).encode()).decode(), "\0"],
    )
    def test_what_was_not_given_out_is_refused(self, groups, cursor):
        with pytest.raises(InvalidParameter) as caught:
            paginate(Group.objects.all(), order=["name"], cursor=cursor)
        assert caught.value.errors[0]["pointer"] == "/cursor"

    def test_no_byte_can_be_changed(self, groups):
        cursor = paginate(Group.objects.all(), order=["name"], limit=1)["next_cursor"]
        for position in range(0, len(cursor), 7):
            other = "A" if cursor[position] != "A" else "B"
            with pytest.raises(InvalidParameter):
                paginate(Group.objects.all(), order=["name"], cursor=cursor[:position] + other + cursor[position + 1 :])

    def test_a_cursor_belongs_to_its_order(self, groups):
        cursor = paginate(Group.objects.all(), order=["name"], limit=1)["next_cursor"]

        with pytest.raises(InvalidParameter, match="another order"):
            paginate(Group.objects.all(), order=["-name"], cursor=cursor)

    def test_an_endless_one_is_refused_unread(self):
        with pytest.raises(InvalidParameter):
            read_query(PageQuery, QueryDict(f"cursor={'A' * (MAX_CURSOR_LENGTH + 1)}"))


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1.5", ""])
def test_a_bad_limit_is_refused(limit):
    with pytest.raises(InvalidParameter, match="limit"):
        read_query(PageQuery, QueryDict(f"limit={limit}"))


def test_twenty_rows_are_the_default():
    assert read_query(PageQuery, QueryDict("")) == {"limit": 20}


class TestLink:
    def view(self, query):
        given = QueryDict(query)
        request = SimpleNamespace(path="/api/groups", query_params=given)
        return SimpleNamespace(request=request, params={"limit": int(given["limit"]), "cursor": given.get("cursor")})

    def test_the_next_page_is_linked_with_the_filters_kept(self, groups, settings):
        settings.SITE_URL = "https://ai.example"

        response = page_response(self.view("limit=5&q=a+b"), Group.objects.all(), order=["name"], serialize=GroupOut)

        cursor = response.data["next_cursor"]
        assert response["Link"] == f'<https://ai.example/api/groups?limit=5&q=a+b&cursor={cursor}>; rel="next"'

    def test_the_last_page_links_nowhere(self, groups):
        response = page_response(self.view("limit=50"), Group.objects.all(), order=["name"], serialize=GroupOut)

        assert "Link" not in response


def test_a_plain_order_stays_usable_by_an_index(groups):
    """NULLS LAST on a column without nulls would keep PostgreSQL from reading a descending index."""
    page = str(Group.objects.order_by(F("name").desc()).query)

    assert "NULLS" not in page
    assert all(a.name > b.name for a, b in pairwise(walk(Group.objects.all(), ["-name"])))
