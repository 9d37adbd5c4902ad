"""What upstreams report, and what is believed of it."""

import time

import pytest

from common.outbound import OutboundBadAnswer
from gateway.adapters import MAX_TOKENS, Usage, count_tokens, http_json, openai
from gateway.hotpath.events import MAX_EVENT_BYTES, EventParser


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7}, Usage(5, 7)),
        ({"prompt_tokens": 5, "total_tokens": 5}, Usage(5, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
        ({"input_tokens": 5, "output_tokens": 7}, Usage(5, 7)),
        ({"prompt_tokens": -1, "completion_tokens": 7}, None),
        ({"prompt_tokens": MAX_TOKENS + 1, "completion_tokens": 7}, None),
        ({"prompt_tokens": "5", "completion_tokens": 7}, None),
        ({"prompt_tokens": 5.5, "completion_tokens": 7}, None),
        ({"prompt_tokens": True, "completion_tokens": 7}, None),
        ({"something": 1}, None),
        ({}, None),
        (None, None),
        ([1, 2], None),
    ],
)
def test_usage_is_believed_only_when_it_can_be(usage, expected):
    assert openai.usage({"usage": usage}) == expected


def test_explicit_zero_is_zero_and_not_missing():
    assert openai.usage({"usage": {"prompt_tokens": 0, "completion_tokens": 0}}) == Usage(0, 0, "reported")


def test_a_json_model_may_report_usage_in_its_output():
    assert http_json.usage({"label": "x", "usage": {"input_tokens": 3, "output_tokens": 1}}) == Usage(3, 1)
    assert http_json.usage(["no object"]) is None


def test_unknown_fields_pass_and_usage_is_asked_for_when_streaming():
    body = {"model": "acme/x", "stream": True, "logit_bias": {"1": 2}, "future_field": [1]}
    sent = openai.request(body, upstream_model="gpt-x", stream=True)
    assert sent == {**body, "model": "gpt-x", "stream_options": {"include_usage": True}}
    assert "stream_options" not in openai.request({"model": "a/b"}, upstream_model="m", stream=False)


def test_the_callers_own_stream_options_are_kept():
    sent = openai.request({"stream_options": {"other": 1}}, upstream_model="m", stream=True)
    assert sent["stream_options"] == {"other": 1, "include_usage": True}


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2)])
def test_uncounted_text_is_one_token_per_four_bytes_rounded_up(size, tokens):
    assert count_tokens(size) == tokens


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": None}, None, []])
def test_an_answer_without_choices_is_empty(answer):
    assert openai.is_empty(answer, "chat")


def read(*chunks: bytes) -> list[bytes]:
    parser = EventParser()
    return [event for piece in chunks for event in parser.feed(piece)] + parser.close()


def test_events_are_found_however_the_bytes_are_cut():
    whole = b'data: {"a":1}\r\n\r\n: comment\nevent: x\ndata:{"b":2}\n\ndata: [DONE]\n\n'
    expected = [b'{"a":1}', b'{"b":2}', b"[DONE]"]
    assert read(whole) == expected
    assert read(*(whole[i : i + 1] for i in range(len(whole)))) == expected


def test_an_event_of_several_data_lines_is_one():
    assert read(b"data: a\ndata: b\n\n") == [b"a b"]


def test_an_event_is_one_line_whatever_the_upstream_puts_into_it():
    assert read(b'data: {"a":\r1}\n\n') == [b'{"a": 1}']


@pytest.mark.parametrize("piece", [b"x", b"data:\n", b"data: x\n"])
def test_an_endless_event_is_cut_off(piece):
    with pytest.raises(OutboundBadAnswer):
        read(b"data: ", *([piece * 1000] * (MAX_EVENT_BYTES // 1000 // len(piece) + 2)))


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_piece_that_looks_like_an_event_may_be_less_or_more(cut):
    whole = b"data: one\ndata: two\n\ndata: three\n\n"
    assert read(whole[:cut], whole[cut:]) == [b"one two", b"three"]


def test_many_comments_are_no_event():
    assert read(*([b": still here\n\n"] * (MAX_EVENT_BYTES // 10)), b"data: a\n\n") == [b"a"]


def test_a_line_in_a_million_pieces_takes_no_longer_than_one_in_few():
    began = time.perf_counter()
    assert len(read(b"data: ", *([b"x"] * 1_000_000), b"\n\n")[0]) == 1_000_000
    assert time.perf_counter() - began < 10
