"""Why: one way in and one way out: each kind of end has its form and its status, for every command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

import sloth_runner.errors as errors
from sloth_runner.cli.clicked import root
from sloth_runner.cli.codes import CODES
from sloth_runner.cli.problems import exit_code, lines
from sloth_runner.cli.table import ELSEWHERE, FLAGS, ROOT, STATE
from tests.cli.kit import Cli

ARGV = [sys.executable, "-m", "sloth_runner"]


def _commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(root(), info_name="sloth-runner")

    def walk(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield f"{path} {name}", command
            if isinstance(command, click.Group):
                yield from walk(command, f"{path} {name}")

    yield from walk(root(), "sloth-runner")


ALL = dict(_commands())


@pytest.mark.parametrize("path", ALL)
def test_every_command_and_option_has_help(path: str) -> None:
    command = ALL[path]
    assert command.help and command.help.strip().split("\n")[0].rstrip()
    for param in command.params:
        if isinstance(param, click.Option):
            text = (param.help or "").partition("  [default: ")[0]
            assert text.endswith("."), f"{path} {param.opts}"
            assert "ignored" not in text and "no effect" not in text


@pytest.mark.parametrize("path", [path for path in ALL if not isinstance(ALL[path], click.Group)])
def test_every_command_that_prints_takes_a_form(path: str) -> None:
    forms = [param for param in ALL[path].params if param.name == "output"]
    assert forms or path in ("sloth-runner completion", "sloth-runner lock run", "sloth-runner agent serve")


def test_the_table_of_commands_is_the_tree() -> None:
    flat = {f"sloth-runner {name}" for name in ROOT}
    assert flat == {path for path in ALL if path.count(" ") == 1}


def _tree(cls: type[errors.SlothError]) -> Iterator[type[errors.SlothError]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from _tree(sub)


def test_every_code_is_explained() -> None:
    tree = [cls for cls in _tree(errors.SlothError) if cls.__module__ == errors.__name__]
    assert {cls.code for cls in tree} == set(CODES)
    for cls in tree:
        if "code" in vars(cls):
            status = CODES[cls.code][0]
            assert status.startswith(str(cls.exit_code)) or str(cls.exit_code) in status, cls


def test_task_problems_exit_with_5_from_the_command_line_alone() -> None:
    assert exit_code(errors.NotANumber("x")) == 5
    assert exit_code(errors.NotANumber("x"), running=True) == 1
    assert exit_code(errors.LockHeld("x")) == 3
    assert exit_code(errors.LockLost("x"), running=True) == 1
    assert exit_code(errors.StackLocked("x")) == 3


def test_the_form_of_an_error() -> None:
    error = errors.TaskFailed(
        "no such\nthing",
        file="/x/deploy.sloth",
        line=12,
        column=9,
        source='\tlocal s = statee.get("a")',
        target="web1",
        system="ENOENT\nand \x1bmore",
        changed=["/etc/a"],
        unchanged=["/etc/b", "/etc/c"],
        next=["look", "again"],
    )
    assert lines(error.document(), 80, False) == [
        "error[E-TASK]: no such",
        "  thing",
        "  --> /x/deploy.sloth:12:9",
        "   |",
        '12 |     local s = statee.get("a")',
        "   |            ^",
        "  target: web1",
        "  system: ENOENT",
        "          and ␛more",
        "  changed: /etc/a",
        "  unchanged: /etc/b",
        "             /etc/c",
        "  next: look",
        "        again",
    ]


def test_what_nobody_expected(cli: Cli) -> None:
    cli.environ["SLOTH_RUNNER_HOME"] = "/proc/self/\0"
    result = cli("state", "list")
    assert result.code == 70 and "error[E-BUG]" in result.err and "Traceback" not in result.err
    assert "Traceback" in cli("--debug", "state", "list").err


def test_version(cli: Cli) -> None:
    assert cli("--version").out == "sloth-runner 0.1.0\n"
    assert cli("version").out.startswith("sloth-runner 0.1.0\npython 3.")


def test_alone_it_shows_its_help(cli: Cli) -> None:
    result = cli()
    assert result.code == 64 and result.out == "" and "Commands:" in result.err


def _environ(home: Path) -> dict[str, str]:
    # Buffered, as for users: what is left in a buffer must do no harm at exit.
    inherited = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**inherited, "SLOTH_RUNNER_HOME": str(home), "TERM": "dumb"}


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    environ = _environ(tmp_path)
    subprocess.run(
        [*ARGV, "state", "set", "k", "--stdin"],
        env=environ,
        input=b"x" * 900_000,
        check=True,
        capture_output=True,
    )
    process = subprocess.Popen(
        [*ARGV, "state", "get", "k"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()  # before it has had time to write
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "argv",
    [
        ["version"],
        ["state", "get", "k"],
        ["state", "list", "-o", "json"],
        ["--help"],
        ["state", "get", "nokey", "-o", "json"],
        ["run", "t.sloth"],
    ],
)
def test_a_full_disk(tmp_path: Path, argv: list[str]) -> None:
    environ = _environ(tmp_path)
    (tmp_path / "t.sloth").write_text('task({name = "t", run = function() print("hello") end})')
    subprocess.run([*ARGV, "state", "set", "k", "v"], env=environ, check=True, stdout=subprocess.DEVNULL)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*ARGV, *argv], env=environ, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True
        )
        unheard = subprocess.run([*ARGV, "state", "get", "nokey"], env=environ, stderr=full)
    assert unheard.returncode == 4
    assert done.returncode == 6 and "error[E-OUTPUT]" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


CLOSED = [
    (["version"], ">&-", 6),
    (["state", "get", "k"], ">&-", 6),
    (["state", "list", "-o", "json"], ">&-", 6),
    (["--help"], ">&-", 6),
    (["state", "get", "k", "--raw"], ">&-", 6),
    (["run", "t.sloth"], ">&-", 6),
    (["state", "list", "no:"], ">&-", 0),
    (["run", "t.sloth", "--quiet", "--yes"], "2>&-", 0),
    (["state", "get", "nokey"], "2>&-", 4),
    (["state", "get", "nokey"], ">&- 2>&-", 4),
    (["state", "get", "nokey", "-o", "json"], ">&- 2>&-", 6),
    (["state", "get", "k"], "2>&-", 0),
    (["state", "get", "k"], "<&- 2>&-", 0),
    (["state", "clear"], "<&- 2>&-", 8),
    (["state", "set", "k", "--stdin"], "<&-", 0),
]


@pytest.mark.parametrize(("argv", "closed", "code"), CLOSED, ids=lambda value: str(value))
def test_a_stream_that_is_closed(tmp_path: Path, argv: list[str], closed: str, code: int) -> None:
    environ = _environ(tmp_path)
    (tmp_path / "t.sloth").write_text('task({name = "t", run = function() print("hello") end})')
    subprocess.run([*ARGV, "state", "set", "k", "v"], env=environ, check=True, stdout=subprocess.DEVNULL)
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *ARGV, *argv]
    done = subprocess.run(shell, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    if code == 6 and "2>&-" not in closed:
        assert "error[E-OUTPUT]" in done.stderr, done.stderr


def test_bytes_go_out_as_they_are(tmp_path: Path) -> None:
    environ = _environ(tmp_path)
    data = bytes(range(256))
    subprocess.run(
        [*ARGV, "state", "set", "k", "--stdin"], env=environ, input=data, check=True, capture_output=True
    )
    done = subprocess.run([*ARGV, "state", "get", "k", "--raw"], env=environ, capture_output=True, check=True)
    assert done.stdout == data


@pytest.mark.parametrize(
    ("text", "code", "marked"),
    [
        ('task({name = "a",\n  depends_on = "a", run = print})', "E-CYCLE", 'task({name = "a",'),
        ('task({name = "a", depends_on = "b", run = print})', "E-DEPENDS", "depends_on"),
        ('task({name = "a", delegate_to = "web9", run = print})', "E-AGENT-UNKNOWN", "delegate_to"),
    ],
)
def test_what_is_wrong_between_tasks_is_shown_in_the_file(
    cli: Cli, text: str, code: str, marked: str
) -> None:
    (cli.work / "wrong.sloth").write_text(text)
    result = cli("run", "wrong.sloth")
    assert result.code == 5
    assert f"error[{code}]" in result.err
    source, caret = result.err.split("\n")[3:5]
    assert source == f"1 | {text.splitlines()[0]}"
    assert source[caret.index("^") :].startswith(marked)
    assert not cli.home.exists()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            'cmd({"ls", "-l"})',
            "cmd takes arguments by name, cmd({command = …}); this table holds some without one",
        ),
        ('cmd({"ls", once = true})', "cmd takes arguments by name, cmd({command = …})"),
        ('file.copy("a")', "file.copy takes a table, file.copy({src = …, dest = …}), not a string"),
        ("cmd()", "cmd takes one table of arguments"),
    ],
)
def test_arguments_of_a_module_without_their_names(cli: Cli, call: str, message: str) -> None:
    file = cli.file("a.sloth", f'task({{name = "t", run = function() {call} end}})')
    result = cli("run", str(file))
    assert result.code == 1
    assert f"error[E-ARGUMENT]: {message}" in result.out


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("flag", ["--tags", "--skip-tags", "--limit", "--delegate-to"])
@pytest.mark.parametrize("given", ["", ",", " "])
def test_a_list_that_names_nothing_never_means_all(cli: Cli, command: str, flag: str, given: str) -> None:
    cli.file("a.sloth", 'task({name = "t", tags = {"x"}, run = function() state.set("ran", 1) end})')
    result = cli(command, "a.sloth", flag, given)
    assert result.code == 64
    assert f"error[E-USAGE]: {flag} names nothing" in result.err
    assert not cli.home.exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("site.sloth",), "sloth-runner run site.sloth"),
        (("site.sloth", "--set", "a=b c"), "sloth-runner run site.sloth --set 'a=b c'"),
        (("apply", "site.sloth"), "here that is sloth-runner run FILE"),
        (("help", "run"), "sloth-runner run --help"),
        (("state", "rm", "k"), "here that is sloth-runner state delete"),
        (("runn",), "did you mean 'run'?"),
    ],
)
def test_a_command_that_is_none_says_what_was_meant(cli: Cli, line: tuple[str, ...], said: str) -> None:
    cli.file("site.sloth", "")
    assert f"next: {said}" in cli(*line).err


@pytest.mark.parametrize("line", [(), ("state",), ("state", "list"), ("run",), ("lock", "run")])
def test_the_short_flag_for_help(cli: Cli, line: tuple[str, ...]) -> None:
    assert cli.ok(*line, "-h") == cli.ok(*line, "--help")


def test_what_is_called_otherwise_elsewhere_is_there() -> None:
    for theirs, ours in ELSEWHERE.items():
        first, *more = ours.split()
        assert first in ROOT or first in STATE, theirs
        assert not isinstance(ROOT.get(first, ("",))[0], Mapping) or more[0] in ROOT[first][0], theirs


@pytest.mark.parametrize("before", [0, 30, 60, 100, 5_000])
@pytest.mark.parametrize("after", [1, 20, 5_000])
def test_the_place_of_an_error_is_seen_in_a_long_line(before: int, after: int) -> None:
    source = f"{'é' * before}!{'b' * after}"
    error = errors.TaskFailed("wrong", file="a", line=1, column=before + 1, source=source)
    shown = list(lines(error.document(), 80, color=False))
    caret = next(number for number, text in enumerate(shown) if text.endswith("^"))
    assert shown[caret - 1][shown[caret].index("^")] == "!"
    assert len(shown[caret - 1]) <= 80
    assert shown[caret - 1].count("b") >= min(after, 20)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("-e", "a=1"), "--set NAME=VALUE"),
        (("-var", "a=1"), "--set NAME=VALUE"),
        (("-var-file=x.tfvars",), "--values FILE"),
        (("-target=x",), "--task NAME"),
        (("--become",), 'user = "root"'),
        (("-i", "hosts"), "machines stand under [agents] in sloth.toml"),
        (("--parallelism", "4"), "-j N"),
        (("--tagz", "x"), "did you mean '--tags'?"),
        (("shop",), "one file at a time; under the name of a stack: sloth-runner run -f FILE STACK"),
    ],
)
def test_options_of_other_tools_are_answered_with_ours(cli: Cli, line: tuple[str, ...], said: str) -> None:
    cli.file("site.sloth", "")
    assert f"next: {said}" in cli("run", "site.sloth", *line).err
    assert "next: usage:" in cli("state", "list", "-e").err


@pytest.mark.parametrize(
    ("path", "option"), [("state history", "--by"), ("run", "--jobs"), ("lock run", "--ttl")]
)
def test_an_option_without_its_value_names_the_commands_own_help(cli: Cli, path: str, option: str) -> None:
    refused = cli(*path.split(), option)
    assert refused.code == 64 and f"option {option!r} requires an argument" in refused.err
    assert f"sloth-runner {path} --help" in refused.err


def test_options_that_are_named_are_there(cli: Cli) -> None:
    known = cli.ok("run", "--help")
    for theirs, ours in FLAGS.items():
        assert theirs not in known.split()
        assert all(flag in known for flag in re.findall(r"--[a-z-]+|-j", ours)), theirs
