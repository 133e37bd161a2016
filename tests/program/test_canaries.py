"""Why: what is sealed, and what is secret, is looked for where it must not be: in every byte that a run leaves."""

from __future__ import annotations

import json
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from sloth_runner.engine.mask import DOTS, forms
from sloth_runner.secret import Secret
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.keysources import from_key
from sloth_runner.state.sealed import Sealed
from tests.program.kit import ENCRYPTION, Home

KEY = ENCRYPTION["SLOTH_KEY"]
SHAPES = ["{}", 'say "{}"\n', "a b/{}?&=é", "'{}'\\"]


class Canaries:
    """Values that occur nowhere else, and the looks that they may take."""

    def __init__(self) -> None:
        self.values = [shape.format(f"canary{secrets.token_hex(12)}") for shape in SHAPES]

    def looks(self) -> Iterator[bytes]:
        for value in self.values:
            for form in {
                *forms(value),
                quote(value),
                quote_plus(value),
                json.dumps(value),
                re.sub(r"\W", "", value),
            }:
                if "canary" in form or len(form) > 20:
                    yield form.encode()
                    yield form.encode("utf-16-le")
            core = re.findall(r"canary\w+", value)[0]
            yield from (form.encode() for form in forms(core))

    def found(self, place: bytes) -> list[bytes]:
        return [look for look in self.looks() if look in place]


def all_bytes(*folders: Path) -> bytes:
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return b"\0".join(path.read_bytes() for path in files)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user whose temporary files can be looked at, too."""
    (tmp_path / "tmp").mkdir()
    return Home(tmp_path / "user", {"TMPDIR": str(tmp_path / "tmp"), "SQLITE_TMPDIR": str(tmp_path / "tmp")})


def everything(home: Home) -> bytes:
    return all_bytes(home.folder / ".sloth-runner", home.folder.parent / "tmp")


def lua(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def use(home: Home, canaries: Canaries) -> None:
    """Put the canaries wherever a state keeps something."""
    lines = []
    for number, value in enumerate(canaries.values):
        home.run("state", "set", f"cli:{number}", "--", value)
        home.run("state", "set", f"hidden:{number}", "--sensitive", "--", value)
        lines += [
            f"state.set('lua:{number}', {lua(value)})",
            f"state.set('cluster:{number}', {{[{lua(value)}] = {{ {lua(value)} }} }})",
            f"state.set('long:{number}', string.rep({lua(value)}, 3000))",
            f"state.list_push('list', {lua(value)})",
            f"print({lua(value)})",
            f"cmd({{argv = {{'echo', {lua(value)}}}}})",
            f"file.write({{dest = this.workdir .. '/out{number}', content = {lua(value)}}})",
            f"state.lock('lock:{number}', {lua(value)}, 60)",
        ]
    lines += [
        "state.delete('lua:0')",
        "state.rollback('lua:1', 1)",
        f"return {{ {lua(canaries.values[0])} }}",
    ]
    home.file("use.sloth", "task({name = 't', run = function(this)\n" + "\n".join(lines) + "\nend})\n")
    said = home.run("run", "use.sloth")
    assert canaries.found(said.out.encode())
    home.run("run", "use.sloth")
    failing = f"task({{name = 'f', run = function() error({lua(canaries.values[0])}) end}})"
    home.file("fail.sloth", failing)
    home.run("run", "fail.sloth", code=1)


def test_nothing_in_plaintext_under_a_sealed_state(home: Home) -> None:
    canaries = Canaries()
    home.env.update(ENCRYPTION)
    use(home, canaries)
    assert canaries.found(everything(home)) == []
    home.run("state", "rekey")
    assert canaries.found(everything(home)) == []
    home.env["SLOTH_KEY"] = "a5" * 32
    assert (
        canaries.found((wrong := home.run("state", "list", code=7)).err.encode() + wrong.out.encode()) == []
    )
    home.env["SLOTH_KEY"] = KEY
    assert home.value("cli:0") == canaries.values[0]


LEDGER = """
handler({name = "tell", run = function() cmd({argv = {"sh", "-c", "cat ROOT/conf >> ROOT/log"}}) end})
task({name = "conf", run = function()
  file.directory("ROOT")
  file.write({dest = "ROOT/conf", content = ONE, notify = "tell"})
  file.write({dest = "ROOT/was-there", content = ONE})
  file.write({dest = "ROOT/begun", content = ONE, ignore_errors = true,
              validate = [[sh -c "echo something else > ROOT/begun; exit 1" %s]]})
  EXTRA
  cmd({argv = {"sh", "-c", "BODY"}, creates = "ROOT/done"})
end})
"""


def test_nothing_that_modules_remember_is_in_plaintext(home: Home) -> None:
    """Contents of then and now, intents and pending handlers of a run that is killed, plans, drifts, prunes."""
    canaries = Canaries()
    before, one, by_hand, extra = canaries.values
    home.env.update(ENCRYPTION)
    root = home.cwd / "t"

    def write(body: str, more: str = "") -> None:
        text = LEDGER.replace("EXTRA", more).replace("ROOT", str(root)).replace("ONE", lua(one))
        home.file("site.sloth", text.replace("BODY", body))

    def clean() -> None:
        assert canaries.found(everything(home)) == []

    root.mkdir()
    (root / "was-there").write_text(before)
    more = f'file.write({{dest = "ROOT/extra", content = {lua(extra)}}})'
    write("echo ready; sleep 60", more)
    assert home.run("plan", "site.sloth").out
    clean()
    with home.start("run", "site.sloth") as process:
        assert process.stdout is not None
        assert any("ready" in line for line in process.stdout)
        clean()
        process.send_signal(signal.SIGKILL)
    clean()
    store = Sealed(SQLiteStore(home.state_folder), from_key(lambda: Secret(KEY.encode()), "the key"))
    kinds = {entry.key.split("\x1f")[1] for entry in store.scan("local\x1f")}
    assert {"r", "p", "o", "j"} <= kinds
    contents = b"".join(entry.value for entry in store.scan("local\x1fo\x1f"))
    assert canaries.found(contents), "what was there before is kept"
    store.close()
    home.run("lock", "break", "stack:site", "--shared", "--yes", "--reason", "it was killed")
    write("true", more)
    home.run("run", "site.sloth")
    assert (root / "log").read_text() == one
    (root / "extra").write_text(by_hand)
    drift = home.run("drift", "--detailed-exitcode", "-o", "json", code=2).json
    assert [row["status"] for row in drift["resources"]].count("drifted") == 1
    home.run("drift")
    clean()
    home.run("run", "site.sloth")
    assert (root / "extra").read_text() == extra
    text = (
        (home.cwd / "site.sloth").read_text().replace(f'file.write({{dest = "{root}/was-there"', "do end --")
    )
    home.file("site.sloth", text.replace(f'file.write({{dest = "{root}/extra"', "do end --"))
    home.run("prune", "site.sloth", "--yes")
    assert (root / "was-there").read_text() == before and not (root / "extra").exists()
    clean()
    home.run("state", "rekey")
    home.run("state", "export", "--all", "--with-history", "-f", "all.jsonl", "--plaintext")
    home.run("state", "import", "all.jsonl", "--replace", "--force", "--yes")
    clean()
    home.run("run", "site.sloth")
    clean()


def test_sealing_leaves_nothing_of_what_was_plain(home: Home) -> None:
    canaries = Canaries()
    use(home, canaries)
    assert canaries.found(everything(home))
    home.env.update(ENCRYPTION)
    home.run("state", "encrypt")
    assert canaries.found(everything(home)) == []
    assert home.value("cli:0") == canaries.values[0]
    home.run("state", "decrypt", "--yes")
    assert canaries.found(everything(home))
    home.run("state", "encrypt")
    assert canaries.found(everything(home)) == []


def test_killed_programs_leave_nothing_either(home: Home) -> None:
    canaries = Canaries()
    home.env.update(ENCRYPTION)
    value = lua(canaries.values[0])
    sets = f"state.set('k' .. i % 50, {value} .. i); state.set('long', string.rep({value}, 3000 + i))"
    code = f"for i = 1, 1e9 do {sets} end"
    home.file("busy.sloth", f"task({{name = 't', run = function() {code} end}})")
    for _ in range(5):
        program = home.start("run", "busy.sloth", "-q")
        end = time.monotonic() + 60
        while not written(home.state_folder / "local.db-wal") and time.monotonic() < end:
            try:
                program.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                continue
            break
        try:
            program.wait(timeout=0.3)
        except subprocess.TimeoutExpired:
            program.send_signal(signal.SIGKILL)
        out, err = program.communicate()
        assert program.returncode == -9, (out, err)
        assert written(home.state_folder / "local.db-wal")
        assert canaries.found(everything(home) + err.encode()) == []
        home.run("lock", "break", "--shared", "stack:busy", "--yes", code=None)


def written(path: Path) -> bool:
    """Whether there is something in a file."""
    return path.exists() and path.stat().st_size > 0


SECRET = """
local top = secret("CANARY_ENV")
print("top", top)
task({name = "t", run = function(this)
  local s = secret("CANARY_ENV")
  local f = secret({file = "canary.txt"})
  local c = secret({command = "cat canary-2.txt"})
  local a = secret({command = {"cat", "canary-3.txt"}})
  for _, x in ipairs({s, f, c, a}) do
    print(x, json.encode({x = x}), crypto.base64_encode(x), crypto.base64_encode("u:" .. x), "Bearer " .. x)
    log.warn("careful: " .. x)
    state.set("kept", x, {sensitive = true})
    state.set("list", {x}, {sensitive = true})
    print(state.get("kept"), state.list_pop("list"), state.history("kept")[1].new)
    state.transaction(function() for k, v in pairs(state.list("kept")) do print(k, v) end end)
    cmd({argv = {"echo", x}})
    cmd({argv = {"printf", "%s", x}, check = false})
    cmd({command = "echo $X >&2", env = {X = x}})
  end
end})
task({name = "u", run = function(this)
  local s = secret({file = "canary.txt"})
  print(pcall(function() cmd({argv = {"no-such-" .. s}}) end))
  print(pcall(function() file.copy({src = s, dest = "/" .. s}) end))
  print(pcall(function() state.set(s .. "\\n", 1) end))
  print(pcall(function() template.render("{{ " .. s) end))
  file.write({dest = this.workdir .. "/secret.conf", content = "password=" .. s})
  file.write({dest = this.workdir .. "/secret.conf", content = "password = " .. s .. "\\n"})
  return {token = s}
end})
task({name = "v", run = function(this, params, deps)
  local s = secret("CANARY_ENV")
  error({code = s, message = "died of " .. s})
end})
"""


def secret_home(home: Home, canaries: Canaries) -> None:
    (home.cwd / "canary.txt").write_text(canaries.values[1])
    (home.cwd / "canary-2.txt").write_text(canaries.values[2] + "\n")
    (home.cwd / "canary-3.txt").write_text(canaries.values[3])
    home.env["CANARY_ENV"] = canaries.values[0]


@pytest.mark.parametrize("mode", [(), ("-v", "--diff"), ("-o", "json"), ("-o", "jsonl"), ("-k", "-j", "4")])
def test_a_secret_shows_nowhere(home: Home, mode: tuple[str, ...]) -> None:
    """Standard output, standard error, JSON, the run's record, the state's readable parts: covered in all of them."""
    canaries = Canaries()
    secret_home(home, canaries)
    home.file("s.sloth", SECRET)
    said = home.run("run", "s.sloth", *mode, code=1)
    shown = said.out + said.err
    assert DOTS in shown
    for argv in (
        ("runs", "show"),
        ("runs", "show", "-o", "json"),
        ("runs", "logs", "last"),
        ("state", "list"),
    ):
        again = home.run(*argv)
        shown += again.out + again.err
    for argv in (("state", "history", "kept"), ("state", "diff", "kept"), ("config", "show")):
        again = home.run(*argv, code=None)
        shown += again.out + again.err
    assert canaries.found(shown.encode()) == []
    home.env.update(ENCRYPTION)
    home.run("state", "encrypt")
    assert canaries.found(everything(home)) == []


@pytest.mark.parametrize(
    "text",
    [
        'error("top " .. secret("CANARY_ENV"))',
        'task({name = secret("CANARY_ENV"), run = function() end})',
        'task({name = "t", [secret("CANARY_ENV")] = 1, run = function() end})',
        'require(secret("CANARY_ENV"))',
        'task({name = "t", depends_on = secret("CANARY_ENV"), run = function() end})',
        'local x = secret("CANARY_ENV"); x()',
    ],
)
@pytest.mark.parametrize("command", [("validate",), ("--debug", "run"), ("run",)])
def test_an_error_of_loading_shows_no_secret(home: Home, text: str, command: tuple[str, ...]) -> None:
    canaries = Canaries()
    secret_home(home, canaries)
    home.file("s.sloth", text)
    with home.start(*command, "s.sloth", "-o", "json") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode != 70, (out, err)
    assert canaries.found((out + err).encode()) == []


STORED = """
local s = secret("CANARY_ENV")
task({name = "t", run = function(this)
  state.set("plain", s)
  state.set("table", {token = "Bearer " .. s, env = "production"})
  state.append("text", "x " .. s)
  state.list_push("list", {s})
  state.set_if_absent("once", s)
  state.compare_and_swap("swapped", nil, s)
  state.transaction(function() state.set("within", s) end)
  state.set("word", "production")
  state.set("known", s, {sensitive = false})
  file.write({dest = this.workdir .. "/secret.conf", content = "password=" .. s})
  file.write({dest = this.workdir .. "/other.conf", content = "production"})
end})
"""


def test_what_a_task_stores_of_a_secret_is_hidden_from_later_commands(home: Home) -> None:
    canaries = Canaries()
    secret_home(home, canaries)
    home.file("s.sloth", STORED)
    home.run("run", "s.sloth")
    entries = home.run("state", "list", "-o", "json").json["entries"]
    assert {row["key"] for row in entries if not row["sensitive"]} == {"word", "known"}
    home.run("state", "delete", "known", "--yes")
    (home.cwd / "secret.conf").write_text("by hand")
    del home.env["CANARY_ENV"]
    home.file("s.sloth", 'task({name = "t", run = function() end})')
    shown = ""
    for argv in (
        ("state", "list"),
        ("state", "history", "plain"),
        ("state", "show", "table"),
        ("resource", "show", f"file:{home.cwd}/secret.conf"),
        ("drift", "-o", "json"),
        ("drift",),
        ("prune", "s.sloth"),
    ):
        said = home.run(*argv, code=None)
        shown += said.out + said.err
    assert DOTS in shown and f"file:{home.cwd}/secret.conf" in shown
    assert canaries.found(shown.encode()) == []


def test_the_secret_that_another_replaces_is_not_shown_by_the_difference(home: Home) -> None:
    old, new = Canaries(), Canaries()
    secret_home(home, old)
    home.file("s.sloth", STORED)
    home.run("run", "s.sloth")
    home.env["CANARY_ENV"] = new.values[0]
    for command in (("plan",), ("run", "--diff")):
        said = home.run(*command, "s.sloth")
        assert old.found((said.out + said.err).encode()) == []
        assert new.found((said.out + said.err).encode()) == []


def test_a_secret_in_the_name_of_a_resource_is_warned_of(home: Home) -> None:
    secret_home(home, Canaries())
    call = 'file.line({path = this.workdir .. "/x", line = secret("CANARY_ENV"), create = true})'
    home.file("s.sloth", f'task({{name = "t", run = function(this) {call} end}})')
    assert "holds a secret: names are not hidden" in home.run("run", "s.sloth").out
