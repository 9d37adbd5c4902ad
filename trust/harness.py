"""One run of one invariant: its seed, its trials, what was found, and where it stopped if it was interrupted."""

from __future__ import annotations

import fcntl
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from trust.ground import BUILD, Ground
from trust.registry import HERE, Invariant

SEEDS = HERE / "seeds.json"
KEPT_SEEDS = 20  # of one invariant
SHOWN_VIOLATIONS = 20
LONGEST_VIOLATION = 300


class Red(Exception):
    """The first violation, for whoever wants no more than one."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial, or `size` of them that are made together. `random` gives the same numbers in every replay."""

    number: int
    size: int
    random: Random


@dataclass(slots=True)
class Result:
    """What a run found. `worst`: the largest of each thing that was measured."""

    id: str
    seed: int
    trials: int
    violations: int
    worst: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def line(self) -> str:
        return json.dumps(
            {
                "id": self.id,
                "seed": self.seed,
                "trials": self.trials,
                "violations": self.violations,
                "worst": self.worst or None,
                "seconds": round(self.seconds, 1),
            }
        )


class Progress:
    """The trials that are done, in a file, so that an interrupted run goes on where it was."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.done: dict[int, dict[str, Any]] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                try:
                    row = json.loads(line)
                    self.done[int(row["trial"])] = row
                except (ValueError, KeyError, TypeError):  # the line that the interruption cut
                    continue

    def note(self, trial: Trial, violations: list[str], worst: dict[str, float]) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        row = {"trial": trial.number, "size": trial.size, "violations": violations, "worst": worst}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def finish(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class Context:
    """What `run(context)` gets. See README.md."""

    def __init__(
        self,
        invariant: Invariant,
        ground: Ground,
        *,
        seed: int = 1,
        trials: int | None = None,
        lane: str = "fast",
        shard: tuple[int, int] = (1, 1),
        timing: bool = True,
        until_red: bool = False,
        progress: Path | None = None,
    ) -> None:
        self.invariant, self.ground, self.seed, self.lane = invariant, ground, seed, lane
        self.id = invariant.id
        lane_count = invariant.full if lane == "full" else invariant.fast
        self.trials = lane_count if trials is None else trials
        self.shard, self.timing, self.until_red = shard, timing, until_red
        self.random = Random(f"{self.id}:{seed}")
        self.violations: list[str] = []
        self.made = 0
        self.progress = Progress(progress)
        self._worst: dict[str, float] = {}
        self._failing: list[tuple[int, int]] = []

    @property
    def is_full(self) -> bool:
        return self.lane == "full"

    # --- Trials ---

    def each(self, *, per: int = 1) -> Iterator[Trial]:
        """The trials of this lane and shard, `per` at a time. Those that failed once come first, and do not count."""
        for seed, number in read_seeds().get(self.id, []):
            yield Trial(number, per, Random(f"{self.id}:{seed}:{number}"))
        index, count = self.shard
        for position, number in enumerate(range(0, self.trials, per)):
            if position % count != index - 1:
                continue
            size = min(per, self.trials - number)
            if (row := self.progress.done.get(number)) is not None:
                self.made += row["size"]
                self.violations += row["violations"]
                self._keep_worst(row["worst"])
                continue
            trial = Trial(number, size, Random(f"{self.id}:{self.seed}:{number}"))
            found, worst, self._worst = len(self.violations), self._worst, {}
            try:
                yield trial
            finally:
                of_trial, self._worst = self._worst, worst
                self._keep_worst(of_trial)
                if len(self.violations) > found:
                    self._failing.append((self.seed, number))
            self.made += size
            self.progress.note(trial, self.violations[found:], of_trial)

    def count(self, trials: int = 1) -> None:
        """Trials of an invariant whose number is known only when they are made."""
        self.made += trials

    # --- Findings ---

    def expect(self, holds: bool, what: str) -> bool:
        """A violation unless it holds. Returns `holds`."""
        if not holds:
            self.violation(what)
        return holds

    def violation(self, what: str) -> None:
        what = what if len(what) <= LONGEST_VIOLATION else what[: LONGEST_VIOLATION - 1] + "…"
        self.violations.append(what)
        if len(self.violations) <= SHOWN_VIOLATIONS:
            sys.stderr.write(f"{self.id}: {what}\n")
        if self.until_red:
            raise Red(what)

    def worst(self, name: str, value: float) -> None:
        """Keep the largest value of each name."""
        self._keep_worst({name: value})

    def _keep_worst(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            rounded = round(value, 4)
            self._worst[name] = max(self._worst.get(name, rounded), rounded)

    def result(self) -> Result:
        return Result(self.id, self.seed, self.made, len(self.violations), dict(self._worst))

    def write_failing(self) -> None:
        """Keep the trials that failed, so that every later run begins with them."""
        if self._failing:
            write_seeds(self.id, self._failing)


def run_invariant(context: Context) -> Result:
    """Run it, and tidy up its processes."""
    began = time.monotonic()
    try:
        result = context.invariant.module().run(context)
    except Red:
        result = context.result()
    finally:
        context.ground.tidy()
    result.seconds = time.monotonic() - began
    context.write_failing()
    context.progress.finish()
    return result


def progress_file(invariant: Invariant, *, seed: int, lane: str, shard: tuple[int, int]) -> Path:
    return BUILD / "progress" / f"{invariant.id}-seed{seed}-{lane}-{shard[0]}of{shard[1]}.jsonl"


def read_seeds() -> dict[str, list[tuple[int, int]]]:
    """By invariant, the seeds and trials that failed once."""
    if not SEEDS.exists():
        return {}
    return {id: [(seed, number) for seed, number in found] for id, found in json.loads(SEEDS.read_text()).items()}


def write_seeds(id: str, failing: list[tuple[int, int]]) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "seeds-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another invariant may fail in another process
        known = read_seeds()
        known[id] = list(dict.fromkeys([*known.get(id, []), *failing]))[:KEPT_SEEDS]
        lines = [f"  {json.dumps(name)}: {json.dumps(known[name])}" for name in sorted(known)]
        SEEDS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
