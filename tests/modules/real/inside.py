"""Why: what a module does to a real machine is tried in rounds that begin alike, and told as plain facts.

This program is started once (``laws.Driver`` does it) and then serves requests, a JSON document a line:
``{"case": …, "kill": null | N, "here": false, "way": "local"}`` (``way``: that, or one of tests.modules.ways). A case
(see ``laws``) is set up, and then either the whole life of a call is gone through (check, call, call again, call with
an empty ledger, look from the ledger alone, undo), or the call is killed after its N-th change and made again. With
``here`` the round takes place on this very machine (one that ``tests.scratch`` made, with systemd); the case's
``reset`` lines take back what it did.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sloth_runner.engine.job import Job
from sloth_runner.errors import SlothError
from sloth_runner.modules import kinds
from sloth_runner.modules.base import Change, Look, Observed, Resource, differing
from sloth_runner.ops import Exec, OpError
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_queries import entries
from sloth_runner.state.ledger_records import Entry
from tests.modules.kit import Killed, Machine, Way, make_tree
from tests.modules.real.spaces import Spaces, probe, shell
from tests.modules.ways import WAYS

Facts = dict[str, Any]


def serve(folder: Path) -> None:
    """Answer requests until there are no more. ``folder`` is empty, for mounting."""
    spaces: Spaces | None = None
    for line in sys.stdin:
        request = json.loads(line)

        def work(request: Any = request) -> Facts:
            return play(request["case"], request["kill"], request["way"])

        try:
            if request["here"]:
                answer = work()
            else:
                spaces = spaces or Spaces(folder)
                answer = spaces.round(work, request["case"].get("prepare", ()))
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer, default=repr) + "\n")
        sys.stdout.flush()


def play(case: Facts, kill: int | None, way: str) -> Facts:
    """One round."""
    with contextlib.ExitStack() as held:
        chosen = None if way == "local" else held.enter_context(_opened(way))
        return _play(case, kill, Machine(Path(tempfile.mkdtemp()), chosen))


def _opened(way: str) -> AbstractContextManager[Way]:
    """A way to this machine, in a round of its own: whatever leads there starts and ends with the round."""
    return WAYS[way](Path(tempfile.mkdtemp()), Path(os.environ["HOME"]))


def _play(case: Facts, kill: int | None, machine: Machine) -> Facts:
    make_tree(machine.source, case.get("source", {}))
    probes = [*case.get("look", ()), *case.get("shows", {}), *case.get("was", {})]

    def look() -> dict[str, str]:
        return {line: probe(line) for line in probes}

    try:
        for line in case.get("before", ()):
            shell(line)
        return _life(case, machine, look) if kill is None else _killed(case, machine, look, kill)
    finally:
        for line in case.get("reset", ()):
            shell(line)


def _call(machine: Machine, case: Facts, *, check: bool = False, kill: int | None = None) -> Facts:
    """A call's facts: outcome or error, what was compared, what was done."""
    context = machine.context(sensitive=bool(case.get("secrets")), is_local=True, **case.get("context", {}))
    facts: Facts = {}
    try:
        if check:
            outcome = machine.check(case["module"], case["args"], context=context)
        else:
            outcome = machine.call(case["module"], case["args"], killed_after=kill, context=context)
        facts = {
            "changed": outcome.changed,
            "message": outcome.message,
            "diff": outcome.diff,
            "fields": outcome.fields,
        }
        if check:
            facts["changed"] = machine.would_change()
    except SlothError as error:
        facts["error"] = error.document()
    except Killed:
        facts["killed"] = True
    facts["jobs"] = [_told(job) for job in machine.jobs]
    facts["operations"] = [_named(op) for op in machine.operations]
    facts["mutations"] = machine.mutations
    facts["changing"] = machine.changing()
    return facts


def _told(job: Job) -> list[Any]:
    return [job.address, job.action, sorted(job.differing), job.observed.attributes, job.wanted]


def _named(op: object) -> str:
    return (
        f"Exec {' '.join(op.argv)}"
        if isinstance(op, Exec)
        else f"{type(op).__name__} {getattr(op, 'path', '')}"
    )


def _life(case: Facts, machine: Machine, look: Callable[[], dict[str, str]]) -> Facts:
    facts: Facts = {"before": look(), "check": _call(machine, case, check=True), "checked": look()}
    facts["call"] = _call(machine, case)
    facts["after"] = look()
    if "error" in facts["call"]:
        return facts
    facts["again"] = _call(machine, case)
    facts["recheck"] = _call(machine, case, check=True)
    facts["ledger"] = [entry._asdict() for entry in entries(machine.store, "local")]
    facts["before_states"] = _before_states(machine)
    kept = machine.store, machine.ledger
    machine.store = MemoryStore()
    machine.ledger = Ledger(machine.store, "local", tuple)
    facts["forgotten"] = _call(machine, case)
    machine.store, machine.ledger = kept
    facts["still"] = look()
    facts["seen"] = _seen(machine)
    if case.get("restores", True):
        facts["unlike"] = _undo(machine)
        facts["restored"] = look()
    return facts


def _killed(case: Facts, machine: Machine, look: Callable[[], dict[str, str]], kill: int) -> Facts:
    facts: Facts = {"call": _call(machine, case, kill=kill)}
    if "killed" not in facts["call"]:
        return facts
    facts["second"] = _call(machine, case)
    facts["after"] = look()
    facts["again"] = _call(machine, case)
    facts["before_states"] = _before_states(machine)
    if case.get("restores", True):
        facts["unlike"] = _undo(machine)
        facts["restored"] = look()
    return facts


def _before_states(machine: Machine) -> Facts:
    return {entry.address: entry.before for entry in entries(machine.store, "local")}


def _run(machine: Machine, steps: Generator[Any, Any, Any]) -> Any:
    """A kind's own operations, performed without an engine."""

    async def go() -> Any:
        result: Any = None
        error: OpError | None = None
        while True:
            try:
                op = steps.send(result) if error is None else steps.throw(error)
            except StopIteration as end:
                return end.value
            try:
                result, error = await machine.transport.do(op), None
            except OpError as problem:
                error = problem

    return machine.run(go())


def _observed(machine: Machine, entry: Entry) -> tuple[Resource, Observed]:
    """A look that knows nothing but the ledger's entry."""
    resource = Resource(entry.kind, entry.id, entry.params)
    return resource, _run(machine, kinds()[entry.kind].observe([Look(resource)]))[0]


def _seen(machine: Machine) -> list[str]:
    """Addresses that look other than what was applied, when looked at from the ledger alone."""
    bad = []
    for entry in entries(machine.store, "local"):
        if entry.memory is None and not entry.salt:
            resource, observed = _observed(machine, entry)
            if differing(observed.attributes, entry.applied):
                bad.append(f"{resource.address}: {observed.attributes} is not {entry.applied}")
    return bad


def _undo(machine: Machine) -> list[str]:
    """Take back what was done, as prune does; returns what is then not as it was."""
    bad = []
    done = sorted(entries(machine.store, "local"), key=lambda entry: -entry.order)
    for entry in [e for e in done if e.touched and e.memory is None and kinds()[e.kind].undo and not e.salt]:
        kind = kinds()[entry.kind]
        resource, now = _observed(machine, entry)
        kept = entry.before_content
        content = None if kept is None else machine.ledger.content(kept)
        different = differing(now.attributes, entry.before)
        if different:
            change = Change(resource, now, entry.before, different, content, {"undo": True}, entry.extra)
            _run(machine, kind.converge([change]))
        again = _observed(machine, entry)[1]
        if differing(again.attributes, entry.before):
            bad.append(f"{resource.address}: {again.attributes} is not {entry.before}")
    return bad


if __name__ == "__main__":
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    os.environ["HOME"] = "/root"  # the cases name root's own files
    os.chdir("/")
    serve(Path(sys.argv[1]))
