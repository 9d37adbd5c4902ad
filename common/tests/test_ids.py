import copy
import os
import pickle
import threading
from uuid import UUID

import pytest
import time_machine

from common.ids import ALPHABET, converter, decode, encode, uuid7


def test_ids_of_one_process_ascend_and_differ():
    ids = [uuid7() for _ in range(20_000)]  # many share a millisecond
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {(id.version, id.variant) for id in ids} == {(7, "specified in RFC 4122")}


def test_ids_of_several_threads_differ():
    ids: list[UUID] = []
    threads = [threading.Thread(target=lambda: ids.extend([uuid7() for _ in range(2_000)])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 16_000


@time_machine.travel("2026-01-31T23:59:59.123Z", tick=False)
def test_an_id_carries_its_millisecond():
    assert uuid7().int >> 80 == 1769903999123


def test_a_clock_set_back_is_followed():
    """A partition is chosen by the id, so the id must tell the time that the clock tells."""
    with time_machine.travel("2040-01-01T00:00:00Z", tick=False):
        late = uuid7()
    assert uuid7() < late


def test_a_type_id_is_the_uuid_in_base32():
    id = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert encode("mdl", id) == "mdl_01h455vb4pex5vsknk084sn02q"  # the example of the TypeID specification
    assert decode("mdl", "mdl_01h455vb4pex5vsknk084sn02q") == id


@pytest.mark.parametrize("number", [0, 1, 2**128 - 1])
def test_the_ends_of_the_range_survive_the_round_trip(number):
    assert decode("x", encode("x", UUID(int=number))) == UUID(int=number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mdl_",
        "01h455vb4pex5vsknk084sn02q",
        "key_01h455vb4pex5vsknk084sn02q",  # another thing
        "mdl_01h455vb4pex5vsknk084sn02",
        "mdl_01h455vb4pex5vsknk084sn02qq",
        "mdl_81h455vb4pex5vsknk084sn02q",  # more than 128 bits
        "mdl_01H455VB4PEX5VSKNK084SN02Q",
        "MDL_01h455vb4pex5vsknk084sn02q",
        "mdl_01h455vb4pex5vsknk084sn02l",  # Crockford leaves out i, l, o, u
        "mdl_01h455vb4pex5vsknk084sn02\u0662",
        "mdl_mdl_01h455vb4pex5vsknk084sn02q",
        "mdl_01h455vb4pex5vsknk084sn02q\n",
    ],
)
def test_what_is_not_an_id_of_that_kind_is_refused(text):
    with pytest.raises(ValueError, match="not a mdl id"):
        decode("mdl", text)


def test_the_converter_knows_the_same_ids():
    import re

    mdl = converter("mdl")()
    id = uuid7()
    text = mdl.to_url(id)
    assert re.fullmatch(mdl.regex, text)
    assert mdl.to_python(text) == id
    assert not re.fullmatch(mdl.regex, "mdl_8" + "0" * 25)
    assert not re.fullmatch(mdl.regex, "mdl_0" + "u" * 25)
    assert len(ALPHABET) == 32


def test_a_forked_process_draws_other_ids():
    with time_machine.travel("2026-01-31T23:59:59.123Z", tick=False):
        uuid7()
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.write(writer, b"".join(uuid7().bytes for _ in range(50)))
            os._exit(0)
        os.waitpid(child, 0)
        theirs = os.read(reader, 16 * 50)
        ours = {uuid7().bytes for _ in range(50)}
    os.close(reader)
    os.close(writer)
    assert len(theirs) == 16 * 50
    assert not ours & {theirs[at : at + 16] for at in range(0, len(theirs), 16)}


def test_an_id_is_like_any_other_uuid():
    id = uuid7()
    same = UUID(str(id))
    assert (id, hash(id), repr(id), id.is_safe) == (same, hash(same), repr(same), same.is_safe)
    assert pickle.loads(pickle.dumps(id)) == copy.deepcopy(id) == id
