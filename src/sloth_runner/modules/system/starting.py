"""Why: a unit that does not come up is told with its own last words: systemd often says that it has started it."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping

from sloth_runner.errors import TaskFailed
from sloth_runner.modules.base import Resource
from sloth_runner.modules.system.steps import act, ask
from sloth_runner.plain import Any

_PROPERTIES = ("ActiveState", "SubState", "Result", "Type")


def start(subject: str, name: str, how: str) -> Generator[Any, Any, None]:
    """Start, stop, restart or reload; a failure is told with what the unit itself logged last."""
    try:
        yield from act(subject, ["systemctl", how, "--", name], advice=[_look(name)])
    except TaskFailed as error:
        error.system = "\n".join(filter(None, (error.system, (yield from _log(name)))))
        raise


def still_there(subject: str, name: str) -> Generator[Any, Any, None]:
    """Raise TaskFailed where a unit that was just restarted has failed already."""
    seen = yield from _seen(name)
    if seen.get("ActiveState") == "failed" or seen.get("SubState") == "auto-restart":
        words, advice = _reason(seen, name)
        raise TaskFailed(f"{subject}: {words}", system=(yield from _log(name)) or None, next=advice)


def amiss(resource: Resource, left: Collection[str]) -> Generator[Any, Any, TaskFailed | None]:
    """Why a unit that systemd has started does not run."""
    if "state" not in left:
        return None
    words, advice = _reason((yield from _seen(resource.id)), resource.id)
    return TaskFailed(
        f"service {resource.id}: {words}", system=(yield from _log(resource.id)) or None, next=advice
    )


def _seen(name: str) -> Generator[Any, Any, Mapping[str, str]]:
    ran = yield from ask("systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", name)
    lines = ran.stdout.decode("utf-8", "replace").splitlines() if ran is not None else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _reason(seen: Mapping[str, str], name: str) -> tuple[str, list[str]]:
    """What has become of a unit after its start, and what to do."""
    result = seen.get("Result", "")
    if result not in ("", "success"):
        return f"it was started, and has failed ({result})", [_look(name)]
    if seen.get("Type") == "oneshot":
        return "it was started, has done its work and has ended: it is of Type=oneshot", [
            "RemainAfterExit=yes in its file lets it count as running",
            "or leave state out: enabled = true, or its timer, starts it when it is due",
        ]
    return "systemd has started it, but it does not run", [_look(name)]


def _look(name: str) -> str:
    return f"look at its log: journalctl -u {name} -n 50"


def _log(name: str) -> Generator[Any, Any, str]:
    log = yield from ask("journalctl", "--no-pager", "--output=cat", "-n", "8", "-u", name)
    return log.stdout.decode("utf-8", "replace").strip() if log is not None else ""
