"""Source that makes a call, with this instance's address in it: the same everywhere it is shown.

Everything is made from the request itself, its path and its body, so that what people copy does what they saw.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

EXAMPLE_TEXT = "Quick delivery, friendly people."
CHAT = {"chat", "text-generation", "code"}  # categories that speak /v1/chat/completions
WIDTH = 88  # of a line that is not broken

#: What the SDK's methods take by name; anything else travels in `extra_body`.
# fmt: off
ARGUMENTS = {
    "chat.completions": frozenset({
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
        "max_tokens", "messages", "metadata", "modalities", "model", "n", "parallel_tool_calls", "prediction",
        "presence_penalty", "reasoning_effort", "response_format", "seed", "service_tier", "stop", "store", "stream",
        "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user",
    }),
    "completions": frozenset({
        "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "model", "n",
        "presence_penalty", "prompt", "seed", "stop", "stream", "stream_options", "suffix", "temperature", "top_p",
        "user",
    }),
    "embeddings": frozenset({"dimensions", "encoding_format", "input", "model", "user"}),
}
MESSAGE_ARGUMENTS = frozenset({
    "max_tokens", "messages", "metadata", "model", "service_tier", "stop_sequences", "stream", "system", "thinking",
    "tool_choice", "tools",
})
# fmt: on
METHODS = {"/v1/chat/completions": "chat.completions", "/v1/completions": "completions", "/v1/embeddings": "embeddings"}
#: What a program looks for in the answer, in Python and in JavaScript.
RESULTS = {
    "chat.completions": ("reply.choices[0].message.content", "reply.choices[0].message.content"),
    "completions": ("reply.choices[0].text", "reply.choices[0].text"),
    "embeddings": ("len(reply.data[0].embedding)", "reply.data[0].embedding.length"),
}
DELTAS = {
    "chat.completions": ("chunk.choices[0].delta.content", "chunk.choices[0].delta.content"),
    "completions": ("chunk.choices[0].text", "chunk.choices[0].text"),
}


class Tab(TypedDict):
    """One language of a code block (`components/code.html`)."""

    value: str
    label: str
    language: str
    source: str


def call_tabs(site_url: str, slug: str, category: str, example: Any = None) -> list[Tab]:
    """How to call the model `slug` ("publisher/name") in three languages; `example` is an input that it takes."""
    if category in CHAT:
        body = {"model": slug, "messages": [{"role": "user", "content": "Hello"}]}
        return request_tabs(site_url, "/v1/chat/completions", body)
    if category == "embeddings":
        return request_tabs(site_url, "/v1/embeddings", {"model": slug, "input": EXAMPLE_TEXT})
    path = f"/api/models/{slug.replace('/', ':')}/invoke"
    return request_tabs(site_url, path, {"text": EXAMPLE_TEXT} if example is None else example)


def request_tabs(site_url: str, path: str, body: Any) -> list[Tab]:
    """Exactly this request in three languages."""
    is_streamed = isinstance(body, dict) and body.get("stream") is True
    shell = _curl(site_url + path, body, is_streamed)
    if path == "/v1/messages" and isinstance(body, dict) and not is_streamed:
        return _tabs(shell, _anthropic_python(site_url, body), _anthropic_node(site_url, body))
    if path in METHODS and isinstance(body, dict):
        method = METHODS[path]
        return _tabs(shell, _openai_python(site_url, method, body), _openai_node(site_url, method, body))
    return _tabs(shell, _python(site_url + path, body), _node(site_url + path, body))


def key_tabs(site_url: str, secret: str) -> list[Tab]:
    """The lines that put a new key to use."""
    shell = f"export OPENAI_BASE_URL={site_url}/v1\nexport OPENAI_API_KEY={secret}"
    python = f'from openai import OpenAI\n\nclient = OpenAI(base_url="{site_url}/v1", api_key="{secret}")'
    client = f'const client = new OpenAI({{ baseURL: "{site_url}/v1", apiKey: "{secret}" }});'
    node = f'import OpenAI from "openai";\n\n{client}'
    return _tabs(shell, python, node)


def _tabs(shell: str, python: str, node: str) -> list[Tab]:
    return [
        {"value": "curl", "label": "Shell", "language": "bash", "source": shell},
        {"value": "python", "label": "Python", "language": "python", "source": python},
        {"value": "node", "label": "Node", "language": "javascript", "source": node},
    ]


def _curl(url: str, body: Any, is_streamed: bool) -> str:
    data = json.dumps(body, ensure_ascii=False, indent=2).replace("\n", "\n  ").replace("'", "'\\''")
    start = "curl -N" if is_streamed else "curl"
    return f"{start} {url} \\\n  -H \"Authorization: Bearer $AGORAI_API_KEY\" \\\n  --json '{data}'"


def _openai_python(site_url: str, method: str, body: Mapping[str, Any]) -> str:
    known = {name: value for name, value in body.items() if name in ARGUMENTS[method]}
    if rest := {name: value for name, value in body.items() if name not in known}:
        known["extra_body"] = rest
    arguments = "".join(f"    {name}={_python_literal(value, 1)},\n" for name, value in known.items())
    lines = f"""import os
from openai import OpenAI

client = OpenAI(base_url="{site_url}/v1", api_key=os.environ["AGORAI_API_KEY"])
"""
    if body.get("stream") is True:
        loop = f'for chunk in stream:\n    print({DELTAS[method][0]} or "", end="", flush=True)'
        return f"{lines}stream = client.{method}.create(\n{arguments})\n{loop}"
    return f"{lines}reply = client.{method}.create(\n{arguments})\nprint({RESULTS[method][0]})"


def _openai_node(site_url: str, method: str, body: Mapping[str, Any]) -> str:
    lines = f"""import OpenAI from "openai";

const client = new OpenAI({{ baseURL: "{site_url}/v1", apiKey: process.env.AGORAI_API_KEY }});
"""
    call = f"await client.{method}.create({_node_literal(body, 0, is_broken=True)});"
    if body.get("stream") is True:
        loop = f'for await (const chunk of stream) process.stdout.write({DELTAS[method][1]} ?? "");'
        return f"{lines}const stream = {call}\n{loop}"
    return f"{lines}const reply = {call}\nconsole.log({RESULTS[method][1]});"


def _anthropic_python(site_url: str, body: Mapping[str, Any]) -> str:
    """The SDK adds `/v1` itself, and takes by name what a body has."""
    known = {name: value for name, value in body.items() if name in MESSAGE_ARGUMENTS}
    if rest := {name: value for name, value in body.items() if name not in known}:
        known["extra_body"] = rest
    arguments = "".join(f"    {name}={_python_literal(value, 1)},\n" for name, value in known.items())
    return f"""import os
from anthropic import Anthropic

client = Anthropic(base_url="{site_url}", api_key=os.environ["AGORAI_API_KEY"])
message = client.messages.create(
{arguments})
print(message.content[0].text)"""


def _anthropic_node(site_url: str, body: Mapping[str, Any]) -> str:
    return f"""import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({{ baseURL: "{site_url}", apiKey: process.env.AGORAI_API_KEY }});
const message = await client.messages.create({_node_literal(body, 0, is_broken=True)});
console.log(message.content[0].text);"""


def _python(url: str, body: Any) -> str:
    return f"""import os
import httpx

reply = httpx.post(
    "{url}",
    headers={{"Authorization": f"Bearer {{os.environ['AGORAI_API_KEY']}}"}},
    json={_python_literal(body, 1)},
    timeout=60,
)
print(reply.raise_for_status().json())"""


def _node(url: str, body: Any) -> str:
    return f"""const reply = await fetch("{url}", {{
  method: "POST",
  headers: {{ Authorization: `Bearer ${{process.env.AGORAI_API_KEY}}`, "Content-Type": "application/json" }},
  body: JSON.stringify({_node_literal(body, 1)}),
}});
console.log(await reply.json());"""


# --- Values as source -------------------------------------------------------------------------------------------------


def _python_literal(value: Any, depth: int) -> str:
    return _literal(value, depth, "    ", _text, repr, "{{{}}}", is_broken=False)


def _node_literal(value: Any, depth: int, is_broken: bool = False) -> str:
    def key(name: str) -> str:
        return name if name.isidentifier() and name.isascii() else _text(name)

    return _literal(value, depth, "  ", key, _text, "{{ {} }}", is_broken=is_broken)


def _literal(
    value: Any,
    depth: int,
    indent: str,
    key: Callable[[str], str],
    constant: Callable[[Any], str],
    braces: str,
    *,
    is_broken: bool,
) -> str:
    """A JSON value as source: on one line where it fits, else one member a line. `constant`: numbers, true, null."""
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, dict | list) or not value:
        return constant(value)
    is_dict = isinstance(value, dict)
    inner = list(value.items()) if isinstance(value, dict) else [("", one) for one in value]

    def members(depth: int) -> list[str]:
        return [
            (f"{key(name)}: " if is_dict else "") + _literal(one, depth, indent, key, constant, braces, is_broken=False)
            for name, one in inner
        ]

    flat = ", ".join(members(depth))
    line = braces.format(flat) if is_dict else f"[{flat}]"
    if not is_broken and "\n" not in line and len(line) + len(indent) * depth <= WIDTH:
        return line
    lines = "".join(f"{indent * (depth + 1)}{member},\n" for member in members(depth + 1))
    start, end = "{}" if is_dict else "[]"
    return f"{start}\n{lines}{indent * depth}{end}"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
