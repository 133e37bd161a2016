"""Definitions: three ways to say the same, and every mistake told with its line."""

from __future__ import annotations

import pytest

from sloth_runner.errors import BadArgument, BadDependency, BadField, Duplicate, SlothError, TaskFailed
from sloth_runner.model import Share, TaskDef
from tests.lua.driver import THIS, Desk, drive

TABLE = """
local function go() return cmd("x") end
task({
  name = "all", run = go, description = "d", depends_on = {"a", "b"}, delegate_to = "web1", retries = 2,
  retry_delay = "5s", timeout = "1m30s", run_if = "test -e x", unless = function(this) return this.name end,
  on_success = go, on_failure = go, env = {A = "1", PORT = 80}, workdir = "/srv", user = "me", tags = {"x"},
  locks = {"l"}, params = {n = 5, list = {1, 2}}, prune = false,
  serial = {1, "25%"}, max_failures = 2,
})"""
BUILDER = """
local function go() return cmd("x") end
local b = task("all"):description("d"):command(go):depends_on("a", "b"):delegate_to("web1"):retries(2)
  :retry_delay("5s"):timeout("1m30s"):run_if("test -e x"):unless(function(this) return this.name end)
  :on_success(go):on_failure(go):env({A = "1", PORT = 80}):workdir("/srv"):user("me"):tags({"x"}):locks("l")
  :params({n = 5, list = {1, 2}}):prune(false):serial({1, "25%"}):max_failures(2):build()
assert(b.name == "all")"""


@pytest.mark.parametrize("text", [TABLE, BUILDER])
def test_every_field(desk: Desk, text: str) -> None:
    program = desk.load(text).program
    (task,) = program.tasks
    plain = {k: v for k, v in task._asdict().items() if not callable(v) and k != "site"}
    assert plain == {
        "name": "all",
        "description": "d",
        "depends_on": ("a", "b"),
        "delegate_to": ("web1",),
        "retries": 2,
        "retry_delay": 5.0,
        "timeout": 90.0,
        "run_if": "test -e x",
        "env": {"A": "1", "PORT": "80"},
        "workdir": "/srv",
        "user": "me",
        "tags": ("x",),
        "locks": ("l",),
        "params": {"n": 5, "list": [1, 2]},
        "prune": False,
        "serial": (Share(1), Share(25, True)),
        "max_failures": Share(2),
        "span": (2, 2),
    }
    assert task.site.line == 3 and task.site.file == str(desk.file)
    assert callable(task.unless) and drive(task.unless(THIS, {}, {}), {}).result == "t"
    assert task.on_success and task.on_failure
    assert drive(task.run(), {"cmd": lambda call: 5}).result == 5
    assert program.file == str(desk.file) and program.workflow.name is None


def test_a_task_with_the_least(desk: Desk) -> None:
    (task,) = desk.load(
        'local t = task{name = "a", run = function() end} assert(t.name == "a")'
    ).program.tasks
    assert task == TaskDef("a", task.run, task.site, span=(1, 1))


@pytest.mark.parametrize(
    "text",
    [
        """local a = task{name = "a", run = print}
        workflow.define("w", {description = "d", tasks = {a, task("b"):command(print), {name = "c", run = print}},
          delegate_to = {"web1"}, on_complete = function(ok, results) return ok, results.a end})""",
        """local a = task{name = "a", run = print}
        local b = task("b"):command(print)
        workflow.define("w"):description("d"):tasks{a, b, {name = "c", run = print}}:delegate_to("web1")
          :on_complete(function(ok, results) return ok, results.a end)""",
        """workflow.define("w"):description("d"):tasks{"a", "b", "c"}:delegate_to("web1")
          :on_complete(function(ok, results) return ok, results.a end)
        task{name = "a", run = print} task("b"):command(print):build() task{name = "c", run = print}""",
    ],
)
def test_workflows(desk: Desk, text: str) -> None:
    program = desk.load(text).program
    assert [task.name for task in program.tasks] == ["a", "b", "c"]
    workflow = program.workflow
    assert (workflow.name, workflow.description, workflow.delegate_to) == ("w", "d", ("web1",))
    assert workflow.on_complete is not None
    found = drive(workflow.on_complete(True, {"a": "ok"}), {}).result
    assert found == (("ok",) and found)
    assert found.values == (True, "ok")  # type: ignore[attr-defined] # Returned


def caught(desk: Desk, text: str, kind: type[SlothError]) -> SlothError:
    with pytest.raises(kind) as found:
        desk.load(text)
    assert type(found.value) is kind and found.value.file == str(desk.file)
    return found.value


@pytest.mark.parametrize(
    ("text", "message", "line", "col", "help_"),
    [
        (
            'task({\n  name = "a",\n  depend_on = {"b"},\n  run = print})',
            "'depend_on'",
            3,
            3,
            "did you mean 'depends_on'?",
        ),
        ('\ntask({name = "a", run = print, 5})', "name = value", 2, None, ""),
        ('task("a"):comand(print)', ":comand(…)", 1, None, "did you mean 'command'?"),
        ('workflow.define("w"):task{}', ":task(…)", 1, None, "did you mean 'tasks'?"),
        ('\ntask("a"):command(print)', "never built", 2, 1, "end it with :build()"),
        ('\nlocal t = task("a"):command(print) t:build() t:build()', "built twice", 2, None, ""),
        ('task("a"):command(print):command(print)', "given twice", 1, None, ""),
        ("\ntask({run = print})", "has no name", 2, 1, ""),
        ('\ntask({name = "a"})', "has no run function", 2, 1, ""),
        ('workflow.define("w", {\n  taks = {}})', "'taks'", 2, 3, "did you mean 'tasks'?"),
        ('workflow.define("w", {name = "v"})', "before the fields", 1, None, ""),
    ],
)
def test_bad_fields(desk: Desk, text: str, message: str, line: int, col: int | None, help_: str) -> None:
    error = caught(desk, text, BadField)
    assert message in error.message
    assert error.line == line
    if col is not None:
        assert error.column == col
    assert help_ in "\n".join(error.next)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("description = 5", "description is a string, not a number"),
        ("depends_on = {1}", "depends_on is a string, not a number"),
        ("depends_on = {a = 1}", "a list of strings, not a table"),
        ('tags = ""', "tags is empty"),
        ("retries = -1", "whole number from 0"),
        ("retries = 1.5", "whole number from 0"),
        ("retries = true", "whole number from 0"),
        ('retry_delay = "soon"', "text such as"),
        ("timeout = 0", "more than 0"),
        ("timeout = 0/0", "number of seconds"),
        ("run_if = 5", "true, false, a shell command or a function"),
        ("on_success = 'x'", "is a function, not a string"),
        ("env = {1}", "a table of name = text, not a list"),
        ("env = {A = true}", "A = a boolean"),
        ('env = {["A=B"] = "x"}', "can't be the name of a variable"),
        ("params = {1, 2}", "a table of name = value, not a list"),
        ("description = print", "can't be a function"),
        ("user = ''", "user is empty"),
    ],
)
def test_wrong_types(desk: Desk, field: str, message: str) -> None:
    error = caught(desk, f'task({{name = "a", run = print,\n  {field}}})', BadArgument)
    assert message in error.message and error.message.startswith("task 'a': ")
    assert (error.line, error.column) == (2, 3)
    assert error.unchanged == ["nothing was run"]


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "../x", "ä", "x" * 129])
def test_names_of_tasks(desk: Desk, name: str) -> None:
    caught(desk, f'task({{name = "{name}", run = print}})', BadArgument)


@pytest.mark.parametrize(
    "call", ["task()", "task(5)", "task(task('a'))", "workflow.define()", "workflow.define('w', 5)"]
)
def test_wrong_arguments(desk: Desk, call: str) -> None:
    caught(desk, call, BadArgument)


def test_what_follows_the_name_of_a_task_is_not_lost(desk: Desk) -> None:
    error = caught(desk, '\ntask("a", {run = function() end})', BadArgument)
    assert error.message == "task takes one value: a table of fields, or a name" and error.line == 2
    assert error.next == ['all fields stand in one table: task({ name = "a", … })']
    assert "task({ … })" in caught(desk, 'task({name = "a", run = print}, 1)', BadArgument).next[0]


def test_a_builder_is_used_with_colons(desk: Desk) -> None:
    assert "colon" in caught(desk, 'task("a").command(print)', BadArgument).message


def test_a_name_twice(desk: Desk) -> None:
    error = caught(desk, 'task{name = "a", run = print}\n\ntask{name = "a", run = print}', Duplicate)
    assert "on line 1 and on line 3" in error.message and error.line == 3


def test_two_workflows(desk: Desk) -> None:
    error = caught(desk, 'workflow.define("v", {})\nworkflow.define("w"):tasks{"a"}', Duplicate)
    assert "'v' is defined on line 1 and 'w' on line 2" in error.message and error.line == 2


def test_a_workflow_that_names_a_task_there_is_not(desk: Desk) -> None:
    error = caught(
        desk, 'task{name = "build", run = print}\nworkflow.define("w", {tasks = {"bild"}})', BadDependency
    )
    assert error.next == ["did you mean 'build'?"] and error.line == 2


def test_tasks_are_not_defined_by_tasks(desk: Desk) -> None:
    with pytest.raises(BadArgument, match="when the file is loaded"):
        desk.run('task({name = "x", run = print})')


def test_nothing_is_performed_while_loading(desk: Desk) -> None:
    error = caught(desk, '\nlocal v = state.get("k")', BadArgument)
    assert "top level" in error.message and error.line == 2


def test_an_error_at_the_top_level(desk: Desk) -> None:
    assert caught(desk, "\nlocal x = nil .. 'a'", TaskFailed).line == 2


def test_a_value_inside_a_field_that_is_none(desk: Desk) -> None:
    with pytest.raises(SlothError, match=r'the field "params" \(at \.f\) can\'t be a function'):
        desk.load('task({name = "a", run = print, params = {f = print}})')
