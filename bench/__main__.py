"""`python -m bench gateway | streaming`. See README.md."""

from __future__ import annotations

import argparse
import sys

from bench import gateway, streaming
from config.processes import Failure

BENCHMARKS = {"gateway": gateway.run, "streaming": streaming.run}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, beside others in the same run.")
    parser.add_argument("what", choices=sorted(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=3, help="each measures everybody once (3)")
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement (2)")
    options = parser.parse_args()
    try:
        print(BENCHMARKS[options.what](rounds=options.rounds, seconds=options.seconds))
    except Failure as failure:
        sys.stderr.write(f"bench: {failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
