"""`python -m bench gateway | streaming | growth | memory | catalogue | peers`. See README.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bench import catalogue, gateway, growth, memory, streaming
from bench.install import find_all
from bench.report import put_into
from config.processes import Failure


def _list_peers(options: argparse.Namespace) -> str:
    """Install those that are missing, and name all."""
    return "\n".join(
        f"{one.name}: {one.version}" if one.path else f"{one.name}: absent, {one.absent}" for one in find_all()
    )


BENCHMARKS: dict[str, Callable[[argparse.Namespace], str]] = {
    "gateway": gateway.run,
    "streaming": streaming.run,
    "growth": growth.run,
    "memory": memory.run,
    "catalogue": catalogue.run,
    "peers": _list_peers,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, beside others in the same run.")
    parser.add_argument("what", choices=list(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=3, help="each measures everybody once (3)")
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement at least (2)")
    parser.add_argument("--streams", type=int, default=0, help="streaming: so many at once, through ours alone")
    parser.add_argument("--keys", type=int, default=10_000, help="growth: the most keys (10,000)")
    parser.add_argument("--stored", type=int, default=1_000_000, help="growth: the most stored calls (1,000,000)")
    parser.add_argument("--calls", type=int, default=200_000, help="memory: so many calls (200,000)")
    parser.add_argument("--aborted", type=int, default=1_000, help="memory: so many streams are left (1,000)")
    parser.add_argument("--models", type=int, default=200_000, help="catalogue: so many (200,000)")
    parser.add_argument("--page", type=Path, help="put what was found into this page too, such as docs/benchmarks.md")
    options = parser.parse_args()
    try:
        report = BENCHMARKS[options.what](options)
        print(report)
        if options.page is not None:
            put_into(options.page, f"{options.what}{f'-{options.streams}' if options.streams else ''}", report)
    except Failure as failure:
        sys.stderr.write(f"bench: {failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
