"""What Redis is asked about rate limits: GCRA in Lua on Redis time, many calls in one script."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from common.limiter import Bucket

# What is written goes to replicas, but not to the append-only file: a restart costs a burst, not two lines a call.
_NOT_LOGGED = "if redis.set_repl then redis.set_repl(redis.REPL_REPLICA) end\n"

# KEYS: every bucket once. ARGV[1]: runs, in order of arrival. A run is so many calls that draw from the same buckets:
# their number, then for each bucket its place in KEYS, microseconds per request, and microseconds in which it refills.
# The answer is for each run how many of its calls fit, which are its first, and how full each bucket was before, in
# microseconds. MessagePack on both ways: a script reads and writes one text much faster than many.
# The stored value is the theoretical arrival time, kept within one full bucket of now, so that neither a clock set back
# nor a lowered limit locks anyone out for longer. On Redis Cluster the keys of one call must share a slot.
SCRIPT = (
    _NOT_LOGGED
    + """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local dues = redis.call('MGET', unpack(KEYS))
local answer, filled = {}, {}
for _, run in ipairs(cmsgpack.unpack(ARGV[1])) do
  local fits, first = run[1], #answer + 1
  answer[first] = fits
  for j = 2, #run, 3 do
    local step = run[j + 1]
    local room = run[j + 2]
    local due = tonumber(dues[run[j]] or 0)
    due = math.min(math.max(due, now), now + room)
    fits = math.min(fits, math.floor((now + room - due) / step))
    answer[#answer + 1] = due - now
  end
  answer[first] = fits
  if fits > 0 then
    for j = 2, #run, 3 do
      first = first + 1
      dues[run[j]] = now + answer[first] + fits * run[j + 1]
      filled[run[j]] = true
    end
  end
end
for i in pairs(filled) do
  redis.call('SET', KEYS[i], string.format('%.0f', dues[i]), 'PX', math.ceil((dues[i] - now) / 1000) + 1000)
end
return cmsgpack.pack(answer)
"""
)
SHA = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

# Undoes one taking: KEYS[1], and microseconds per request.
RETURN_SCRIPT = (
    _NOT_LOGGED
    + """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local due = tonumber(redis.call('GET', KEYS[1]) or 0) - ARGV[1]
if due > now then
  redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000) + 1000)
else
  redis.call('DEL', KEYS[1])
end
"""
)


class Run:
    """Calls that come one after another and draw from the same buckets."""

    __slots__ = ("buckets", "count")

    def __init__(self, buckets: Sequence[Bucket]) -> None:
        self.buckets, self.count = buckets, 1


def runs_of(groups: Sequence[Sequence[Bucket]]) -> list[Run]:
    """Groups that are one and the same object, as those of one caller are, and come one after another are one run."""
    runs: list[Run] = []
    last = None
    for group in groups:
        if group is last:
            runs[-1].count += 1
        else:
            runs.append(Run(group))
            last = group
    return runs


def arguments_of(runs: Sequence[Run]) -> tuple[int, list[str | bytes]]:
    """What follows the script or its digest: how many keys there are, and the keys and the runs."""
    places: dict[str, int] = {}
    packed = []
    for run in runs:
        numbers = [run.count]
        for bucket in run.buckets:
            numbers += (places.setdefault(key_of(bucket), len(places) + 1), bucket.step_us, bucket.room_us)
        packed.append(numbers)
    return len(places), [*places, msgspec.msgpack.encode(packed)]


def key_of(bucket: Bucket) -> str:
    """Under which key Redis keeps it."""
    return "limit:" + bucket.key


_read = msgspec.msgpack.Decoder(list[int]).decode


def read_answer(runs: Sequence[Run], reply: bytes) -> list[tuple[int, list[int]]]:
    """For each run how many of its calls fit, and how full each bucket was before it, in microseconds. Raises
    ValueError for what is no answer to these runs."""
    numbers, at = _read(reply), 0
    answers = []
    for run in runs:
        end = at + 1 + len(run.buckets)
        answers.append((numbers[at], numbers[at + 1 : end]))
        at = end
    if at != len(numbers):
        raise ValueError(f"{len(numbers)} numbers for {at}")
    return answers
