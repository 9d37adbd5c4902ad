"""Whom we are measured beside, started with as little to do as they let one choose.

Portkey checks no key, limits nothing and records nothing; LiteLLM has a master key alone and no store. That our gateway
does more in the same measurement is said in the report. LiteLLM is there a second time with a part of what ours does:
keys of its callers, each with two rate limits that its processes share in a Redis.
"""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from bench.install import Installed, environment, portkey_that_streams
from bench.wait import wait_for
from config.cluster import ROOT, random_port
from config.processes import Failure, spawn
from config.servers import valkey_binary

START_SECONDS = 180  # LiteLLM imports for half a minute on a busy machine
MASTER_KEY = "sk-bench-7c1f0a93d2e84b56a1f3c9d07e2b4851"
KEY = "sk-bench-caller-5d0e9b1c7a3f"
NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    keepalive_requests 1000000;
    location / {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""
LITELLM = """
model_list:
  - model_name: bench
    litellm_params: {{model: openai/bench, api_base: "http://127.0.0.1:{upstream}/v1", api_key: sk-upstream}}
litellm_settings: {{telemetry: false, drop_params: true}}
general_settings: {{{general}}}
"""
LIMITED = "LiteLLM with limits"
#: Its documented hook for keys that are not in its own store; what is limited it does itself from what this returns.
KEYS = """
from litellm.proxy._types import UserAPIKeyAuth

async def user_api_key_auth(request, api_key):
    if api_key != "{key}":
        raise ValueError("unknown key")
    return UserAPIKeyAuth(api_key=api_key, rpm_limit={most}, team_id="bench", team_rpm_limit={most})
"""
MOST_A_MINUTE = 100_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """Somebody who answers chats. `parts`: name -> the process at the head of a tree whose CPU counts."""

    name: str
    url: str
    model: str = "bench"
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)
    version: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """Everybody who is there, and of those who are not the reason."""

    targets: Sequence[Target] = ()
    absent: Sequence[str] = ()

    @property
    def versions(self) -> str:
        return ", ".join(f"{target.name} {target.version}" for target in self.targets)


@contextmanager
def peers(installed: Sequence[Installed], upstream_port: int, body: Mapping[str, Any]) -> Iterator[Field]:
    """Each is started, and has answered `body` once, before anybody is measured."""
    targets, absent = [], [f"{one.name} is not measured: {one.absent}." for one in installed if one.absent]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agorai-bench-")))
        started = []
        is_streamed = bool(body.get("stream"))
        for one in installed:
            if one.path is not None:
                try:
                    started.append(_start(one, directory, upstream_port, is_streamed=is_streamed))
                except Failure as failure:
                    absent.append(f"{one.name} {one.version} is not measured: {failure}.")
                    continue
                stack.callback(_end, started[-1][1])
            if one.path is not None and one.name == "LiteLLM" and not is_streamed:
                counters, port = _start_counters(directory)
                stack.callback(_end, counters)
                target, process = _start(replace(one, name=LIMITED), directory, upstream_port, counters=port)
                stack.callback(_end, process)
                started.append((replace(target, parts={**target.parts, "Valkey": counters.pid}), process))
        for target, process in started:
            if why := _wait(target, process, body):
                absent.append(f"{target.name} {target.version} is not measured: {why}.")
            else:
                targets.append(target)
        yield Field(targets, absent)


def _start(
    one: Installed, directory: Path, upstream: int, *, is_streamed: bool = False, counters: int = 0
) -> tuple[Target, subprocess.Popen[bytes]]:
    """counters: the port of the Redis that a peer's limits are counted in. Raises Failure."""
    assert one.path is not None
    port, headers, given = random_port(), {}, environment()
    match one.name:
        case "nginx":
            configuration = directory / "nginx.conf"
            configuration.write_text(NGINX.format(directory=directory, upstream=upstream, port=port))
            command = [
                str(one.path),
                "-p",
                str(directory),
                "-e",
                str(directory / "error.log"),
                "-c",
                str(configuration),
            ]
        case "LiteLLM" | "LiteLLM with limits":
            general = [f"master_key: {MASTER_KEY}"]
            if counters:
                (directory / "keys.py").write_text(KEYS.format(key=KEY, most=MOST_A_MINUTE))
                general.append("custom_auth: keys.user_api_key_auth")
                general.append(f"coordination_redis: {{host: 127.0.0.1, port: {counters}}}")
            configuration = directory / f"{one.name}.yaml"
            configuration.write_text(LITELLM.format(upstream=upstream, general=", ".join(general)))
            given |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
            given["PATH"] = f"{one.path.parent}:{given['PATH']}"
            command = [str(one.path), "--config", str(configuration), "--host", "127.0.0.1", "--port", str(port)]
            command += ["--num_workers", "1"]
            headers = {"Authorization": f"Bearer {KEY if counters else MASTER_KEY}"}
        case "Portkey":
            program = portkey_that_streams(one.path) if is_streamed else one.path / "build" / "start-server.js"
            given |= {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
            command = ["node", str(program), "--headless", f"--port={port}"]
            headers = {
                "Authorization": "Bearer sk-upstream",
                "x-portkey-provider": "openai",
                "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
            }
        case _:
            raise Failure("nothing here knows how to start it")
    with (directory / f"{one.name}.log").open("wb") as log:
        process = spawn(command, death_signal=signal.SIGTERM, cwd=ROOT, env=given, stdout=log, stderr=log)
    target = Target(one.name, f"http://127.0.0.1:{port}", "bench", headers, {one.name: process.pid}, one.version)
    return target, process


def _start_counters(directory: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A Valkey without a disk for a peer's limits, and its port."""
    port = random_port()
    command = [str(valkey_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = spawn(command, death_signal=signal.SIGTERM, cwd=directory, env=environment(), stdout=subprocess.DEVNULL)
    wait_for(port, process)
    return process, port


def _wait(target: Target, process: subprocess.Popen[bytes], body: Mapping[str, Any]) -> str:
    """Until it answers as it should; else why it is left out."""
    deadline, why = time.monotonic() + START_SECONDS, "it does not answer"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return f"it ended with {process.returncode}"
        try:
            with urlopen(request_of(target, body), timeout=30) as answer:
                text = answer.read()
                is_whole = b"[DONE]" in text if body.get("stream") else b'"usage"' in text
                return "" if is_whole else f"its answer is not whole: {text[:100]!r}"
        except HTTPError as error:
            why = f"it answers {error.code}: {error.read()[:200]!r}"
            time.sleep(1)
        except OSError:
            time.sleep(0.2)
    return why


def request_of(target: Target, body: Mapping[str, Any]) -> Request:
    """One call as everybody gets it."""
    return Request(
        target.url + "/v1/chat/completions",
        json.dumps({**body, "model": target.model}).encode(),
        {"Content-Type": "application/json", **target.headers},
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
