"""What OpenAI's clients do and get, as data: one list for the client for Python and the one for Node.

A case: `method` with `body` (and `extra`: what no client knows by name) under the key `key`; the upstream answers as
`upstream` says. Then the outcome has what `expect` names, by paths such as `result.choices.0.message.content`, and the
upstream was sent what `sent` names. ANYTHING: it is there; NOTHING: it is not, or null.

An outcome is `{result, chunks, error: {name, status, code, type, param, request_id, body}, attempts, request_id}`.
"""

from __future__ import annotations

from typing import Any

ANYTHING, NOTHING = "<anything>", "<nothing>"

HELLO = [{"role": "user", "content": "Hello"}]
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 20,
    "total_tokens": 30,
    "completion_tokens_details": {"reasoning_tokens": 4},
}
COST = 0.00005  # of USAGE: a dollar per million tokens of input, two per million of output
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}, "strict": True}}]


def answer(**choice: Any) -> dict[str, Any]:
    """A chat completion of one choice."""
    given = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop", **choice}
    return {"json": {**HEAD, "choices": [given], "usage": USAGE}}


def events(*chunks: Any, **rest: Any) -> dict[str, Any]:
    return {"events": list(chunks), **rest}


def chunk(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    named = [{"index": 0, "finish_reason": None, **choice} for choice in choices]
    return {**HEAD, "object": "chat.completion.chunk", "choices": named, **fields}


def said(text: str, **rest: Any) -> dict[str, Any]:
    return {"delta": {"content": text}, **rest}


HEAD = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "upstream-model"}
STOP = chunk({"delta": {}, "finish_reason": "stop"})
USED = chunk(usage=USAGE)
TOLD = [chunk({"delta": {"role": "assistant", "content": ""}}), chunk(said("Hel")), chunk(said("lo"))]

CASES: list[dict[str, Any]] = [
    # --- Chat completions ---
    {
        "name": "a plain chat completion",
        "method": "chat",
        "body": {"messages": HELLO, "temperature": 0.5, "max_tokens": 20},
        "upstream": answer(),
        "sent": {"model": "the-upstreams-name", "temperature": 0.5, "messages": HELLO, "stream": NOTHING},
        "expect": {
            "result.choices.0.message.content": "Hi",
            "result.usage": USAGE,
            "result.model": "upstream-model",
            "request_id": ANYTHING,
            "attempts": 1,
        },
    },
    {
        "name": "fields that nobody knows pass in both directions",
        "method": "chat",
        "body": {"messages": [{"role": "user", "content": "x", "novel": [1, None]}]},
        "extra": {"a_future_field": {"x": [1, None, "ü", 1.5, True]}},
        "upstream": {"json": {**answer(novel={"y": "ß"})["json"], "service": "new", "system_fingerprint": "fp"}},
        "sent": {"a_future_field": {"x": [1, None, "ü", 1.5, True]}, "messages.0.novel": [1, None]},
        "expect": {"result.choices.0.novel": {"y": "ß"}, "result.service": "new", "result.system_fingerprint": "fp"},
    },
    {
        "name": "a tool is called",
        "method": "chat",
        "body": {"messages": HELLO, "tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": False},
        "upstream": answer(
            finish_reason="tool_calls",
            message={
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
            },
        ),
        "sent": {"tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": False},
        "expect": {
            "result.choices.0.finish_reason": "tool_calls",
            "result.choices.0.message.tool_calls.0.function": {"name": "weather", "arguments": "{}"},
            "result.choices.0.message.content": NOTHING,
        },
    },
    {
        "name": "what a tool said goes back",
        "method": "chat",
        "body": {
            "messages": [
                *HELLO,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            ]
        },
        "upstream": answer(),
        "sent": {"messages.1.tool_calls.0.id": "c1", "messages.1.content": NOTHING, "messages.2.content": "sunny"},
        "expect": {"result.choices.0.message.content": "Hi"},
    },
    {
        "name": "a tool is called in a stream",
        "method": "chat",
        "body": {"messages": HELLO, "tools": TOOLS, "stream": True},
        "upstream": events(
            chunk(
                {
                    "delta": {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {"index": 0, "id": "c1", "type": "function", "function": {"name": "w", "arguments": ""}}
                        ],
                    }
                }
            ),
            chunk({"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}}),
            chunk({"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}}),
            chunk({"delta": {}, "finish_reason": "tool_calls"}),
            USED,
        ),
        "expect": {
            "chunks.0.choices.0.delta.tool_calls.0.function.name": "w",
            "chunks.1.choices.0.delta.tool_calls.0.function.arguments": '{"a":',
            "chunks.2.choices.0.delta.tool_calls.0.function.arguments": "1}",
            "chunks.3.choices.0.finish_reason": "tool_calls",
            "chunks.3.usage.cost": COST,
            "chunks.4": NOTHING,
        },
    },
    {
        "name": "JSON mode",
        "method": "chat",
        "body": {"messages": HELLO, "response_format": {"type": "json_object"}},
        "upstream": answer(message={"role": "assistant", "content": '{"a": 1}'}),
        "sent": {"response_format": {"type": "json_object"}},
        "expect": {"result.choices.0.message.content": '{"a": 1}'},
    },
    {
        "name": "an answer by a schema",
        "method": "chat",
        "body": {
            "messages": HELLO,
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}, "strict": True}},
        },
        "upstream": answer(message={"role": "assistant", "content": None, "refusal": "No."}),
        "sent": {"response_format.json_schema.strict": True},
        "expect": {"result.choices.0.message.refusal": "No."},
    },
    {
        "name": "several answers",
        "method": "chat",
        "body": {"messages": HELLO, "n": 2},
        "upstream": {
            "json": {
                **HEAD,
                "choices": [
                    {"index": n, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                    for n, text in enumerate(("one", "two"))
                ],
                "usage": USAGE,
            }
        },
        "sent": {"n": 2},
        "expect": {"result.choices.0.message.content": "one", "result.choices.1.message.content": "two"},
    },
    {
        "name": "several answers in a stream",
        "method": "chat",
        "body": {"messages": HELLO, "n": 2, "stream": True},
        "upstream": events(
            chunk(said("a", index=0)),
            chunk(said("b", index=1)),
            chunk({"delta": {}, "index": 0, "finish_reason": "stop"}),
            chunk(said("c", index=1)),
            chunk({"delta": {}, "index": 1, "finish_reason": "length"}),
            USED,
        ),
        "expect": {
            "chunks.1.choices.0.index": 1,
            "chunks.2.choices.0.finish_reason": "stop",
            "chunks.2.usage": NOTHING,
            "chunks.3.choices.0.delta.content": "c",
            "chunks.4.choices.0.finish_reason": "length",
            "chunks.4.usage.cost": COST,
            "chunks.5": NOTHING,
        },
    },
    {
        "name": "log probabilities",
        "method": "chat",
        "body": {"messages": HELLO, "logprobs": True, "top_logprobs": 1},
        "upstream": answer(
            logprobs={
                "content": [{"token": "Hi", "logprob": -0.31725305, "bytes": [72, 105], "top_logprobs": []}],
                "refusal": None,
            }
        ),
        "sent": {"logprobs": True, "top_logprobs": 1},
        "expect": {"result.choices.0.logprobs.content.0.logprob": -0.31725305},
    },
    {
        "name": "pictures and sounds in a message",
        "method": "chat",
        "body": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is this?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                    ],
                }
            ]
        },
        "upstream": answer(),
        "sent": {"messages.0.content.1.image_url.detail": "low"},
        "expect": {"result.choices.0.message.content": "Hi"},
    },
    # --- Streams ---
    {
        "name": "a stream for a client that did not ask for usage",
        "method": "chat",
        "body": {"messages": HELLO, "stream": True},
        "upstream": events(*TOLD, STOP, USED),
        "sent": {"stream": True, "stream_options": {"include_usage": True}},
        "expect": {
            "chunks.1.choices.0.delta.content": "Hel",
            "chunks.2.choices.0.delta.content": "lo",
            "chunks.2.usage": NOTHING,
            "chunks.3.choices.0.finish_reason": "stop",
            "chunks.3.usage": {**USAGE, "cost": COST},
            "chunks.4": NOTHING,
        },
    },
    {
        "name": "a stream for a client that asked for usage",
        "method": "chat",
        "body": {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}},
        "upstream": events(*TOLD, STOP, USED),
        "sent": {"stream_options": {"include_usage": True}},
        "expect": {
            "chunks.3.choices.0.finish_reason": "stop",
            "chunks.3.usage": NOTHING,
            "chunks.4.choices": [],
            "chunks.4.usage": {**USAGE, "cost": COST},
            "chunks.5": NOTHING,
        },
    },
    {
        "name": "a stream whose last chunk with choices already has the usage",
        "method": "chat",
        "body": {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}},
        "upstream": events(*TOLD, {**STOP, "usage": USAGE}),
        "expect": {"chunks.3.usage": NOTHING, "chunks.4.choices": [], "chunks.4.usage.cost": COST, "chunks.5": NOTHING},
    },
    {
        "name": "other options of a stream are the upstream's business",
        "method": "chat",
        "body": {"messages": HELLO, "stream": True, "stream_options": {"include_obfuscation": False}},
        "upstream": events(*TOLD, STOP, USED),
        "sent": {"stream_options": {"include_obfuscation": False, "include_usage": True}},
        "expect": {"chunks.3.usage.cost": COST, "chunks.4": NOTHING},
    },
    {
        "name": "fields that nobody knows pass in a stream",
        "method": "chat",
        "body": {"messages": HELLO, "stream": True},
        "upstream": events(
            chunk({"delta": {"content": "x", "reasoning_content": "hm"}, "novel": 1}, obfuscation="abc"), STOP, USED
        ),
        "expect": {
            "chunks.0.choices.0.delta.reasoning_content": "hm",
            "chunks.0.choices.0.novel": 1,
            "chunks.0.obfuscation": "abc",
        },
    },
    {
        "name": "log probabilities in a stream",
        "method": "chat",
        "body": {"messages": HELLO, "stream": True, "logprobs": True},
        "upstream": events(
            chunk(
                said("x", logprobs={"content": [{"token": "x", "logprob": -1.5, "bytes": None, "top_logprobs": []}]})
            ),
            STOP,
            USED,
        ),
        "expect": {"chunks.0.choices.0.logprobs.content.0.logprob": -1.5},
    },
    {
        "name": "comments and empty lines of an upstream are nothing",
        "method": "chat",
        "body": {"messages": HELLO, "stream": True},
        "upstream": events(": PROCESSING\n\n", "\r\n\r\n", TOLD[1], ": PROCESSING\n\nretry: 5\n\n", STOP, USED),
        "expect": {"chunks.0.choices.0.delta.content": "Hel", "chunks.1.usage.cost": COST, "chunks.2": NOTHING},
    },
    {
        "name": "an upstream that breaks off in the middle",
        "method": "chat",
        "body": {"messages": HELLO, "stream": True},
        "upstream": events(*TOLD, cut=True),
        "retries": 2,
        "expect": {
            "chunks.2.choices.0.delta.content": "lo",
            "chunks.3": NOTHING,
            "error.code": "upstream_error",
            "error.body.request_id": ANYTHING,
            "attempts": 1,
        },
    },
    {
        "name": "an upstream that reports an error in the middle",
        "method": "chat",
        "body": {"messages": HELLO, "stream": True},
        "upstream": events(*TOLD, {"error": {"message": "out of memory", "type": "server_error"}}),
        "expect": {"chunks.2.choices.0.delta.content": "lo", "error.code": "upstream_error", "error.type": "api_error"},
    },
    {
        "name": "an upstream that fails before the stream begins",
        "method": "chat",
        "body": {"messages": HELLO, "stream": True},
        "upstream": {"status": 500, "json": {"error": {"message": "no"}}},
        "expect": {"error.status": 502, "error.code": "upstream_error", "chunks.0": NOTHING},
    },
    # --- Completions ---
    {
        "name": "a completion",
        "method": "completions",
        "body": {"prompt": ["Once", "Twice"], "logprobs": 1, "echo": False, "suffix": "."},
        "upstream": {
            "json": {
                **HEAD,
                "object": "text_completion",
                "choices": [
                    {
                        "index": 0,
                        "text": " upon",
                        "finish_reason": "length",
                        "logprobs": {"tokens": [" upon"], "token_logprobs": [-0.5], "top_logprobs": None},
                    }
                ],
                "usage": USAGE,
            }
        },
        "sent": {"prompt": ["Once", "Twice"], "logprobs": 1, "echo": False, "suffix": "."},
        "expect": {"result.choices.0.text": " upon", "result.choices.0.logprobs.token_logprobs": [-0.5]},
    },
    {
        "name": "a completion in a stream",
        "method": "completions",
        "body": {"prompt": "Once", "stream": True},
        "upstream": events(
            {**HEAD, "object": "text_completion", "choices": [{"index": 0, "text": " upon", "finish_reason": None}]},
            {**HEAD, "object": "text_completion", "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]},
            {**HEAD, "object": "text_completion", "choices": [], "usage": USAGE},
        ),
        "expect": {"chunks.0.choices.0.text": " upon", "chunks.1.usage.cost": COST, "chunks.2": NOTHING},
    },
    # --- Embeddings ---
    {
        "name": "embeddings as numbers",
        "method": "embeddings",
        "body": {"input": ["one", "two"], "encoding_format": "float", "dimensions": 2},
        "upstream": {
            "json": {
                "object": "list",
                "model": "e",
                "data": [{"object": "embedding", "index": n, "embedding": [0.5, -1.0]} for n in (0, 1)],
                "usage": {"prompt_tokens": 2, "total_tokens": 2},
            }
        },
        "sent": {"input": ["one", "two"], "encoding_format": "float", "dimensions": 2},
        "expect": {"result.data.1.embedding": [0.5, -1.0], "result.usage.prompt_tokens": 2},
    },
    {
        "name": "embeddings as the clients ask for them by themselves",
        "method": "embeddings",
        "body": {"input": [[1, 2, 3]]},
        "upstream": {
            "json": {
                "object": "list",
                "model": "e",
                "data": [{"object": "embedding", "index": 0, "embedding": "AAAAPwAAgL8="}],
                "usage": {"prompt_tokens": 3, "total_tokens": 3},
            }
        },
        "sent": {"encoding_format": "base64", "input": [[1, 2, 3]]},
        "expect": {"result.data.0.embedding": [0.5, -1.0]},
    },
    # --- Models ---
    {
        "name": "the list of models",
        "method": "models.list",
        "expect": {"result.data.0.object": "model", "result.data.0.pricing.currency": "USD"},
    },
    {
        "name": "one model with its price",
        "method": "models.retrieve",
        "expect": {
            "result.object": "model",
            "result.pricing.type": "paid",
            "result.pricing.input_tokens_per_million": {"amount": "1.00", "currency": "USD"},
            "result.pricing.output_tokens_per_million": {"amount": "2.00", "currency": "USD"},
        },
    },
    {
        "name": "a model that is not there",
        "method": "models.retrieve",
        "model": "nobody/nothing",
        "expect": {"error.status": 404, "error.code": "model_not_found", "error.name": "NotFoundError"},
    },
    # --- Errors ---
    {
        "name": "a key that was never one",
        "method": "chat",
        "key": "malformed",
        "body": {"messages": HELLO},
        "retries": 2,
        "expect": {
            "error.status": 401,
            "error.code": "key_malformed",
            "error.type": "authentication_error",
            "error.name": "AuthenticationError",
            "attempts": 1,
        },
    },
    {
        "name": "no model of this name",
        "method": "chat",
        "model": "nobody/nothing",
        "body": {"messages": HELLO},
        "expect": {
            "error.status": 404,
            "error.code": "model_not_found",
            "error.request_id": ANYTHING,
            "error.body.doc_url": ANYTHING,
        },
    },
    {
        "name": "a key without the permission",
        "method": "chat",
        "key": "reader",
        "body": {"messages": HELLO},
        "expect": {
            "error.status": 403,
            "error.code": "missing_scope",
            "error.type": "permission_error",
            "error.body.required_scope": "models:invoke",
        },
    },
    {
        "name": "input that does not fit names its field",
        "method": "chat",
        "body": {"messages": "hello"},
        "expect": {"error.status": 422, "error.code": "validation_failed", "error.param": "messages"},
    },
    {
        "name": "a limit of money is 402 and not tried again",
        "method": "chat",
        "key": "poor",
        "body": {"messages": HELLO},
        "retries": 2,
        "expect": {
            "error.status": 402,
            "error.code": "spend_limit_reached",
            "error.type": "insufficient_quota",
            "error.body.limit_source": "key",
            "error.body.doc_url": ANYTHING,
            "error.body.fix_url": ANYTHING,
            "error.request_id": ANYTHING,
            "attempts": 1,
        },
    },
    {
        "name": "a limit of rate says when to come again",
        "method": "chat",
        "key": "hurried",
        "body": {"messages": HELLO},
        "upstream": answer(),
        "retries": 0,
        "expect": {
            "error.status": 429,
            "error.code": "rate_limited",
            "error.type": "rate_limit_error",
            "error.name": "RateLimitError",
            "error.body.retry_after_seconds": ANYTHING,
        },
    },
    {
        "name": "a limit of rate is waited for",
        "method": "chat",
        "key": "hurried",
        "body": {"messages": HELLO},
        "upstream": answer(),
        "retries": 2,
        "expect": {"result.choices.0.message.content": "Hi", "attempts": 2},
    },
    {
        "name": "a busy upstream is tried again",
        "method": "chat",
        "body": {"messages": HELLO},
        "upstream": {"status": 429, "json": {}, "headers": {"Retry-After": "0"}},
        "retries": 1,
        "expect": {"error.status": 503, "error.code": "upstream_busy", "attempts": 2},
    },
    {
        "name": "an upstream that is busy for long is not waited for",
        "method": "chat",
        "body": {"messages": HELLO},
        "upstream": {"status": 503, "json": {}, "headers": {"Retry-After": "300"}},
        "retries": 2,
        "expect": {"error.status": 503, "error.body.retry_after_seconds": 300, "attempts": 1},
    },
    {
        "name": "what an upstream says of the input is passed on",
        "method": "chat",
        "body": {"messages": HELLO},
        "upstream": {"status": 400, "json": {"error": {"message": "temperature is too hot"}}},
        "retries": 2,
        "expect": {
            "error.status": 422,
            "error.code": "upstream_rejected",
            "error.body.upstream_message": "temperature is too hot",
            "attempts": 1,
        },
    },
    {
        "name": "an upstream that takes too long",
        "method": "chat",
        "body": {"messages": HELLO},
        "upstream": {"pause": 5, "json": {}},
        "expect": {"error.status": 504, "error.code": "upstream_timeout", "error.type": "api_error"},
    },
]
