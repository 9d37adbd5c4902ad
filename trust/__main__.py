"""`python -m trust list | T19 | fast | full | sabotage T19`. See README.md."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Sequence

from config.processes import Failure
from trust.ground import BUILD, JOIN, Ground
from trust.harness import Context, Result, progress_file, run_invariant
from trust.registry import BY_ID, INVARIANTS, LONGEST, Invariant
from trust.sabotage import sabotage

HELD, VIOLATED, NOT_RUN = 0, 1, 2
Found = list[tuple[str, Result | None]]  # None: it could not be tried, and why stands on stderr


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(NOT_RUN))  # or nothing would be tidied up
    try:
        match options.what.lower():
            case "list":
                print("\n".join(map(str, INVARIANTS)))
                return HELD
            case "sabotage":
                return _sabotage(options)
            case "fast" | "full":
                options.trials = options.what.lower()
                return _run_all(options)
        if options.what.upper() not in BY_ID:
            raise Failure(f"There is no {options.what}. Try: python -m trust list")
        return _run_one(BY_ID[options.what.upper()], options)
    except Failure as failure:
        sys.stderr.write(f"trust: {failure}\n")
        return NOT_RUN
    except Exception:  # Python itself would end with 1, which says that something does not hold
        traceback.print_exc()
        return NOT_RUN


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trust", description="Try to break what must hold.")
    parser.add_argument("what", help="list, an invariant such as T19, fast, full, or sabotage")
    parser.add_argument("ids", nargs="*", help="for fast, full and sabotage: only these invariants")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same trials (1)")
    parser.add_argument("--trials", default="fast", help="fast, full, or a number (fast)")
    parser.add_argument("--shard", default="1/1", help="make only the i-th of n parts of the trials, as 2/4")
    parser.add_argument("--only", action="append", help="for sabotage: only the change of this name; may be repeated")
    parser.add_argument("--until-red", action="store_true", help="stop at the first violation")
    parser.add_argument(
        "--timing",
        action=argparse.BooleanOptionalAction,
        default="CI" not in os.environ,
        help="compare durations too (unless CI is set)",
    )
    return parser.parse_args(arguments)


def _context(invariant: Invariant, ground: Ground, options: argparse.Namespace) -> Context:
    index, slash, count = options.shard.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise Failure(f"{options.shard!r} is no part such as 2/4.")
    shard = int(index), int(count)
    lane = "full" if options.trials == "full" else "fast"
    if options.trials not in ("fast", "full") and not options.trials.isdecimal():
        raise Failure("--trials is fast, full or a number.")
    trials = int(options.trials) if options.trials.isdecimal() else None
    return Context(
        invariant,
        ground,
        seed=options.seed,
        trials=trials,
        lane=lane,
        shard=shard,
        timing=options.timing,
        until_red=options.until_red,
        progress=progress_file(invariant, seed=options.seed, lane=lane, shard=shard) if lane == "full" else None,
    )


def _built(ids: Sequence[str]) -> list[Invariant]:
    unknown = [id for id in ids if id.upper() not in BY_ID or not BY_ID[id.upper()].is_built]
    if unknown:
        raise Failure(f"Not built: {', '.join(unknown)}. Try: python -m trust list")
    wanted = {id.upper() for id in ids}
    return [found for found in INVARIANTS if found.is_built and (found.id in wanted if wanted else not found.alone)]


def _run_one(invariant: Invariant, options: argparse.Namespace) -> int:
    _built([invariant.id])
    with Ground() as ground:
        result = run_invariant(_context(invariant, ground, options))
        _tell(result, options)
    return VIOLATED if result.violations else HELD


def _run_all(options: argparse.Namespace) -> int:
    """All that is built; in the fast lane one on each core, and without what compares durations, which wants a quiet
    machine."""
    began = time.monotonic()
    if options.trials == "fast":
        options.timing = False
    invariants = _built(options.ids)
    left_out = [invariant.id for invariant in invariants if _lacks(invariant)]
    chosen = [invariant for invariant in invariants if invariant.id not in left_out]
    if not chosen:
        return NOT_RUN if "CI" in os.environ else HELD
    is_together = options.trials == "fast" and JOIN not in os.environ  # joined servers are there for one
    found = _at_once(chosen, options) if is_together else _in_turn(chosen, options)
    results = [result for _id, result in found if result is not None]
    violated = [result.id for result in results if result.violations]
    broken = sorted(id for id, result in found if result is None)
    _tabulate(found)
    summary = {
        "id": "all",
        "held": len(results) - len(violated),
        "violated": sorted(violated),
        "not_run": broken,
        "left_out": left_out,
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(summary), flush=True)
    if broken or (left_out and "CI" in os.environ):
        return NOT_RUN
    return VIOLATED if violated else HELD


def _at_once(invariants: Sequence[Invariant], options: argparse.Namespace) -> Found:
    """One on each core, the longest first, on servers of their own; then those that want the machine for themselves."""
    from trust.parallel import WORKERS, fork_out

    ranks = {id: rank for rank, id in enumerate(LONGEST)}
    noisy = sorted((one for one in invariants if not one.quiet), key=lambda one: ranks.get(one.id, len(ranks)))
    quiet = [one for one in invariants if one.quiet]
    found: Found = []
    if noisy:
        workers = min(WORKERS, len(noisy))
        for part in fork_out(
            len(noisy), lambda share: _in_turn((noisy[number] for number in share), options), workers=workers
        ):
            found += part
    return found + (_in_turn(quiet, options) if quiet else [])


def _in_turn(invariants: Iterable[Invariant], options: argparse.Namespace) -> Found:
    """One after the other, in one start of the servers."""
    found: Found = []
    with Ground() as ground:
        for invariant in invariants:
            try:
                result = run_invariant(_context(invariant, ground, options))
            except Exception:
                sys.stderr.write(f"trust: {invariant.id} could not be tried:\n{traceback.format_exc()}")
                found.append((invariant.id, None))
                continue
            found.append((invariant.id, result))
            _tell(result, options)
    return found


def _tabulate(found: Found) -> None:
    """All of them in their order, for whoever reads it: the lines above stand in the order in which they ended."""
    for id, result in sorted(found, key=lambda pair: pair[0]):
        state = "could not be tried" if result is None else "VIOLATED" if result.violations else "held"
        details = f"{result.trials:>8,} trials  {result.seconds:>6.1f} s" if result is not None else ""
        sys.stderr.write(f"{id}  {state:<9}{details}  {BY_ID[id].title}\n")


def _lacks(invariant: Invariant) -> bool:
    """Whether this machine has not what it takes, and why; where CI is set, that is a fault."""
    lacks = getattr(invariant.module(), "lacks", None)
    why = lacks() if lacks is not None else ""
    if why:
        sys.stderr.write(f"trust: {invariant.id} is left out: {why}\n")
    return bool(why)


def _tell(result: Result, options: argparse.Namespace) -> None:
    """Print the line, and add it to the file in which results of many runs are summed."""
    print(result.line(), flush=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "results.jsonl").open("a") as file:
        row = {**json.loads(result.line()), "lane": options.trials, "shard": options.shard, "at": int(time.time())}
        file.write(json.dumps(row) + "\n")


def _sabotage(options: argparse.Namespace) -> int:
    chosen = [
        (invariant, change)
        for invariant in _built(options.ids)
        for change in getattr(invariant.module(), "SABOTAGES", ())
        if options.only is None or change.name in options.only
    ]
    if not chosen:
        raise Failure("There is no such sabotage.")
    green = 0
    for outcome in sabotage(chosen, seed=options.seed):
        green += not outcome.is_red
        print(outcome.line(), flush=True)
    return VIOLATED if green else HELD


if __name__ == "__main__":
    sys.exit(main())
