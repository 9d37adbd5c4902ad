"""Serve the models until stopped: `python -m examples.model_server --port 8901`."""

import argparse
import contextlib
import os
import socket
import sys

import uvicorn

from examples.model_server.app import App


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.model_server", description="Small real models over HTTP.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8901, help="port; 0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--secret",
        default=os.environ.get("MODEL_SERVER_SECRET", ""),
        help="callers must send it as a bearer token; MODEL_SERVER_SECRET in the environment keeps it out of sight",
    )
    parser.add_argument(
        "--pace-ms", type=float, default=10, help="pause between the chunks of a stream (default: %(default)s)"
    )
    options = parser.parse_args()
    try:
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        listener = socket.create_server((options.host, options.port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        sys.exit(f"Cannot listen on {options.host}:{options.port}: {error}.")
    host, port = listener.getsockname()[:2]
    print(f"Model server listens on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    config = uvicorn.Config(
        App(secret=options.secret, pace_seconds=options.pace_ms / 1000),
        access_log=False,
        log_level="warning",
        lifespan="off",
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
