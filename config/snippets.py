"""Source that calls a model, with this instance's address in it: the same everywhere it is shown."""

import json
from typing import Any, TypedDict

EXAMPLE_TEXT = "Quick delivery, friendly people."
CHAT = {"chat", "text-generation", "code"}  # categories that speak /v1/chat/completions


class Tab(TypedDict):
    """One language of a code block (`components/code.html`)."""

    value: str
    label: str
    language: str
    source: str


def call_tabs(site_url: str, slug: str, category: str, example: Any = None) -> list[Tab]:
    """How to call the model `slug` ("publisher/name") in three languages; `example` is an input that it takes."""
    if category in CHAT:
        return _tabs(*_chat(site_url, slug))
    if category == "embeddings":
        return _tabs(*_embeddings(site_url, slug))
    return _tabs(*_invoke(site_url, slug, {"text": EXAMPLE_TEXT} if example is None else example))


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


def _curl(url: str, body: Any) -> str:
    data = _indent(json.dumps(body, ensure_ascii=False, indent=2), 2).replace("'", "'\\''")
    return f"curl {url} \\\n  -H \"Authorization: Bearer $AGORAI_API_KEY\" \\\n  --json '{data}'"


def _chat(site_url: str, slug: str) -> tuple[str, str, str]:
    body = {"model": slug, "messages": [{"role": "user", "content": "Hello"}]}
    python = f"""import os
from openai import OpenAI

client = OpenAI(base_url="{site_url}/v1", api_key=os.environ["AGORAI_API_KEY"])
reply = client.chat.completions.create(
    model="{slug}",
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(reply.choices[0].message.content)"""
    node = f"""import OpenAI from "openai";

const client = new OpenAI({{ baseURL: "{site_url}/v1", apiKey: process.env.AGORAI_API_KEY }});
const reply = await client.chat.completions.create({{
  model: "{slug}",
  messages: [{{ role: "user", content: "Hello" }}],
}});
console.log(reply.choices[0].message.content);"""
    return _curl(f"{site_url}/v1/chat/completions", body), python, node


def _embeddings(site_url: str, slug: str) -> tuple[str, str, str]:
    body = {"model": slug, "input": EXAMPLE_TEXT}
    python = f"""import os
from openai import OpenAI

client = OpenAI(base_url="{site_url}/v1", api_key=os.environ["AGORAI_API_KEY"])
reply = client.embeddings.create(model="{slug}", input="{EXAMPLE_TEXT}")
print(len(reply.data[0].embedding))"""
    node = f"""import OpenAI from "openai";

const client = new OpenAI({{ baseURL: "{site_url}/v1", apiKey: process.env.AGORAI_API_KEY }});
const reply = await client.embeddings.create({{ model: "{slug}", input: "{EXAMPLE_TEXT}" }});
console.log(reply.data[0].embedding.length);"""
    return _curl(f"{site_url}/v1/embeddings", body), python, node


def _invoke(site_url: str, slug: str, example: Any) -> tuple[str, str, str]:
    url = f"{site_url}/api/models/{slug.replace('/', ':')}/invoke"
    text = json.dumps(example, ensure_ascii=False, indent=2)
    python = f"""import os
import httpx

reply = httpx.post(
    "{url}",
    headers={{"Authorization": f"Bearer {{os.environ['AGORAI_API_KEY']}}"}},
    json={_indent(_python_literal(example))},
)
print(reply.raise_for_status().json())"""
    node = f"""const reply = await fetch("{url}", {{
  method: "POST",
  headers: {{ Authorization: `Bearer ${{process.env.AGORAI_API_KEY}}`, "Content-Type": "application/json" }},
  body: JSON.stringify({_indent(text, 2)}),
}});
console.log(await reply.json());"""
    return _curl(url, example), python, node


def _python_literal(value: Any, depth: int = 0) -> str:
    """A JSON value as Python source, one member a line, in double quotes."""
    if isinstance(value, dict) and value:
        pad = "    " * (depth + 1)
        members = "".join(
            f"{pad}{json.dumps(k, ensure_ascii=False)}: {_python_literal(v, depth + 1)},\n" for k, v in value.items()
        )
        return f"{{\n{members}{'    ' * depth}}}"
    if isinstance(value, list):
        return f"[{', '.join(_python_literal(item, depth) for item in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)  # True, False, None, numbers, {}


def _indent(text: str, spaces: int = 4) -> str:
    """`text` with every line but the first pushed in."""
    return text.replace("\n", "\n" + " " * spaces)
