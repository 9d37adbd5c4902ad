"""The others, as they are published: LiteLLM into a virtual environment and Portkey by npm, under `build/bench/peers`.

They are foreign programs, so they get an environment and a home of their own, and none of ours.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.cluster import ROOT
from config.processes import Failure

PEERS = ROOT / "build" / "bench" / "peers"
LITELLM, PORTKEY = "1.106.2", "1.15.2"
INSTALL_SECONDS = 900
#: Bifrost is published as a Go program and as an npm package that downloads it.
NOT_MEASURED = {
    "Bifrost": "its npm package downloads a program from its makers' own server when it starts, and its Go module "
    "(github.com/maximhq/bifrost/transports) was not to be had from the module proxy",
}


@dataclass(frozen=True, slots=True)
class Installed:
    """A peer that can be started, or why not. `path`: LiteLLM's program; Portkey's package; nginx's program."""

    name: str
    version: str = ""
    path: Path | None = None
    absent: str = ""


def find_all() -> list[Installed]:
    """Every peer, installed now if it is missing. Those that cannot be had say why."""
    PEERS.mkdir(parents=True, exist_ok=True)
    found = [nginx()]
    finders: Sequence[tuple[str, Callable[[], Installed]]] = (("Portkey", portkey), ("LiteLLM", litellm))
    for name, find in finders:
        try:
            found.append(find())
        except (Failure, OSError, subprocess.CalledProcessError) as failure:
            found.append(Installed(name, absent=str(failure)))
    return found + [Installed(name, absent=why) for name, why in NOT_MEASURED.items()]


def environment(**more: str) -> dict[str, str]:
    """What a foreign program gets of ours: where programs and certificates are, and nothing else."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SSL_CERT_FILE", "TMPDIR") if name in os.environ}
    home = PEERS / "home"
    home.mkdir(parents=True, exist_ok=True)
    return kept | {"HOME": str(home)} | more


def nginx() -> Installed:
    """A plain proxy, of the system."""
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        return Installed("nginx", absent="it is not installed here (Debian: apt-get install nginx-light)")
    said = subprocess.run([program, "-v"], capture_output=True, text=True).stderr
    return Installed("nginx", said.strip().rpartition("/")[2], Path(program))


def litellm() -> Installed:
    """Raises Failure."""
    home = PEERS / "litellm"
    program, python = home / "bin" / "litellm", home / "bin" / "python"
    if not program.exists():
        _say(f"installing LiteLLM {LITELLM}")
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, f"litellm[proxy]=={LITELLM}"])
    ask = "from importlib.metadata import version; print(version('litellm'))"
    version = subprocess.run(
        [str(python), "-c", ask], capture_output=True, text=True, env=environment(), check=True
    ).stdout
    return Installed("LiteLLM", version.strip(), program)


def portkey() -> Installed:
    """Raises Failure."""
    home = PEERS / "portkey"
    package = home / "node_modules" / "@portkey-ai" / "gateway"
    if shutil.which("node") is None:
        raise Failure("there is no node here")
    if not package.exists():
        if shutil.which("npm") is None:
            raise Failure("there is no npm here to install it with")
        _say(f"installing Portkey {PORTKEY}")
        home.mkdir(parents=True, exist_ok=True)
        npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error"]
        _run([*npm, "--prefix", str(home), f"@portkey-ai/gateway@{PORTKEY}"])
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    version = json.loads((package / "package.json").read_text())["version"]
    return Installed("Portkey", f"{version} on Node {node.removeprefix('v')}", package)


def portkey_that_streams(package: Path) -> Path:
    """Portkey's program with the one line that it needs for streams. Raises Failure when it is not there any more.

    Version 1.15.2 answers 500 to every streamed request ("TypeError: immutable"): it adds headers to the response of
    `fetch`, which are not to be changed. With a copy of that response it works.
    """
    program = package / "build" / "start-server.js"
    changed = program.with_name("start-server-streams.js")
    before = program.read_text()
    found = re.findall(r"this\.updateHeaders\((\w+),", before)
    if len(found) != 1:
        raise Failure("it answers 500 to streams, and the line that is to blame is not where it was")
    (name,) = found
    changed.write_text(
        before.replace(
            f"this.updateHeaders({name},", f"{name}=new Response({name}.body,{name}),this.updateHeaders({name},"
        )
    )
    return changed


def _run(command: Sequence[str]) -> None:
    """An installer, which finds the operator's registry and certificates. Raises Failure with its last line."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, cwd=PEERS)
    except subprocess.TimeoutExpired:
        raise Failure(f"its installation took longer than {INSTALL_SECONDS} s") from None
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise Failure(f"it could not be installed: {lines[-1] if lines else 'its installer said nothing'}")


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
