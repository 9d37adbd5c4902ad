"""The unmodified `openai` package against the gateway: list models, chat, streamed chat, embeddings.

    pip install openai
    AGORAI_URL=http://localhost:8000 AGORAI_API_KEY=agr_live_… python examples/openai_client.py

Without them it uses the demo's own, from `var/demo.json`.
"""

import json
import os
import sys
from decimal import Decimal
from pathlib import Path

from openai import OpenAI

CHAT_MODEL, EMBEDDING_MODEL = "demo/eliza", "demo/embed"


def find_access() -> tuple[str, str]:
    """Address and key: from the environment, else the demo's."""
    url, key = os.environ.get("AGORAI_URL", ""), os.environ.get("AGORAI_API_KEY", "")
    if not (url and key):
        folder = Path(os.environ.get("AGORAI_VAR", Path(__file__).parent.parent / "var"))
        try:
            demo = json.loads((folder / "demo.json").read_text())
        except OSError:
            sys.exit("Set AGORAI_URL and AGORAI_API_KEY, or start the demo with `make up`.")
        url, key = url or demo["url"], key or demo["api_key"]
    return url.rstrip("/"), key


def main() -> None:
    url, key = find_access()
    with OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        names = [model.id for model in client.models.list()]
        print("Models:", ", ".join(names))
        if not {CHAT_MODEL, EMBEDDING_MODEL} <= set(names):
            sys.exit("FAILED: the demo's models are not listed.")

        question = "I need a model that listens to me."
        reply = client.chat.completions.with_raw_response.create(
            model=CHAT_MODEL, messages=[{"role": "user", "content": question}]
        )
        completion = reply.parse()
        answer = completion.choices[0].message.content
        if not answer or completion.usage is None:
            sys.exit("FAILED: the answer has no text or no usage.")
        print(f"Chat: {answer}")
        print(f"  {completion.usage.total_tokens} tokens, {reply.headers['x-cost-usd']} USD, "
              f"request {reply.headers['x-request-id']}")  # fmt: skip

        print("Streamed: ", end="")
        streamed, usage = "", None
        for chunk in client.chat.completions.create(
            model=CHAT_MODEL,
            messages=[
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
                {"role": "user", "content": "My old model never did."},
            ],
            stream=True,
            stream_options={"include_usage": True},
        ):
            for choice in chunk.choices:
                streamed += choice.delta.content or ""
                print(choice.delta.content or "", end="", flush=True)
            usage = chunk.usage or usage
        print()
        if not streamed or usage is None or not usage.model_extra:
            sys.exit("FAILED: the stream has no text or no usage.")
        print(f"  {usage.total_tokens} tokens, {Decimal(str(usage.model_extra['cost'])):f} USD")

        texts = ["The cat sat on the mat.", "A cat was sitting on a mat.", "Revenue grew by ten percent."]
        embeddings = client.embeddings.create(model=EMBEDDING_MODEL, input=texts)
        vectors = [item.embedding for item in embeddings.data]
        near, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:])
        if near <= far:
            sys.exit("FAILED: like texts should lie closer together.")
        print(
            f"Embeddings: {len(vectors)} of {len(vectors[0])} dimensions; "
            f"two cats {near:.2f}, a cat and revenue {far:.2f}"
        )


if __name__ == "__main__":
    main()
