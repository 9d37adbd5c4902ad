"""The clients against a running instance, as their readers run them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[1]
GO_CACHE = EXAMPLES.parent / "build" / "go"  # compiling its standard library takes half a minute, once

CLIENTS = {
    "python": [sys.executable, "client.py"],
    "node": ["node", "client.mjs"],
    "go": ["go", "run", "client.go"],
}
AT_HAND = [name for name, command in CLIENTS.items() if shutil.which(command[0])]


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    kept["GOCACHE"] = str(GO_CACHE)
    return subprocess.run(
        command, cwd=EXAMPLES, env=kept | environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_quickstart(stack: Any):
    done = run(["./quickstart.sh", stack.url, str(stack.mail_dir)])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All 10 steps passed." in done.stdout
    assert '"label":"positive"' in done.stdout.replace(" ", "")


def test_the_quickstart_says_what_is_wrong(tmp_path: Path):
    nothing = run(["./quickstart.sh", "http://127.0.0.1:1", str(tmp_path)])
    assert nothing.returncode != 0
    assert "FAILED at step 1: http://127.0.0.1:1 does not answer" in nothing.stderr


@pytest.mark.parametrize("approval", ["automatic", "staff"])
def test_a_model_is_published_and_reviewed(stack: Any, approval: str):
    url = stack.url if approval == "automatic" else stack.start_gateway(PUBLISH_APPROVAL=approval)
    done = run([sys.executable, "publish.py"], AGORAI_URL=url, AGORAI_VAR=str(stack.var.path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("the staff publishes it" in done.stdout) == (approval == "staff")
    assert "5.0 of 5 by 1\nAll steps passed." in done.stdout.replace("   ", "")


def test_publishing_says_what_is_wrong(tmp_path: Path):
    nothing = run([sys.executable, "publish.py"], AGORAI_VAR=str(tmp_path))
    assert nothing.returncode != 0
    assert "Start the demo with `make up`" in nothing.stderr


def test_the_openai_package(stack: Any):
    demo = stack.demo
    done = run([sys.executable, "openai_client.py"], AGORAI_URL=stack.url, AGORAI_API_KEY=demo["api_key"])
    assert done.returncode == 0, done.stdout + done.stderr
    for start in ("Models: ", "Chat: ", "Streamed: ", "Embeddings: "):
        assert start in done.stdout


def test_the_openai_package_finds_the_demo_by_itself(stack: Any):
    done = run([sys.executable, "openai_client.py"], AGORAI_VAR=str(stack.var.path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", AT_HAND)
def test_a_client(stack: Any, name: str):
    environment = {"AGORAI_URL": stack.url, "AGORAI_API_KEY": stack.demo["api_key"]}
    done = run(CLIENTS[name], **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Sentiment: positive\n" in done.stdout
    assert "Chat: What would it mean to you if you got a holiday?\n" in done.stdout
    assert "Receipt: req_" in done.stdout


@pytest.mark.parametrize("name", AT_HAND)
def test_a_client_says_what_is_wrong(stack: Any, name: str):
    environment = {"AGORAI_URL": stack.url, "AGORAI_API_KEY": "agr_live_wrong"}
    done = run(CLIENTS[name], **environment)
    assert done.returncode != 0
    assert "answered 401" in done.stderr
