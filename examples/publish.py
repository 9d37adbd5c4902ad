"""A model's whole way by API alone: list it, have it checked and published, find it, call it, review it.

    python examples/publish.py

Against an instance that `make up` started: it uses the demo's people, from `var/demo.json`, and lists one more model
whose calls go where those of demo/sentiment go. At the end the model is archived; `--keep` leaves it there.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECK_SECONDS = 120  # a worker asks eight questions, some twenty requests in all
SETTLED_SECONDS = 30  # until a call counts as settled
LISTING = {
    "description": "Tells from a few words in which mood somebody wrote them.\n\nGood for short English messages.",
    "version": "1.0.0",
    "category": "text-classification",
    "capabilities": ["moods"],
    "license": "MIT",
    "api_spec": {
        "input": {
            "type": "object",
            "required": ["text"],
            "properties": {"text": {"type": "string", "maxLength": 1000}},
            "examples": [{"text": "What a lovely day!"}],
        },
        "output": {
            "type": "object",
            "required": ["label"],
            "properties": {"label": {"enum": ["positive", "neutral", "negative"]}},
        },
    },
    "pricing": {"type": "paid", "rates": {"per_call": "0.002"}},
}


@dataclass
class Client:
    """Whoever holds this credential; nobody without one."""

    url: str
    credential: str = ""
    headers: dict[str, str] = field(default_factory=dict)  # of the last answer

    def __call__(self, method: str, path: str, body: Any = None, *, allowed: tuple[int, ...] = ()) -> Any:
        """The JSON of the answer. An error ends the program with the answer's words, but for the `allowed` statuses."""
        headers = {"Content-Type": "application/json"}
        if self.credential:
            headers["Authorization"] = f"Bearer {self.credential}"
        data = None if method == "GET" else json.dumps({} if body is None else body).encode()
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.url + path, data, headers, method=method), timeout=60
            ) as response:
                self.headers = {name.lower(): value for name, value in response.headers.items()}
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code in allowed:
                return json.loads(error.read())
            sys.exit(f"FAILED: {method} {path} answered {error.code}: {error.read().decode()}")
        except urllib.error.URLError as error:
            sys.exit(f"FAILED: {self.url} does not answer: {error.reason}")


def find_demo() -> dict[str, Any]:
    folder = Path(os.environ.get("AGORAI_VAR", Path(__file__).parent.parent / "var"))
    try:
        demo: dict[str, Any] = json.loads((folder / "demo.json").read_text())
    except OSError:
        sys.exit("Start the demo with `make up`, or set AGORAI_VAR to its directory.")
    return demo


def log_in(url: str, person: dict[str, str]) -> Client:
    return Client(url, Client(url)("POST", "/api/auth/login", person)["access"])


def say(text: str) -> None:
    print(text, flush=True)


def check(publisher: Client, path: str) -> None:
    """Have the endpoint checked, and tell each step as it comes."""
    publisher("POST", f"{path}/check")
    told, deadline = 0, time.monotonic() + CHECK_SECONDS
    while True:
        run = publisher("GET", f"{path}/check")
        over = [step for step in run["steps"] if step["outcome"] != "waiting"]
        for step in over[told:]:
            say(f"   {step['outcome']:8} {step['title']}: {step['seen']}")
        told = len(over)
        if run["ended_at"]:
            break
        if time.monotonic() > deadline:
            sys.exit("FAILED: the check takes too long. Does the worker run?")
        time.sleep(0.5)
    if run["status"] != "passed":
        sys.exit("FAILED: the endpoint did not pass.")


def publish(publisher: Client, staff: Client, path: str) -> None:
    """At once where the site lets publishers do so, else through its staff."""
    answer = publisher("POST", f"{path}/publish", allowed=(403,))
    if answer.get("code") == "role_required":
        publisher("POST", f"{path}/submit")
        say("   Submitted; the staff publishes it.")
        answer = staff("POST", f"{path}/publish")
    if answer["status"] != "published":
        sys.exit(f"FAILED: it is {answer['status']}.")


def review(caller: Client, path: str, stars: int, words: str) -> None:
    """Only those may whose calls were settled, which takes a moment."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while caller("POST", f"{path}/reviews", {"rating": stars, "content": words}, allowed=(403,)).get("code"):
        if time.monotonic() > deadline:
            sys.exit("FAILED: the call does not count as settled.")
        time.sleep(1)


def main() -> None:
    demo = find_demo()
    url = os.environ.get("AGORAI_URL", demo["url"]).rstrip("/")
    anyone, people = Client(url), demo["users"]
    publisher, caller, staff = (log_in(url, people[role]) for role in ("developer", "consumer", "staff"))
    name = "Mood" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(8))

    say(f"1. List {name} as a draft")
    path = f"/api/models/{publisher('POST', '/api/models', LISTING | {'name': name})['id']}"

    say("2. Say where its calls go")
    known = publisher("GET", "/api/models/demo:sentiment/endpoint")
    publisher("PUT", f"{path}/endpoint", {"url": known["url"], "protocol": "json"})

    say("3. Have the endpoint checked")
    check(publisher, path)

    say("4. Publish it")
    publish(publisher, staff, path)

    misspelt = name[:5] + name[6:]
    say(f"5. Find it by the misspelt “{misspelt}”")
    slugs = [row["slug"] for row in anyone("GET", f"/api/models?q={misspelt}")["data"]]
    slug = publisher("GET", path)["slug"]
    if slug not in slugs[:3]:
        sys.exit(f"FAILED: found were {slugs}.")

    say("6. Give it a name of your own, make a key, and call it")
    deployment = name.lower()
    model_id = path.rpartition("/")[2]
    made = caller("POST", "/api/deployments", {"name": deployment, "model_id": model_id})
    key = caller("POST", "/api/keys", {"name": f"Publish example {name}"})
    program = Client(url, key["key"])
    answer = program("POST", f"/api/models/{deployment}/invoke", {"text": "What a lovely day!"})
    say(f"   {answer['label']}, for {program.headers['x-cost-usd']} USD")

    say("7. Review it")
    review(caller, path, 5, "Fast, and right about my mood.")
    stats = anyone("GET", path)["stats"]
    say(f"   {stats['rating']} of 5 by {stats['reviews']}")
    best = [row["slug"] for row in anyone("GET", f"/api/models?q={name}&sort=rating&min_rating=4.5")["data"]]
    if stats["reviews"] != 1 or slug not in best:
        sys.exit("FAILED: the review does not count.")

    caller("DELETE", f"/api/deployments/{made['id']}")
    caller("DELETE", f"/api/keys/{key['id']}")
    if "--keep" in sys.argv[1:]:
        say(f"It is at {url}/models/{slug}")
    else:
        publisher("DELETE", path)
    say("All steps passed.")


if __name__ == "__main__":
    main()
