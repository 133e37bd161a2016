"""Why: what a task file defines is checked field by field, with the line of the field that is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sloth_runner.durations import seconds
from sloth_runner.errors import BadArgument, BadDependency, BadField, Duplicate, SlothError
from sloth_runner.model import Pairs, Program, Share, Site, TaskDef, Workflow
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.lua.failures import Sources
    from sloth_runner.model import Start

_TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Field(NamedTuple):
    """A field of a definition: ``check`` gives the value (or raises ValueError saying what is wanted); a function
    is taken if ``function`` is true, and nothing else if there is no ``check``."""

    check: Callable[[object], object] | None
    function: bool = False


class Definitions:
    """The tasks and the workflow of one file, in the order of definition. ``starter`` makes a Start of the number
    of a Lua function; ``sources`` finds the lines."""

    def __init__(self) -> None:
        self.starter: Callable[[int], Start] | None = None
        self.span: Callable[[int], tuple[int, int]] = lambda number: (0, 0)
        self.sources: Sources | None = None
        self._tasks: dict[str, TaskDef] = {}
        self._handlers: dict[str, TaskDef] = {}
        self._workflow: tuple[Workflow, Site] | None = None
        self._closed = False

    def define(
        self, kind: str, site: Site, functions: Mapping[str, int], fields: Mapping[str, object]
    ) -> str:
        """Take one definition; returns its name. Raises BadField, BadArgument, Duplicate."""
        if self._closed:
            raise BadArgument(
                f"{kind}: tasks are defined when the file is loaded, not while it runs",
                next=["put the definition at the top level of the file"],
            )
        known = _FIELDS[kind]
        title = _title(kind, fields.get("name"))
        found: dict[str, Any] = {}
        for name in sorted({*functions, *fields}):
            if name not in known:
                error = BadField(
                    f"{title} has no field {name!r}", unchanged=["nothing was run"], next=_meant(name, known)
                )
                raise self._at(error, site, name)
            try:
                found[name] = self._value(known[name], functions.get(name), fields.get(name))
            except ValueError as problem:
                bad = BadArgument(f"{title}: {name} {problem}", unchanged=["nothing was run"])
                if name == "run":
                    bad.next = ["say what to do in a function: run = function() cmd({ command = … }) end"]
                if name == "name" and isinstance(fields["name"], str):
                    bad.next = _name_like(fields["name"])
                raise self._at(bad, site, name) from None
        if kind in ("task", "handler"):
            if "run" in functions:
                found["span"] = self.span(functions["run"])
            return self._add_task(kind, site, title, found)
        return self._set_workflow(site, found)

    def methods(self, kind: str) -> list[str]:
        """The names of a builder's methods."""
        names = {"run": "command", "name": "build"}
        return [names.get(name, name) for name in _FIELDS[kind]]

    def program(self, file: str) -> Program:
        """What has been defined. Raises BadDependency for a workflow that names a task there isn't."""
        self._closed = True
        workflow, site = self._workflow or (Workflow(None), Site(file, 1))
        for name in workflow.tasks:
            if name not in self._tasks:
                error = BadDependency(
                    f"the workflow {workflow.name!r} names the task {name!r}, which is not defined",
                    unchanged=["nothing was run"],
                    next=did_you_mean(name, self._tasks),
                )
                raise self._at(error, site, "tasks", name)
        return Program(file, workflow, tuple(self._tasks.values()), tuple(self._handlers.values()))

    def _value(self, field: Field, function: int | None, value: object) -> object:
        if function is not None:
            if not field.function:
                raise ValueError("can't be a function")
            assert self.starter is not None
            return self.starter(function)
        if field.check is None:
            raise ValueError(f"is a function, not {_a(value)}")
        return field.check(value)

    def _at(self, error: SlothError, site: Site, field: str, *words: str) -> SlothError:
        if self.sources is not None:
            line = self.sources.field_line(site, field)
            self.sources.place(error, site.file, line, *words, field)
        return error

    def _add_task(self, kind: str, site: Site, title: str, found: dict[str, Any]) -> str:
        for field, why in (("name", "name"), ("run", "run function: what should it do?")):
            if field not in found:
                raise self._at(BadField(f"{title} has no {why}", unchanged=["nothing was run"]), site, kind)
        task = TaskDef(site=site, **found)
        into = self._tasks if kind == "task" else self._handlers
        earlier = self._tasks.get(task.name) or self._handlers.get(task.name)
        if earlier is not None:
            what = kind if task.name in into else "name of a task and a handler"
            error = Duplicate(
                f"the {what} {task.name!r} is defined twice: on line {earlier.site.line} and on line {site.line}",
                unchanged=["nothing was run"],
                next=["give one of them another name"],
            )
            raise self._at(error, site, "name", task.name)
        into[task.name] = task
        return task.name

    def _set_workflow(self, site: Site, found: dict[str, Any]) -> str:
        if self._workflow is not None:
            error = Duplicate(
                f"a file holds one workflow; {self._workflow[0].name!r} is defined on line "
                f"{self._workflow[1].line} and {found['name']!r} on line {site.line}",
                unchanged=["nothing was run"],
                next=["put the second one into a file of its own"],
            )
            raise self._at(error, site, "workflow")
        self._workflow = (Workflow(**found), site)
        return str(found["name"])


def _title(kind: str, name: object) -> str:
    return f"{kind} {name!r}" if isinstance(name, str) else f"a {kind}"


def _meant(name: str, known: Mapping[str, Field]) -> list[str]:
    from sloth_runner.modules.habits import FIELDS

    meant = FIELDS.get(name, "")
    field = re.match(r"say (\w+) =", meant)
    if meant and "run" in known and (field is None or field.group(1) in known):
        return [meant]
    return did_you_mean(name, known) or [f"the fields are {', '.join(known)}"]


def _a(value: object) -> str:
    words = ((bool, "a boolean"), (str, "a string"), (int, "a number"), (float, "a number"), (list, "a list"))
    return next((word for cls, word in words if isinstance(value, cls)), "a table")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"is a string, not {_a(value)}")


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"is true or false, not {_a(value)}")


def _filled(value: object) -> str:
    if _text(value):
        return str(value)
    raise ValueError("is empty")


def _task_name(value: object) -> str:
    if _TASK_NAME.fullmatch(_text(value)):
        return str(value)
    raise ValueError(
        "can't be that: a name begins with a letter or digit, then letters, digits, dot, dash and underscore, "
        "128 in all"
    )


def _name_like(text: str) -> list[str]:
    """A name that can be used in the place of ``text``, as the ``next`` of an error."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:128]
    return [f"say name = {name!r}; description takes any text"] if name else []


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_filled(value),)
    if value == {}:
        return ()
    if not isinstance(value, list):
        raise ValueError(f"is a string or a list of strings, not {_a(value)}")
    return tuple(_filled(item) for item in value)


def _members(value: object) -> tuple[str, ...]:
    if names := _texts(value):
        return names
    raise ValueError("is empty: leave it out if all tasks of the file belong to the workflow")


def _count(value: object) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value == value // 1:
        return int(value)
    raise ValueError(f"is a whole number from 0, not {value!r}")


def _delay(value: object) -> float:
    try:
        return seconds(value, "a duration")
    except ValueError as error:
        raise ValueError(f"is wrong: {error}") from None


def _timeout(value: object) -> float:
    if _delay(value) > 0:
        return _delay(value)
    raise ValueError("is more than 0 seconds")


def _condition(value: object) -> bool | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _filled(value)
    raise ValueError(f"is true, false, a shell command or a function, not {_a(value)}")


def _environment(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"is a table of name = text, not {_a(value)}")
    out = {}
    for name, item in value.items():
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"has {name!r}, which can't be the name of a variable")
        if isinstance(item, bool) or not isinstance(item, str | int):
            raise ValueError(f"has {name} = {_a(item)}; it is a string")
        if "\0" in str(item):
            raise ValueError(f"has a NUL byte in {name}")
        out[name] = str(item)
    return out


def _share(value: object, least: int) -> Share:
    found = None
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        found = Share(int(value))
    elif isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}%", value) and int(value[:-1]) <= 100:
        found = Share(int(value[:-1]), True)
    if found is None or found.amount < least:
        raise ValueError(f'is a whole number from {least} or a percentage such as "25%", not {value!r}')
    return found


def _serial(value: object) -> tuple[Share, ...]:
    return tuple(_share(item, 1) for item in (value if isinstance(value, list) else [value]))


def _failures(value: object) -> Share:
    return _share(value, 0)


def _params(value: object) -> dict[str, Any]:
    if isinstance(value, Pairs) or not isinstance(value, dict):
        raise ValueError(f"is a table of name = value, not {_a(value)}")
    return value


_TASK: dict[str, Field] = {
    "name": Field(_task_name),
    "run": Field(None, function=True),
    "description": Field(_text),
    "depends_on": Field(_texts),
    "delegate_to": Field(_texts),
    "retries": Field(_count),
    "retry_delay": Field(_delay),
    "timeout": Field(_timeout),
    "run_if": Field(_condition, function=True),
    "unless": Field(_condition, function=True),
    "on_success": Field(None, function=True),
    "on_failure": Field(None, function=True),
    "env": Field(_environment),
    "workdir": Field(_filled),
    "user": Field(_filled),
    "tags": Field(_texts),
    "locks": Field(_texts),
    "params": Field(_params),
    "prune": Field(_boolean),
    "serial": Field(_serial),
    "max_failures": Field(_failures),
}
_HANDLER = {
    name: _TASK[name]
    for name in (
        "name",
        "run",
        "description",
        "retries",
        "retry_delay",
        "timeout",
        "env",
        "workdir",
        "user",
        "locks",
    )
}
_WORKFLOW: dict[str, Field] = {
    "name": Field(_task_name),
    "description": Field(_text),
    "tasks": Field(_members),
    "delegate_to": Field(_texts),
    "serial": Field(_serial),
    "max_failures": Field(_failures),
    "on_complete": Field(None, function=True),
}
_FIELDS = {"task": _TASK, "handler": _HANDLER, "workflow": _WORKFLOW}
