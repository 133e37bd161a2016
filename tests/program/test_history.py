"""The past as a task file sees it: history, diff, rollback, tags and verification in Lua."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.program.kit import Home

FILE = """
task({ name = "past", run = function()
  for i = 1, 3 do state.set("k", "v" .. i) end
  state.set("t", { a = 1 }) state.set("t", { a = 2 })
  assert(#state.history("k") == 3)
  assert(#state.history("k", { limit = 2 }) == 2)
  assert(#state.history("k", { since = "1h" }) == 3)
  assert(#state.history("k", { since = os.time() + 60 }) == 0)
  assert(#state.history("k", { ["until"] = "1h" }) == 0)
  assert(#state.history("k", { by = "nobody" }) == 0)
  local first = state.history("k", { limit = 1 })[1]
  assert(#state.history("k", { by = first.run }) == 3)
  assert(#state.history("k", { by = first.user }) == 3)

  local d = state.diff("k", 1, 3)
  assert(d.differ and d.old == "v1" and d.new == "v3")
  assert(d.diff == "--- k@1\\n+++ k@3\\n@@ -1 +1 @@\\n-v1\\n+v3\\n", d.diff)
  assert(state.diff("k", 2).new == "v3")
  assert(not state.diff("k", 2, 2).differ)
  assert(state.diff("t", 1, 2).diff:find('+  "a": 2', 1, true))

  local digest = state.tag("v1")
  assert(#digest == 64)
  local seen = state.verify({ head = digest })
  assert(seen.head == digest and seen.keys == 2 and seen.revisions == 5)
  assert(state.rollback("k", 1) == 4 and state.get("k") == "v1")
  assert(state.verify({ head = digest }).head ~= digest)
  assert(state.get("k", nil, { rev = 3 }) == "v3")

  local ok, err = pcall(state.tag, "v1")
  assert(not ok and err.code == "E-NAME", tostring(err))
  ok, err = pcall(state.verify, { head = ("0"):rep(64) })
  assert(not ok and err.code == "E-CORRUPT")
  assert(err.message:find("^a fault in what is stored in local: "), err.message)
  ok, err = pcall(state.verify, { head = "abc" })
  assert(not ok and err.code == "E-ARGUMENT" and err.message:find("64 hexadecimal digits", 1, true), tostring(err))
  ok, err = pcall(state.set, "k", 2, { ttl = 500, keep_ttl = true })
  assert(not ok and err.message:find("ttl and keep_ttl exclude each other", 1, true), tostring(err))
  assert(state.set("ttl", 2, { ttl = 500, keep_ttl = false }) and state.delete("ttl"))
  ok, err = pcall(state.verify, { hed = digest })
  assert(not ok and err.code == "E-FIELD")
  ok, err = pcall(state.diff, "k", 1, 99)
  assert(not ok and err.code == "E-KEY-MISSING")
  ok, err = pcall(state.history, "k", { since = "1h", ["until"] = "2h" })
  assert(not ok and err.message == "state.history: until lies before since", tostring(err))
  ok, err = pcall(state.history, "k", { since = "soon" })
  assert(not ok and err.code == "E-ARGUMENT")
  ok, err = pcall(state.transaction, function() state.tag("v2") end)
  assert(not ok and err.message:find("can't be used inside state.transaction", 1, true), tostring(err))

  state.agent("web1").set("x", 1)
  assert(state.agent("web1").verify().keys == 1)
  assert(state.shared.tag("v1") ~= digest)
end })
"""

SECRET = """
task({ name = "secret", run = function()
  state.set("p", "correct horse") state.set("p", "battery staple")
  state.set("p", "battery staple", { sensitive = true })
  local d = state.diff("p", 1, 2)
  assert(d.differ and d.diff == nil)
  print("old " .. d.old .. " new " .. d.new .. " rev " .. state.get("p", nil, { rev = 1 }))
  for _, r in ipairs(state.history("p")) do print("was", r.old, "is", r.new) end
end })
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.file("sloth.toml", '[agents]\nweb1 = "local://"\n')
    return home


def test_the_past_in_lua(home: Home) -> None:
    home.run("run", str(home.file("past.sloth", FILE)))
    assert home.run("state", "verify", "--all-agents", "-o", "json").json["ok"]
    assert home.run("state", "rollback", "--to-run", "last", "--yes").out.startswith("nothing to do")


def test_old_secrets_stay_out_of_the_log(home: Home) -> None:
    said = home.run("run", str(home.file("secret.sloth", SECRET)))
    assert "horse" not in said.out + said.err and "staple" not in said.out + said.err
    assert "old •" in said.out


def test_a_crashed_run_is_seen_by_the_doctor(home: Home) -> None:
    home.file("wait.sloth", 'task({ name = "t", run = function() print("here") sleep(600) end })')
    with home.start("run", "wait.sloth") as process:
        assert process.stdout is not None
        while "here" not in process.stdout.readline():
            pass
        process.kill()
        process.communicate()
    document = home.run("state", "doctor", "-o", "json", code=7).json
    found = {row["check"]: row["message"] for row in document["checks"] if row["status"] != "ok"}
    assert "'stack:wait' is held" in found["locks"]
    assert "never ended" in found["runs"]
