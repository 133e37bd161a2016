"""One description serves all: what can be called is bound, checked, documented, typed and completed, all of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from lupa import lua54

from sloth_runner.engine import module_calls, past_calls, state_calls
from sloth_runner.lua import data
from sloth_runner.lua.definitions import _FIELDS
from sloth_runner.modules import kinds, modules, pure_functions
from sloth_runner.modules.arguments import all_types
from sloth_runner.modules.described import COMMON
from sloth_runner.reference import language, markdown, meta, state
from sloth_runner.reference.entries import as_lua, entries, find, functions, names, pages, records, variables
from sloth_runner.reference.types import TYPES
from sloth_runner.state.state import Stats
from tests.lua.driver import Desk

ROOT = Path(__file__).parents[2]
LUA = {
    "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawlen", "rawset",
    "select", "setmetatable", "tonumber", "tostring", "type", "xpcall", "load", "dofile", "loadfile",
    "collectgarbage", "warn",
}  # fmt: skip
LIBRARIES = ("string", "table", "math", "utf8", "coroutine", "os", "io", "debug", "package")
INVENTORY = """
local found, callable = {}, {}
for name, value in pairs(_G) do
  local meta = getmetatable(value)
  if type(value) == "function" then found[#found + 1] = name end
  if type(value) == "table" and name ~= "_G" and name ~= "values" then
    if type(meta) == "table" and meta.__call and name ~= "env" then found[#found + 1] = name end
    local function walk(path, t)
      for key, item in next, t do
        local inner = getmetatable(item)
        if type(item) == "function" then found[#found + 1] = path .. "." .. key end
        if type(inner) == "table" and inner.__call then found[#found + 1] = path .. "." .. key end
        if type(item) == "table" and path .. "." .. key ~= "state.shared" and path ~= "package" then
          walk(path .. "." .. key, item)
        end
      end
    end
    walk(name, value)
  end
end
return found
"""


def bound(tmp_path: Path) -> set[str]:
    """Every function that a task file finds beside Lua's own, by dotted name."""
    desk = Desk(tmp_path).having(
        yielding=modules(), pure={**pure_functions(tmp_path), "secret": lambda what: ""}
    )
    found = desk.run(INVENTORY)
    assert isinstance(found, list)
    own = {str(name) for name in found} - LUA
    return {name for name in own if name.partition(".")[0] not in LIBRARIES}


def test_what_is_bound_is_described_and_the_other_way_round(tmp_path: Path) -> None:
    changed = {"io.open", "io.lines", "os.getenv"}
    described = {entry.name for entry in entries()}
    env = {"env.get"}  # a field of the type sloth.Env
    assert bound(tmp_path) - env == described - changed
    assert changed < described


def test_every_module_and_function_is_described_once() -> None:
    described = [entry.name for entry in entries()]
    assert len(described) == len(set(described))
    assert {entry.name for entry in entries() if entry.is_module} == set(modules())
    assert {*pure_functions(Path("/")), *data.functions()} <= {function.name for function in functions()}


def test_types_of_arguments_are_checked_and_described() -> None:
    checks = all_types()
    used = {arg.type for module in modules().values() for arg in module.args} | {arg.type for arg in COMMON}
    assert set(checks) <= set(TYPES), "a type of modules/arguments.py needs an entry in reference/types.py"
    assert used <= set(TYPES)
    assert set(TYPES) <= {*checks, "duration"}


def test_every_argument_says_what_it_is_for() -> None:
    for entry in entries():
        assert entry.doc.strip(), entry.name
        for field in entry.fields:
            assert field.doc.strip() or not (entry.is_module or entry.table), f"{entry.name}: {field.name}"
        for field in entry.returns if entry.is_module else ():
            assert field.doc.strip(), f"{entry.name} returns {field.name}"


def test_what_all_modules_take_is_what_the_engine_handles() -> None:
    assert tuple(arg.name for arg in COMMON) == module_calls.COMMON


def test_fields_of_definitions_are_described() -> None:
    for kind, record in (
        ("task", language.TASK),
        ("handler", language.HANDLER),
        ("workflow", language.WORKFLOW),
    ):
        own = {field.name for field in record.fields}
        assert own | {"name"} == set(_FIELDS[kind]), kind


def test_tables_of_state_are_described() -> None:
    found = {record.name: {field.name for field in record.fields} for record in state.RECORDS}
    assert found["sloth.StateStats"] == set(Stats._fields)
    assert found["sloth.SetOptions"] == set(state_calls._SET)
    assert found["sloth.HistoryOptions"] == set(past_calls.HISTORY)


@pytest.mark.parametrize("name", ["meta", "pages"])
def test_nothing_is_missing_in_a_form(name: str) -> None:
    files = meta.files() if name == "meta" else markdown.files()
    text = "\n".join(files.values())
    for entry in entries():
        assert (f"function {entry.name}(" if name == "meta" else f"## {entry.name}\n") in text or (
            f"---@class sloth.{entry.name}\n" in text
        ), entry.name
        for field in entry.fields:
            spot = f"---@field {field.name}" if entry.table else f"---@param {field.name}"
            assert (spot if name == "meta" else f"| `{field.name}` |") in text, f"{entry.name}: {field.name}"
    for kind in kinds().values():
        assert (f'---| "{kind.name}" # ' if name == "meta" else f"- `{kind.name}`: ") in text
        assert " ".join(kind.doc.split()) in text
    for record in records():
        assert (f"---@class {record.name}\n" if name == "meta" else f"## {record.name}\n") in text
    for variable in variables():
        assert variable.name.rpartition(".")[2] in text


def test_each_module_has_its_own_arguments_in_its_class() -> None:
    """Not only somewhere in the files: in the class of that very module."""
    text = "\n".join(meta.files().values())
    for entry in entries():
        if entry.table:
            head = (
                rf"^---@class sloth\.{re.escape(entry.name)}\.Args(?:: sloth\.Common)?\n((?:---@field .*\n)*)"
            )
            found = re.search(head, text, re.MULTILINE)
            assert found is not None, entry.name
            assert re.findall(r"---@field (\w+)", found[1]) == [field.name for field in entry.fields]


def test_every_name_is_completed_and_found() -> None:
    every = names()
    assert {entry.name for entry in entries()} <= set(every)
    assert {f"{kind}:" for kind in kinds()} <= set(every)
    assert {page.name for page in pages()} <= set(every)
    for name in every:
        assert find(name), name
    assert find("nothing") == ()


def test_the_committed_pages_are_current() -> None:
    folder = ROOT / "docs" / "modules"
    committed = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    assert committed == markdown.files(), "renew them: sloth-runner types --docs docs/modules"


def test_links_of_pages_lead_somewhere() -> None:
    files = markdown.files()
    for name, text in files.items():
        for target, anchor in re.findall(r"\]\(([\w.]*)(?:#([\w-]*))?\)", text):
            page = files[target or name]
            headings = [
                "".join(c for c in line.lstrip("# ").lower().replace(" ", "-") if c.isalnum() or c in "-_")
                for line in page.splitlines()
                if line.startswith("#")
            ]
            assert not anchor or anchor in headings, (name, target, anchor)


def test_type_files_are_lua() -> None:
    lua = lua54.LuaRuntime(encoding="utf-8")
    load = lua.eval("function(text, name) local fn, why = load(text, name, 't') return fn ~= nil, why end")
    for name, text in meta.files().items():
        fine, why = load(text, name)
        assert fine, why


def test_types_that_are_named_exist() -> None:
    text = "\n".join(meta.files().values())
    defined = set(re.findall(r"^---@(?:class|alias) (sloth\.[\w.]+)", text, re.MULTILINE))
    used = {name.rstrip(".") for name in re.findall(r"\bsloth\.[A-Za-z][\w.]*", "\n".join(_code(text)))}
    assert used <= defined, used - defined


def _code(text: str) -> list[str]:
    """The types of annotations, without the words behind them."""
    found = []
    for line in text.splitlines():
        match = re.match(r"---@(?:field|param|return|type|class|alias|overload) (.*)", line)
        if match:
            found.append(match[1])
    return found


def test_a_default_is_lua() -> None:
    lua = lua54.LuaRuntime(encoding="utf-8")
    for value in (True, 5, 'a"b\\c', (), ("a", "b"), {"a": 1}):
        assert lua.eval(as_lua(value)) is not None


EXAMPLE = """
task({ name = "fine", retries = 2, run = function(this)
  local done = file.write({ dest = "/x", content = "a", mode = "0644", notify = "reload" })
  local path = done.path .. tostring(done.changed)
  local total = facts.memory.total + facts.cpu.count
  state.with_lock("l", 30, function(token) return token end)
  state.with_lock("l", function() end, "5m")
  local out = cmd("ls").stdout .. crypto.hmac("k", path, "sha256") .. this.name .. (env.HOME or "")
  return { out = out, total = total, ports = values.ports }
end })
task("built"):description("x"):command(function() end):depends_on("fine"):build()
handler({ name = "reload", run = function() end })
workflow.define("w", { tasks = { "fine" } })
"""
WRONG = """
task({ name = "wrong", run = function()
  file.write({ dest = 5, content = "a" })
  file.rite({ dest = "/x" })
  local x = facts.memory.totl
  state.get()
end })
"""


def test_an_analyser_of_lua_understands_them(tmp_path: Path) -> None:
    """With emmylua_check or lua-language-server, where there is one: a good file has no fault, a bad one has each."""
    checker = shutil.which("emmylua_check") or shutil.which("lua-language-server")
    if checker is None:
        pytest.skip("neither emmylua_check nor lua-language-server is installed")
    for name, text in meta.files().items():
        path = tmp_path / "lib" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "fine.lua").write_text(EXAMPLE, encoding="utf-8")
    good = _analysed(checker, tmp_path)
    assert "fine.lua" not in good and "lib" not in good, good
    (tmp_path / "wrong.lua").write_text(WRONG, encoding="utf-8")
    bad = _analysed(checker, tmp_path)
    for word in ("rite", "totl", "dest"):
        assert word in bad, bad


def _analysed(checker: str, folder: Path) -> str:
    argv = [checker, str(folder)] if checker.endswith("emmylua_check") else [checker, f"--check={folder}"]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=300, env={**os.environ, "NO_COLOR": "1"}
    )
    return done.stdout + done.stderr
