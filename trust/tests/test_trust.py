"""The gate itself: it lists what there is, goes on where it was, and says so when something does not hold."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from config.processes import Failure
from trust.__main__ import main
from trust.ground import JOIN
from trust.harness import Context, Progress, Red
from trust.parallel import Numbers, fork_out
from trust.registry import BY_ID, INVARIANTS, LONGEST, Sabotage
from trust.sabotage import ROOT, applied, copy_of_the_code

BUILT = [invariant for invariant in INVARIANTS if invariant.is_built]
LISTED = [(invariant, change) for invariant in BUILT for change in getattr(invariant.module(), "SABOTAGES", ())]


def context(**options):
    return Context(BY_ID["T19"], SimpleNamespace(), **options)


def test_the_list_has_a_line_for_each_of_the_44(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"T{number:02}" for number in range(1, 45)]
    assert {line.split()[1] for line in lines} == {"built", "not"}


@pytest.mark.parametrize("arguments", [["T45"], ["T40"], ["fast", "T40"], ["sabotage", "T19", "--only", "nothing"]])
def test_what_is_not_there_is_said_and_not_taken_for_held(arguments, capsys):
    assert main(arguments) == 2
    assert "trust: " in capsys.readouterr().err


@pytest.mark.parametrize(("ci", "code"), [(None, 0), ("true", 2)])
def test_what_a_machine_lacks_is_named_and_in_ci_a_fault(monkeypatch, capsys, ci, code):
    monkeypatch.delenv("CI", raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert main(["fast", "T17"]) == code
    assert "T17 is left out: nginx is not installed" in capsys.readouterr().err


def test_every_built_invariant_has_wrong_changes_to_prove_it():
    assert {invariant.id for invariant, _ in LISTED} == {invariant.id for invariant in BUILT if not invariant.alone}


def test_those_that_begin_first_may_run_beside_others():
    assert len(set(LONGEST)) == len(LONGEST)
    assert all(BY_ID[id].is_built and not BY_ID[id].quiet for id in LONGEST)


@pytest.mark.parametrize(("invariant", "change"), LISTED, ids=[f"{i.id} {c.name}" for i, c in LISTED])
def test_the_text_of_every_wrong_change_stands_in_the_code_once(invariant, change):
    assert (ROOT / change.file).read_text().count(change.old) == 1
    assert change.new != change.old


@pytest.mark.parametrize("text", ["not there\n", "twice\n"])
def test_a_wrong_change_that_does_not_fit_is_an_error(tmp_path, text):
    (tmp_path / "code.py").write_text("twice\ntwice\nonce\n")
    with pytest.raises(Failure, match="should stand there once"), applied(Sabotage("x", "code.py", text, ""), tmp_path):
        pytest.fail("it was applied")


def test_a_wrong_change_is_undone(tmp_path):
    (tmp_path / "code.py").write_text("once\n")
    with applied(Sabotage("x", "code.py", "once", "wrong"), tmp_path):
        assert (tmp_path / "code.py").read_text() == "wrong\n"
    assert (tmp_path / "code.py").read_text() == "once\n"


def test_a_seed_makes_the_same_trials_and_shards_share_them():
    def numbers(**options):
        return [(trial.number, trial.size, trial.random.random()) for trial in context(**options).each(per=30)]

    whole = numbers(trials=100)
    assert [(number, size) for number, size, _ in whole] == [(0, 30), (30, 30), (60, 30), (90, 10)]
    assert numbers(trials=100) == whole
    assert numbers(trials=100, seed=2) != whole
    assert sorted(numbers(trials=100, shard=(1, 2)) + numbers(trials=100, shard=(2, 2))) == whole


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    path = tmp_path / "progress.jsonl"
    first = context(trials=10, progress=path)
    for trial in first.each(per=2):
        if trial.number == 6:
            break
        first.expect(trial.number != 4, "four")
        first.worst("number", trial.number)
    with path.open("a") as file:
        file.write('{"trial": 8, "si')  # the power went
    second = context(trials=10, progress=path)
    made = [trial.number for trial in second.each(per=2)]
    assert made == [6, 8]
    result = json.loads(second.result().line())
    assert (result["trials"], result["violations"], result["worst"]) == (10, 1, {"number": 4})
    Progress(path).finish()
    assert not path.exists()


def test_the_first_violation_may_be_enough():
    one = context(until_red=True)
    with pytest.raises(Red):
        one.expect(False, "it does not hold")
    assert one.result().violations == 1


def test_work_is_shared_out_each_part_once():
    found = fork_out(50, lambda numbers: (os.getpid(), list(numbers)), workers=2)
    assert len({process for process, _ in found} | {os.getpid()}) == 3
    assert sorted(number for _, numbers in found for number in numbers) == list(range(50))
    assert all(numbers == sorted(numbers) for _, numbers in found)


def test_where_one_part_dies_the_others_end_and_it_is_said(tmp_path):
    def work(numbers: Numbers) -> None:
        if next(iter(numbers)) == 0:
            while not (tmp_path / "begun").exists():
                time.sleep(0.01)
            os._exit(1)
        try:
            (tmp_path / "begun").touch()
            time.sleep(60)
        finally:
            (tmp_path / "tidied").touch()

    began, usual = time.monotonic(), signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    try:
        with pytest.raises(RuntimeError, match="without a word"):
            fork_out(2, work, workers=2)
    finally:
        signal.signal(signal.SIGTERM, usual)
    assert time.monotonic() - began < 30
    assert (tmp_path / "tidied").exists()


@pytest.mark.slow
def test_it_holds_as_it_is_and_does_not_when_it_is_spoiled(cluster):
    def run(directory: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trust", "T23", "--trials", "1000", "--until-red"]
        environment = {**os.environ, JOIN: str(cluster.directory)}
        return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)

    change = next(change for invariant, change in LISTED if change.name == "a checksum that is not compared")
    with ExitStack() as stack:
        copy = stack.enter_context(copy_of_the_code())
        held = run(copy)
        stack.enter_context(applied(change, copy))
        spoiled = run(copy)
    assert held.returncode == 0, held.stderr
    result = json.loads(held.stdout)
    assert list(result) == ["id", "seed", "trials", "violations", "worst", "seconds"]
    assert (result["id"], result["trials"], result["violations"]) == ("T23", 1000, 0)
    assert spoiled.returncode == 1, spoiled.stderr
    assert json.loads(spoiled.stdout)["violations"] == 1
    assert "T23: another letter of a key passes the checksum" in spoiled.stderr
