"""What the functions of task files ask of the engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sloth_runner.errors import BadArgument, CommandFailed, LockLost, SlothError, TaskFailed, TimedOut
from sloth_runner.model import Call, Returned, Site
from tests.lua.driver import THIS, Desk, Reply, drive

STATE = [
    "set",
    "get",
    "exists",
    "delete",
    "list",
    "keys",
    "increment",
    "decrement",
    "set_if_absent",
    "compare_and_swap",
    "append",
    "list_push",
    "list_pop",
    "list_length",
    "get_ttl",
    "set_ttl",
    "history",
    "rollback",
    "diff",
    "tag",
    "verify",
    "lock",
    "try_lock",
    "unlock",
    "is_locked",
    "stats",
]


def fails(error: SlothError) -> Reply:
    def reply(call: Call) -> object:
        raise error

    return reply


def noting(ends: list[object], verdict: Callable[[], str]) -> Reply:
    """An answer to txn_end that notes whether the function had ended well."""

    def reply(call: Call) -> object:
        ends.append(call.args[2])
        return verdict()

    return reply


@pytest.mark.parametrize("name", STATE)
def test_every_state_function_is_a_call(desk: Desk, name: str) -> None:
    ended = drive(
        desk.body(f'return state.{name}("k"), state.shared.{name}("k"), state.agent("web1").{name}("k")'),
        {f"state.{name}": lambda call: call.args[0]},
    )
    assert [call.args for call in ended.calls] == [(None, "k"), ("@shared", "k"), ("web1", "k")]
    assert ended.result == Returned((None, "@shared", "web1"))


def test_nil_arguments_survive_in_the_middle_and_at_the_end(desk: Desk) -> None:
    ended = drive(
        desk.body(
            'state.compare_and_swap("k", nil, 1) state.compare_and_swap("k", {1}, nil) state.set_ttl("k", nil)'
        ),
        {"state.compare_and_swap": lambda call: True, "state.set_ttl": lambda call: True},
    )
    assert [call.args for call in ended.calls] == [
        (None, "k", None, 1),
        (None, "k", [1], None),
        (None, "k", None),
    ]


def test_the_default_of_get_stays_in_lua(desk: Desk) -> None:
    code = """
      local default = {}
      local f = state.get("none", print)
      return state.get("none", default) == default, f == print, state.get("off", true),
        state.get("none", 1, {rev = 3})"""
    stored = {"off": False}
    ended = drive(desk.body(code), {"state.get": lambda call: stored.get(str(call.args[1]))})
    assert ended.result == Returned((True, True, False, 1))
    assert ended.calls[-1].args == (None, "none", None, {"rev": 3})


def test_a_colon_instead_of_a_dot_is_told(desk: Desk) -> None:
    with pytest.raises(BadArgument, match=r"state\.set is called with a dot"):
        desk.run('state:set("k", 1)')


@pytest.mark.parametrize("name", ["nil", "5", '""', '"@shared"'])
def test_the_name_of_an_agent_is_text(desk: Desk, name: str) -> None:
    with pytest.raises(BadArgument, match="needs the name of an agent"):
        desk.run(f"state.agent({name})")


def test_several_results_come_as_several_values(desk: Desk) -> None:
    found = desk.run(
        'local a, b = state.is_locked("x") return a, b, select("#", state.is_locked("x"))',
        {"state.is_locked": lambda call: Returned((True, "me"))},
    )
    assert found == Returned((True, "me", 2))


def test_results_of_a_body(desk: Desk) -> None:
    assert desk.run("") is None
    assert desk.run("return nil") is None
    assert desk.run("return 5") == 5
    assert desk.run('return false, "why"') == Returned((False, "why"))
    assert desk.run('return nil, "why"') == Returned((None, "why"))


def test_a_body_gets_this_params_and_deps(desk: Desk) -> None:
    code = "local this, params, deps = ... return this.name, this.agent, this.workdir, params.n, deps.build.version"
    found = desk.run(code, {}, THIS, {"n": 5}, {"build": {"version": "1.2"}})
    assert found == Returned(("t", "local", "/srv/folder", 5, "1.2"))


# Module calls


def test_module_calls_carry_their_site_even_as_tail_calls(desk: Desk) -> None:
    code = """
      cmd("one")
      local function helper()
        return cmd.script({a = 1})
      end
      helper()
      return file.copy({src = "a"}, nil, 2)"""
    ended = drive(desk.body(code), dict.fromkeys(("cmd", "cmd.script", "file.copy"), lambda call: None))
    file = str(desk.file)
    assert ended.calls == [
        Call("cmd", ("one",), Site(file, 2)),
        Call("cmd.script", ({"a": 1},), Site(file, 4), (Site(file, 6),)),
        Call("file.copy", ({"src": "a"}, None, 2), Site(file, 7)),
    ]


def test_a_function_as_an_argument_of_a_module_is_refused_by_name(desk: Desk) -> None:
    with pytest.raises(BadArgument, match="cmd: changed_when can't be a function"):
        desk.run('cmd({command = "x", changed_when = function() end})')


def test_an_error_is_caught_with_its_code_and_reads_like_text(desk: Desk) -> None:
    code = """
      local ok, e = pcall(cmd, "false")
      return ok, e.code, e.message, tostring(e), e:match("exit (%d+)"), "got: " .. e, e.line, type(e.file)"""
    found = desk.run(code, {"cmd": fails(CommandFailed("exit 1"))})
    assert found == Returned((False, "E-CMD-EXIT", "exit 1", "exit 1", "1", "got: exit 1", 2, "string"))


def test_an_uncaught_error_is_the_original_one_with_its_place(desk: Desk) -> None:
    error = CommandFailed("exit 1", next=["look"])
    with pytest.raises(CommandFailed) as caught:
        desk.run('\n\n  return cmd("false")', {"cmd": fails(error)})
    assert caught.value is error
    assert (error.file, error.line, error.column) == (str(desk.file), 3, 10)
    assert error.source == '  return cmd("false")' and error.next == ["look"]


def test_a_state_call_that_fails_has_its_place_too(desk: Desk) -> None:
    error = BadArgument("no")
    with pytest.raises(BadArgument):
        desk.run('\n  local n = 1 + state.increment("k")', {"state.increment": fails(error)})
    assert (error.line, error.column) == (2, 17)


def test_an_error_raised_again_by_the_task_is_still_the_original(desk: Desk) -> None:
    error = CommandFailed("exit 1")
    with pytest.raises(CommandFailed) as caught:
        desk.run("local ok, e = pcall(cmd)\nlocal x = 1\nerror(e)", {"cmd": fails(error)})
    assert caught.value is error


# with_lock

LOCK: dict[str, Reply] = {
    "state.lock_enter": lambda call: Returned((41, 7)),
    "state.lock_exit": lambda call: True,
    "state.get": lambda call: "v",
}


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        ('"me", 60, f', ("me", 60, None)),
        ('"me", "5m", f, {wait = 3}', ("me", "5m", {"wait": 3})),
        ('"me", nil, f', ("me", None, None)),
        ('"me", f', ("me", None, None)),
        ("30, f", (None, 30, None)),
        ("30, f, {wait = 1}", (None, 30, {"wait": 1})),
        ("f", (None, None, None)),
        ('f, "1m"', (None, "1m", None)),
        ("f, 5, {wait = 1}", (None, 5, {"wait": 1})),
    ],
)
def test_with_lock_in_all_its_forms(desk: Desk, arguments: str, passed: tuple[object, ...]) -> None:
    code = f"""local f = function(token) state.get("k") return token, nil, "x" end
      return state.with_lock("L", {arguments})"""
    ended = drive(desk.body(code), LOCK)
    assert ended.result == Returned((41, None, "x"))
    assert [(call.name, call.args) for call in ended.calls] == [
        ("state.lock_enter", (None, "L", *passed)),
        ("state.get", (None, "k")),
        ("state.lock_exit", (None, 7, True, None)),
    ]


@pytest.mark.parametrize("arguments", ["", '"me"', '"me", 5', "true, print", '"me", 5, "x"'])
def test_with_lock_without_a_function_says_its_forms(desk: Desk, arguments: str) -> None:
    comma = "," if arguments else ""
    with pytest.raises(BadArgument) as caught:
        desk.run(f'state.with_lock("L"{comma} {arguments})')
    assert len(caught.value.next) == 4


def test_with_lock_leaves_after_an_error_and_raises_it_with_its_own_place(desk: Desk) -> None:
    calls: list[Call] = []
    body = desk.body('\nstate.with_lock("L", function()\n  local x = nil + 1\nend)')
    with pytest.raises(TaskFailed) as caught:
        drive(body, LOCK | {"state.lock_exit": lambda call: calls.append(call)})
    assert calls[0].args[:3] == (None, 7, True)
    assert "arithmetic on a nil value" in str(calls[0].args[3])
    assert caught.value.line == 3


@pytest.mark.parametrize("ending", ["return 1", 'error("mine")', 'error({code = "mine"})'])
def test_a_lost_lock_is_raised_whether_the_function_had_failed_or_not(desk: Desk, ending: str) -> None:
    gone = LockLost("gone")
    gone.final = True
    lost = LOCK | {"state.lock_exit": fails(gone)}
    with pytest.raises(LockLost):
        desk.run(f'pcall(state.with_lock, "L", function() {ending} end)', lost)


def test_another_trouble_with_the_release_does_not_hide_why_the_function_failed(desk: Desk) -> None:
    with pytest.raises(TaskFailed, match="mine"):
        desk.run(
            'state.with_lock("L", function() error("mine") end)',
            LOCK | {"state.lock_exit": fails(TaskFailed("no release"))},
        )


def test_a_table_raised_under_a_lock_keeps_its_line(desk: Desk) -> None:
    with pytest.raises(TaskFailed, match="broken") as caught:
        desk.run('state.with_lock("L", function()\n\n error({message = "broken"}) end)', LOCK)
    assert caught.value.line == 3


# transaction


def test_a_transaction_runs_again_until_it_is_done(desk: Desk) -> None:
    verdicts = iter(["again", "again", "done"])
    code = """
      local tries = 0
      print("before")
      return state.transaction(function()
        tries = tries + 1
        print("try", tries)
        log.info("deep")
        state.set("k", tries)
        return tries, "x"
      end)"""
    replies: dict[str, Reply] = {
        "state.txn_begin": lambda call: 3,
        "state.set": lambda call: True,
        "state.txn_end": lambda call: next(verdicts),
    }
    ended = drive(desk.body(code), replies)
    assert ended.result == Returned((3, "x"))
    assert desk.lines() == ["before", "try\t3"] and desk.lines("info") == ["deep"]
    assert [c.args for c in ended.calls if c.name == "state.txn_end"] == [(None, 3, True)] * 3


def test_the_tenth_try_says_that_it_is_the_last(desk: Desk) -> None:
    ends: list[Call] = []

    def end(call: Call) -> object:
        ends.append(call)
        if call.args[-1] is True and len(call.args) == 4:
            raise TaskFailed("too many")
        return "again"

    with pytest.raises(TaskFailed, match="too many"):
        desk.run(
            'state.shared.transaction(function() print("never") end)',
            {"state.txn_begin": lambda call: 3, "state.txn_end": end},
        )
    assert len(ends) == 10 and ends[-1].args == ("@shared", 3, True, True)
    assert desk.lines() == []


def test_an_error_in_a_transaction_is_raised_once_it_counts(desk: Desk) -> None:
    verdicts = iter(["again", "done"])
    ends: list[object] = []
    with pytest.raises(TaskFailed, match="oops"):
        desk.run(
            'state.transaction(function() print("kept") error("oops") end)',
            {
                "state.txn_begin": lambda call: 3,
                "state.txn_end": noting(ends, lambda: next(verdicts)),
            },
        )
    assert ends == [False, False] and desk.lines() == ["kept"]


def test_a_transaction_that_must_end_does_not_run_again(desk: Desk) -> None:
    late = TimedOut("late")
    late.final = True
    ends: list[object] = []
    with pytest.raises(TimedOut):
        desk.run(
            'state.transaction(function() state.get("k") end)',
            {
                "state.txn_begin": lambda call: 3,
                "state.get": fails(late),
                "state.txn_end": noting(ends, lambda: "again"),
            },
        )
    assert ends == [False]


# parallel


def branches(call: Call) -> object:
    _, starts = call.args
    assert isinstance(starts, list)
    return [drive(start(), {"cmd": lambda c: c.args[0]}).result for start in starts]


def test_parallel_gives_results_by_the_same_keys(desk: Desk) -> None:
    code = """
      local list = parallel({function() return cmd("a") end, function() end, function() return 3, 4 end})
      local named = parallel({x = function() return {1} end, b = function() return cmd("b") end})
      return list[1], list[2], list[3], named"""
    ended = drive(desk.body(code), {"parallel": branches})
    assert ended.result == Returned(("a", None, 3, {"x": [1], "b": "b"}))
    assert [call.args[0] for call in ended.calls] == [[1, 2, 3], ["b", "x"]]


def test_parallel_of_nothing_asks_nothing(desk: Desk) -> None:
    assert drive(desk.body("return parallel({})"), {}).calls == []


@pytest.mark.parametrize(
    "code", ["parallel(print)", "parallel({1})", "parallel({[2.5] = print})", "parallel()"]
)
def test_parallel_takes_functions(desk: Desk, code: str) -> None:
    with pytest.raises(BadArgument, match="parallel"):
        desk.run(code)


def test_a_hundred_bodies_wait_at_once(desk: Desk) -> None:
    start = desk.load('task({name = "t", run = function(n) return n + cmd(n) end})').program.tasks[0].run
    waiting = [start(i) for i in range(100)]
    assert [body.send(None).args for body in waiting] == [(i,) for i in range(100)]
    for number, body in reversed(list(enumerate(waiting))):
        with pytest.raises(StopIteration) as end:
            body.send(1000)
        assert end.value.value == 1000 + number
