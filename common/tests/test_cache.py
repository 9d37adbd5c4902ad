"""What is kept, for how long, and that of many who ask at once one has the work. On a real Redis."""

import threading
import time
import uuid

import pytest
from django.db import transaction

from common import cache
from common.cache import Made, Shelf


@pytest.fixture
def shelf():
    return Shelf(f"test-{uuid.uuid4().hex}")


class Maker:
    """Counts what it was asked for."""

    def __init__(self, body=b"made", *, seconds=0.0, at_most=None):
        self.body, self.seconds, self.at_most = body, seconds, at_most
        self.asked = []

    def __call__(self, keys):
        self.asked.append(sorted(keys))
        time.sleep(self.seconds)
        return {key: Made(self.body, self.at_most) for key in keys}


def test_what_was_made_is_not_made_again(shelf):
    make = Maker()
    assert shelf.read({"a": "t"}, make) == shelf.read({"a": "t"}, make) == {"a": b"made"}
    assert make.asked == [["a"]]


def test_only_what_is_missing_is_made(shelf):
    make = Maker()
    shelf.read({"a": "t", "b": "t"}, make)
    assert shelf.read({"a": "t", "b": "t", "c": "t"}, make).keys() == {"a", "b", "c"}
    assert make.asked == [["a", "b"], ["c"]]


def test_nothing_asked_is_nothing_made(shelf):
    make = Maker()
    assert shelf.read({}, make) == {}
    assert make.asked == []


def test_a_forgotten_tag_takes_its_entries_and_no_others(shelf):
    make = Maker()
    shelf.read({"a": "one", "b": "two"}, make)
    shelf.forget(["one"])
    shelf.read({"a": "one", "b": "two"}, make)
    assert make.asked == [["a", "b"], ["a"]]
    shelf.forget_all()
    shelf.read({"a": "one", "b": "two"}, make)
    assert make.asked[2:] == [["a", "b"]]


def test_what_was_read_before_a_change_is_not_kept_after_it(shelf):
    """The reader has the old facts, the change is committed and told, and then the reader puts its entry away."""

    def make(keys):
        shelf.forget(["t"])
        return {"a": Made(b"old")}

    assert shelf.read({"a": "t"}, make) == {"a": b"old"}
    assert shelf.read({"a": "t"}, Maker(b"new")) == {"a": b"new"}


def test_what_is_known_to_end_is_kept_no_longer(shelf):
    shelf.read({"a": "t"}, Maker(b"old", at_most=0.05))
    shelf.read({"b": "t"}, Maker(b"old", at_most=0))
    assert shelf.read({"b": "t"}, Maker(b"new")) == {"b": b"new"}
    time.sleep(0.06)
    assert shelf.read({"a": "t"}, Maker(b"new")) == {"a": b"new"}


def test_nothing_is_older_than_the_shelf_says():
    shelf = Shelf(f"test-{uuid.uuid4().hex}", fresh_seconds=0.05, kept_seconds=0.1)
    shelf.read({"a": "t"}, Maker(b"old"))
    assert shelf.read({"a": "t"}, Maker(b"new")) == {"a": b"old"}
    time.sleep(0.11)
    assert shelf.read({"a": "t"}, Maker(b"new")) == {"a": b"new"}
    names = list(cache._redis().scan_iter(f"{shelf._prefix}*"))
    assert names
    assert all(cache._redis().pttl(name) > 0 for name in names), "each key ends by itself"


def test_what_is_not_there_is_not_kept(shelf):
    asked = []

    def make(keys):
        asked.append(keys)
        return {}

    assert shelf.read({"a": "t"}, make) == shelf.read({"a": "t"}, make) == {}
    assert len(asked) == 2


def stampede(shelf, make, *, threads=50):
    """So many read the same entry at once; what they were given, and how long the slowest took."""
    began, given, took = threading.Barrier(threads), [], []

    def read():
        began.wait()
        start = time.monotonic()
        given.append(shelf.read({"a": "t"}, make)["a"])
        took.append(time.monotonic() - start)

    readers = [threading.Thread(target=read) for _ in range(threads)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return given, max(took)


def test_of_many_who_miss_it_one_makes_it_and_the_others_wait(shelf):
    make = Maker(seconds=0.2)
    given, _ = stampede(shelf, make)
    assert given == [b"made"] * 50
    assert len(make.asked) == 1


def test_of_many_who_miss_it_after_a_change_none_is_given_the_old():
    shelf = Shelf(f"test-{uuid.uuid4().hex}")
    shelf.read({"a": "t"}, Maker(b"old"))
    shelf.forget(["t"])
    make = Maker(b"new", seconds=0.1)
    given, _ = stampede(shelf, make)
    assert given == [b"new"] * 50
    assert len(make.asked) == 1


def test_of_many_who_find_it_old_one_makes_it_and_nobody_else_waits():
    shelf = Shelf(f"test-{uuid.uuid4().hex}", fresh_seconds=0.01, kept_seconds=60)
    shelf.read({"a": "t"}, Maker(b"old"))
    time.sleep(0.02)
    make = Maker(b"new", seconds=1)
    given, _ = stampede(shelf, make)
    assert sorted(given) == [b"new"] + [b"old"] * 49
    assert len(make.asked) == 1


def test_whoever_waits_for_one_that_failed_makes_it_itself(shelf):
    first = threading.Event()

    def fails(keys):
        first.set()
        time.sleep(0.1)
        raise ValueError("no")

    def read():
        with pytest.raises(ValueError, match="no"):
            shelf.read({"a": "t"}, fails)

    failing = threading.Thread(target=read)
    failing.start()
    first.wait()
    assert shelf.read({"a": "t"}, Maker()) == {"a": b"made"}
    failing.join()


def test_without_redis_each_is_made_anew_and_it_is_left_alone_for_a_while(shelf, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    cache._redis.cache_clear()
    try:
        make = Maker()
        for _ in range(3):
            assert shelf.read({"a": "t"}, make) == {"a": b"made"}
        shelf.forget(["t"])
        assert len(make.asked) == 3
    finally:
        cache._redis.cache_clear()


@pytest.mark.django_db(transaction=True)
def test_a_transaction_neither_reads_nor_keeps_what_it_alone_sees(shelf):
    with transaction.atomic():
        assert shelf.read({"a": "t"}, Maker(b"uncommitted")) == {"a": b"uncommitted"}
    assert shelf.read({"a": "t"}, Maker(b"committed")) == {"a": b"committed"}
    with transaction.atomic():
        assert shelf.read({"a": "t"}, Maker(b"changed since")) == {"a": b"changed since"}
    assert shelf.read({"a": "t"}, Maker()) == {"a": b"committed"}
