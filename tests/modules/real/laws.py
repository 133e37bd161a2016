"""Why: every module that changes a machine obeys the same laws, checked here on real ones from cases that are data.

A case is a mapping:

- ``name``, ``module``, ``args``, ``source`` (files beside the task file);
- ``prepare``: shell lines that make the machine from which all rounds of cases with the same lines start (made once;
  files only, what they start ends with them); ``before``: shell lines that make this case's situation in each round;
- ``look``: shell lines whose output, together, describes what the module may touch; ``shows``: the same with the
  pattern that the output must contain after the call; ``was``: patterns for their output before;
- ``changed`` (true unless said), ``message`` (a pattern), ``operations`` (how many change something, at most);
- ``error``: code, message, next (patterns); then nothing may have changed, unless ``partial``;
- ``restores``: false if what was before can't be brought back; ``kills``: false where a call can't be repeated;
- ``foretold``: false if check mode can't know whether something would change;
- ``context``: fields of the call's Context; ``secrets``: texts that may appear in no message, operation or ledger
  (``argv``: true where a program can't be told them otherwise than by an argument);
- ``needs``: programs without which the case is skipped on a developer's machine;
- ``systemd``: true for a machine with systemd; there rounds share one machine and ``reset`` lines clean it.

The laws: a check changes nothing and tells what the call does; a call again, or one that has lost its ledger,
changes nothing and performs no operation that could; looking from the ledger alone sees what was applied; a call that
was killed after any change and is made again comes to the same end, and remembers the same state before; undoing (as
prune does) brings back what was there.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

Facts = dict[str, Any]
PROJECT = Path(__file__).parents[3]
MOST_KILLS = 40


class Driver:
    """The program that plays rounds (``tests.modules.real.inside``). ``enter`` is put before its command line;
    ``way`` is how modules reach the machine."""

    def __init__(
        self, folder: Path, enter: Sequence[str] = (), *, here: bool = False, way: str = "local"
    ) -> None:
        self._request = {"here": here, "way": way}
        space = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        path = f"{PROJECT / 'src'}:{PROJECT}"
        self._process = subprocess.Popen(
            [*(enter or space), "env", f"PYTHONPATH={path}", "PYTHONUNBUFFERED=", sys.executable, "-P", "-m",
             "tests.modules.real.inside", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def play(self, case: Facts, kill: int | None = None) -> Facts:
        """One round's facts."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"case": case, "kill": kill, **self._request}) + "\n")
        self._process.stdin.flush()
        facts: Facts = json.loads(self._process.stdout.readline() or '{"failed": "the driver has ended"}')
        assert "failed" not in facts, facts["failed"]
        return facts

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


def load(path: Path) -> list[Facts]:
    """The cases of a file."""
    cases: list[Facts] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return cases


def obey(driver: Driver, case: Facts) -> Facts:
    """Check all laws for a case; returns the facts of its whole life, for further checks."""
    facts = driver.play(case)
    _patterns("before", case.get("was", {}), facts["before"])
    if "error" in case:
        _fails(case, facts)
        return facts
    _succeeds(case, facts)
    _quiet(case, facts)
    if case.get("restores", True):
        _restored(facts, facts)
    if case.get("kills", True) and facts["call"]["mutations"]:
        _survives_kills(driver, case, facts)
    return facts


def _patterns(when: str, patterns: Facts, seen: Facts) -> None:
    for line, pattern in patterns.items():
        assert re.search(pattern, seen[line], re.M), f"{when}: {line} says {seen[line]!r}, not {pattern!r}"


def _fails(case: Facts, facts: Facts) -> None:
    expected, error = case["error"], facts["call"].get("error")
    assert error, facts["call"]
    assert error["code"] == expected["code"], error
    assert re.search(expected["message"], error["message"]), error
    assert re.search(expected.get("next", ""), " ".join(error["next"])), error
    _secrets(case, facts)
    if not case.get("partial"):
        _alike(facts["checked"], facts["before"], "the failed check changed something")
        _alike(facts["after"], facts["before"], "the failed call changed something")
        assert facts["call"]["mutations"] == []
    _patterns("after", case.get("shows", {}), facts["after"])


def _succeeds(case: Facts, facts: Facts) -> None:
    check, call = facts["check"], facts["call"]
    assert "error" not in call, call["error"]
    assert "error" not in check, check["error"]
    _alike(facts["checked"], facts["before"], "the check changed something")
    assert call["changed"] is case.get("changed", True), call
    told = check["changed"]
    assert told is call["changed"] or (told is None and not case.get("foretold", True)), (check, call)
    if case.get("foretold", True):
        assert check["jobs"] == call["jobs"], "the check foretold something else"
    assert re.search(case.get("message", ""), call["message"]), call["message"]
    if not case.get("changed", True):
        assert call["changing"] == [] and call["mutations"] == [], call
    if "operations" in case:
        assert len(call["changing"]) <= case["operations"], call["operations"]
    _patterns("after", case.get("shows", {}), facts["after"])


def _quiet(case: Facts, facts: Facts) -> None:
    for again in ("again", "forgotten"):
        call = facts[again]
        assert "error" not in call, (again, call["error"])
        assert not call["changed"], (again, call)
        assert call["changing"] == [] and call["mutations"] == [], (again, call)
    assert "error" not in facts["recheck"], facts["recheck"]
    assert facts["recheck"]["changed"] is False or not case.get("foretold", True), facts["recheck"]
    _alike(facts["still"], facts["after"], "calls that should change nothing changed something")
    assert facts["seen"] == [], "the ledger alone does not lead to what was applied"
    _secrets(case, facts)


def _secrets(case: Facts, facts: Facts) -> None:
    ours = ("before", "after", "checked", "still", "restored")
    told = {key: value for key, value in facts.items() if key not in ours}
    hidden = {"jobs", "operations"} if case.get("argv") else {"jobs"}
    for call in (
        "check",
        "call",
        "again",
        "recheck",
        "forgotten",
    ):  # jobs are what the engine itself compares
        told[call] = {key: value for key, value in facts.get(call, {}).items() if key not in hidden}
    for secret in case.get("secrets", ()):
        where = [key for key, value in told.items() if secret in json.dumps(value)]
        assert not where, f"the secret {secret!r} is told by {where}: {[told[key] for key in where]}"


def _alike(seen: Facts, wanted: Facts, what: str) -> None:
    """The same output of all lines; shows those that differ."""
    different = {line: (seen[line], wanted[line]) for line in wanted if seen[line] != wanted[line]}
    for line, (one, other) in different.items():
        lines = set(one.splitlines()) ^ set(other.splitlines())
        raise AssertionError(f"{what}: {line}: {sorted(lines) or (one, other)}")


def _restored(facts: Facts, whole: Facts) -> None:
    assert facts["unlike"] == [], "undone, it does not look as before"
    _alike(facts["restored"], whole["before"], "undone, it is not as before")


def _survives_kills(driver: Driver, case: Facts, whole: Facts) -> None:
    for number in range(1, MOST_KILLS):
        facts = driver.play(case, number)
        if "killed" not in facts["call"]:
            assert number > 1, "no operation that changes something was seen"
            return
        assert "error" not in facts["second"], (number, facts["second"]["error"])
        _alike(facts["after"], whole["after"], f"killed after change {number}, it came to another end")
        assert not facts["again"]["changed"] and facts["again"]["mutations"] == [], (number, facts["again"])
        kept, known = facts["before_states"], whole["before_states"]
        assert kept == known, (
            f"killed after change {number}, it remembers another state before: {kept}, not {known}"
        )
        if case.get("restores", True):
            _restored(facts, whole)
    raise AssertionError(f"more than {MOST_KILLS} operations: kill fewer")
