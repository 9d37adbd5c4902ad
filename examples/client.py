"""Python's standard library alone: call a model, stream a chat, read the receipt.

AGORAI_URL=http://localhost:8000 AGORAI_API_KEY=agr_live_… python examples/client.py
"""

import json
import os
import sys
import urllib.error
import urllib.request
from http.client import HTTPResponse
from typing import Any

URL = os.environ.get("AGORAI_URL", "http://localhost:8000").rstrip("/")
KEY = os.environ.get("AGORAI_API_KEY", "")


def send(path: str, body: dict[str, Any] | None = None) -> HTTPResponse:
    """POST the body, or GET without one. Ends the program with the answer's words if it is an error."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    try:
        response: HTTPResponse = urllib.request.urlopen(urllib.request.Request(URL + path, data, headers), timeout=60)
    except urllib.error.HTTPError as error:
        sys.exit(f"{path} answered {error.code}: {error.read().decode()}")
    except urllib.error.URLError as error:
        sys.exit(f"{URL} does not answer: {error.reason}")
    return response


def main() -> None:
    if not KEY:
        sys.exit("Set AGORAI_API_KEY.")
    with send("/api/models/demo:sentiment/invoke", {"text": "I love how simple this is!"}) as response:
        print("Sentiment:", json.load(response)["label"])
        request_id = response.headers["x-request-id"]

    question = {"role": "user", "content": "I need a holiday"}
    print("Chat: ", end="")
    with send("/v1/chat/completions", {"model": "demo/eliza", "messages": [question], "stream": True}) as response:
        for line in response:
            data = line.decode().removeprefix("data: ").strip()
            if line.startswith(b"data: ") and data != "[DONE]":
                for choice in json.loads(data)["choices"]:
                    print(choice["delta"].get("content") or "", end="", flush=True)
    print()

    with send(f"/v1/requests/{request_id}") as response:
        receipt = json.load(response)
        print(f"Receipt: {receipt['id']} cost {receipt['cost']['amount']} {receipt['cost']['currency']}")


if __name__ == "__main__":
    main()
