"""Each invariant can fail: the wrong changes that are listed turn theirs red.

A trial is one change, drawn by the seed; the full lane makes all of them.
"""

from __future__ import annotations

from trust.harness import Context, Result
from trust.registry import INVARIANTS
from trust.sabotage import sabotage


def run(context: Context) -> Result:
    listed = [
        (invariant, change)
        for invariant in INVARIANTS
        if invariant.is_built and not invariant.alone
        for change in invariant.module().SABOTAGES
    ]
    index, count = context.shard
    chosen = context.random.sample(listed, min(context.trials or len(listed), len(listed)))[index - 1 :: count]
    chosen.sort(key=listed.index)  # those of one invariant together: it is tried unchanged once
    for outcome in sabotage(chosen, seed=context.seed):
        context.count()
        context.expect(outcome.is_red, f"{outcome.id}, {outcome.name}, stays green: {outcome.why}")
        context.worst("seconds_of_one", outcome.seconds)
    return context.result()
