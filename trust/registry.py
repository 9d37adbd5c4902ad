"""What must hold: all 44 invariants, built or not. Those that are built have a module of their name beside this one."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Invariant:
    """`fast` and `full`: how many trials each lane makes; 0: as many as there are cases. What a trial is, the module
    says. `timed`: a part of it compares durations and stays out of CI; `alone`: too long for the run of all of them;
    `quiet`: not beside another, as it has deadlines that a busy machine may miss.
    """

    id: str
    title: str
    fast: int
    full: int
    timed: bool = False
    alone: bool = False
    quiet: bool = False

    @property
    def name(self) -> str:
        return self.id.lower()

    @property
    def is_built(self) -> bool:
        return (HERE / f"{self.name}.py").is_file()

    def module(self) -> ModuleType:
        """The module with `run(context)` and `SABOTAGES`."""
        return importlib.import_module(f"trust.{self.name}")

    def __str__(self) -> str:
        def lane(count: int) -> str:
            return f"{count:,}" if count else "all"

        state = "built    " if self.is_built else "not built"
        lanes = f"{lane(self.fast)} / {lane(self.full)}"
        return f"{self.id}  {state}  {lanes:>18}  {self.title}{' (timed)' if self.timed else ''}"


@dataclass(frozen=True, slots=True)
class Sabotage:
    """A wrong change that must be noticed. `old`: text that stands in `file` exactly once.

    `red_by`: how. A violation, as a rule; "refusal": the product does not start at all, which is as good.
    """

    name: str
    file: str
    old: str
    new: str
    red_by: Literal["violation", "refusal"] = "violation"


#: Whose fast lanes take longest, on a quiet machine: where several run at once, these begin first.
LONGEST = ("T21", "T25", "T42", "T22", "T33", "T29", "T19", "T16", "T28", "T26", "T24", "T01", "T06")

INVARIANTS: Sequence[Invariant] = (
    # Money
    Invariant("T01", "Calls survive killed processes: each is recorded and charged once, or not at all", 2_000, 20_000),
    Invariant("T02", "Concurrent calls never spend more than the budget they draw from", 5, 100),
    Invariant("T03", "Several budgets are held all or none, without deadlock", 2_000, 50_000),
    Invariant("T04", "What a dead call held comes back, and what a living one holds stays", 20, 300),
    Invariant("T05", "Without Redis calls are answered, limited and paid", 10, 100, quiet=True),
    Invariant("T06", "Without PostgreSQL nothing that was acknowledged is lost or made twice", 5, 50),
    Invariant("T07", "The ledger refuses every entry that does not balance, from everyone", 540, 10_040),
    Invariant("T08", "A stream that breaks off is settled once, for what was delivered", 50, 1_000),
    Invariant("T09", "Invoices add up to the unit and come out the same every time", 5_000, 100_000),
    Invariant("T10", "Every publisher is paid once per period, and never more than is due", 20, 300),
    Invariant("T11", "Each difference between the books and the payment processor is found, and nothing else", 25, 600),
    Invariant("T12", "A request that is repeated under its idempotency key has one effect and one answer", 200, 5_000),
    # Gateway and outbound calls
    Invariant("T13", "No address that somebody gives leads into the private network", 315, 5_000),
    Invariant("T14", "There is one door out, and every connection goes through it", 0, 0),
    Invariant("T15", "A hostile model endpoint harms neither the gateway nor other callers", 111, 2_220),
    Invariant("T16", "No secret appears in a log, a table, Redis, a mail or somebody else's request", 1_000, 10_000),
    Invariant("T17", "No framing of a request makes one caller receive another's answer", 60, 1_200),
    Invariant("T18", "Slow clients do not keep others from being served", 1, 10, timed=True, quiet=True),
    Invariant("T19", "Rate limits admit exactly what they say, on every process, whoever one claims to be", 10, 300),
    Invariant("T20", "No answer holds a byte of another tenant's", 1, 20),
    # Identity and keys
    Invariant("T21", "Who may do what is what the table says, on every address, for every kind of caller", 0, 0),
    Invariant("T22", "A request changes the fields it may and no other, and reads the fields it may", 0, 0),
    Invariant(
        "T23", "Keys are unique, typing errors are noticed, and nothing stored gives a key away", 20_000, 1_000_000
    ),
    Invariant("T24", "Revoked and expired keys are refused within a second, by every process", 20, 500),
    Invariant("T25", "Every secret of the site can be exchanged while it serves, and nobody notices", 1, 20),
    Invariant("T26", "A refresh token works once, a second holder ends the family, a second click does not", 50, 1_000),
    Invariant("T27", "No forged access token is accepted", 200, 2_000, timed=True),
    Invariant("T28", "Nobody learns who has an account, or guesses a password", 200, 2_000, timed=True),
    Invariant("T29", "Sessions cannot be fixed, forged, sent elsewhere or outlive a new password", 0, 0),
    Invariant("T30", "A true report of a leaked key revokes it, and a forged one does nothing", 100, 1_000),
    # Input
    Invariant("T31", "No input makes the API answer 5xx or outside its schema", 1_000, 10_000),
    Invariant("T32", "No document or schema takes more than its share of time", 100, 2_000, timed=True),
    Invariant("T33", "No uploaded file runs, hides a place or outgrows its quota", 120, 600),
    Invariant("T34", "No text that somebody wrote becomes markup or a formula", 500, 5_000),
    Invariant("T35", "No query of a visitor is slow", 1_000, 20_000, timed=True),
    # Events and jobs
    Invariant("T36", "Payment events count once, in whatever order, and forged ones leave no row", 1, 10),
    Invariant(
        "T37", "Webhooks arrive at least once or are marked dead, and one receiver does not slow others", 200, 5_000
    ),
    Invariant("T38", "A job that runs twice does what one run does", 0, 0),
    Invariant("T39", "Mail is sent once, to those who want it, and nobody unsubscribes another", 100, 2_000),
    # Durability and change
    Invariant("T40", "A restored backup is the database that was backed up", 1, 5),
    Invariant("T41", "A migration runs beside the code before and after it", 0, 0),
    Invariant("T42", "Whoever edits the audit log is found out", 100, 1_000),
    Invariant("T43", "What is released is pinned, checked and survives the loss of what is beside it", 1, 1),
    Invariant("T44", "Each of these can fail: every listed wrong change turns its invariant red", 10, 0, alone=True),
)
BY_ID = {invariant.id: invariant for invariant in INVARIANTS}
