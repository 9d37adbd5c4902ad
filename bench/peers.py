"""Whom we are measured beside: what is installed on this machine of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.wait import wait_for
from config.cluster import ROOT, random_port
from config.processes import spawn

NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 256; }}
  server {{
    listen 127.0.0.1:{port};
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


@dataclass(frozen=True, slots=True)
class Target:
    """Somebody who answers chats. `parts`: name -> the process at the head of a tree whose CPU counts."""

    name: str
    url: str
    model: str = "bench"
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def peers(upstream_port: int) -> Iterator[list[Target]]:
    """A plain proxy is the limit of what any gateway can reach: it checks, limits and records nothing."""
    binary = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if binary is None:
        yield []
        return
    with tempfile.TemporaryDirectory() as name:
        directory, port = Path(name), random_port()
        configuration = directory / "nginx.conf"
        configuration.write_text(NGINX.format(directory=directory, upstream=upstream_port, port=port))
        process = spawn([binary, "-p", name, "-c", str(configuration)], cwd=ROOT)
        try:
            wait_for(port, process)
            yield [Target("nginx", f"http://127.0.0.1:{port}", parts={"nginx": process.pid})]
        finally:
            process.terminate()
            process.wait()
