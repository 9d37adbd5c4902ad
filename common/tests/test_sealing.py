import pytest

from common.sealing import SealError, kek_id, open_sealed, seal

HERE = "gateway_endpoint:01h455vb:secret"


@pytest.fixture(autouse=True)
def keys(settings):
    settings.KEY_ENCRYPTION_KEYS = {"k2": b"2" * 32, "k1": b"1" * 32}


@pytest.mark.parametrize("plaintext", [b"", b"sk-secret", b"\0" * 100_000])
def test_what_was_sealed_opens_in_its_place(plaintext):
    blob = seal(plaintext, HERE)
    assert open_sealed(blob, HERE) == plaintext
    assert open_sealed(memoryview(blob), HERE) == plaintext  # as a BinaryField may give it


def test_the_plaintext_is_not_in_it_and_no_two_are_alike():
    first, second = seal(b"sk-secret", HERE), seal(b"sk-secret", HERE)
    assert b"sk-secret" not in first
    assert first != second


def test_a_secret_copied_to_another_row_does_not_open():
    with pytest.raises(SealError):
        open_sealed(seal(b"sk-secret", HERE), "gateway_endpoint:01h455vc:secret")


def test_no_single_changed_bit_goes_unnoticed():
    blob = seal(b"sk-secret", HERE)
    for place in range(len(blob)):
        damaged = bytearray(blob)
        damaged[place] ^= 1
        with pytest.raises(SealError):
            open_sealed(bytes(damaged), HERE)


@pytest.mark.parametrize("length", [0, 1, 2, 10, 60, 91, 92])
def test_a_cut_off_value_is_refused(length):
    with pytest.raises(SealError):
        open_sealed(seal(b"sk-secret", HERE)[:length], HERE)


def test_keys_rotate_while_old_values_stay_readable(settings):
    settings.KEY_ENCRYPTION_KEYS = {"k1": b"1" * 32}
    old = seal(b"sk-secret", HERE)
    settings.KEY_ENCRYPTION_KEYS = {"k2": b"2" * 32, "k1": b"1" * 32}
    assert (kek_id(old), kek_id(seal(b"new", HERE))) == ("k1", "k2")
    assert open_sealed(old, HERE) == b"sk-secret"
    settings.KEY_ENCRYPTION_KEYS = {"k2": b"2" * 32}
    with pytest.raises(SealError, match="not configured"):
        open_sealed(old, HERE)
    settings.KEY_ENCRYPTION_KEYS = {"k1": b"3" * 32}
    with pytest.raises(SealError):
        open_sealed(old, HERE)


def test_without_a_key_nothing_is_sealed(settings):
    settings.KEY_ENCRYPTION_KEYS = {}
    with pytest.raises(SealError):
        seal(b"sk-secret", HERE)
