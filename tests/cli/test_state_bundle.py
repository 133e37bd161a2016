"""What `state export` and `state import` ask, refuse, keep and say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyrage
import pytest

from tests.cli.kit import Cli, Stream
from tests.cli.test_documents import hold
from tests.cli.test_state import _app as app_of


@pytest.fixture
def other(tmp_path: Path) -> Cli:
    """Another machine, with nothing on it."""
    (tmp_path / "other").mkdir()
    return Cli(tmp_path / "other")


def _values(cli: Cli) -> dict[str, object]:
    entries = json.loads(cli.ok("state", "list", "--all-agents", "--reveal", "-o", "json"))["entries"]
    return {f"{entry['namespace']} {entry['key']}": entry["value"] for entry in entries}


def test_state_goes_from_one_machine_to_another(filled: Cli, other: Cli) -> None:
    bundle = filled.ok("state", "export", "--all", "--with-history")
    other.now = filled.now
    file = other.file("all.jsonl", bundle)
    assert other("state", "import", str(file)).code == 8
    assert not other.home.exists() or not any(other.home.rglob("*.db"))
    shown = other("state", "import", "all.jsonl", "--yes")
    assert shown.code == 0 and "local: 6 keys new, 0 changed, 0 the same" in shown.out
    assert _values(other) == _values(filled)
    assert other.ok("state", "history", "deployment:version") == filled.ok(
        "state", "history", "deployment:version"
    )
    assert other.ok("state", "show", "db:password") == filled.ok("state", "show", "db:password")


def test_what_was_done_to_machines_goes_along_without_any_key(cli: Cli, other: Cli) -> None:
    text = f'task({{name = "t", run = function() file.write({{dest = "{cli.work}/a", content = "a"}}) end}})'
    cli.file("site.sloth", text)
    cli.ok("run", "site.sloth")
    bundle = str(other.work / "all.jsonl")
    cli.ok("state", "export", "--all", "--with-history", "--output-file", bundle)
    other.now = cli.now
    told = other.ok("state", "import", bundle, "--dry-run")
    assert "local: 0 keys new, 0 changed, 0 the same, " in told
    assert other.ok("state", "import", bundle, "--yes") == told
    assert "file:" in other.ok("resource", "list")
    assert other.ok("runs", "list") == cli.ok("runs", "list") != ""


def test_keys_that_are_deleted_all_are_imported_with_their_past(cli: Cli, other: Cli) -> None:
    cli.ok("state", "set", "a", "1")
    cli.ok("state", "delete", "a", "--yes")
    other.file("all.jsonl", cli.ok("state", "export", "--with-history"))
    other.ok("state", "import", "all.jsonl", "--yes")
    assert other.ok("state", "history", "a") == cli.ok("state", "history", "a") != ""


def test_an_import_reads_a_pipe(filled: Cli, other: Cli) -> None:
    bundle = filled.ok("state", "export")
    assert "6 keys new" in other.ok("state", "import", "-", "--yes", stdin=bundle)
    assert not list(other.home.rglob("tmp*"))


def test_a_file_is_private_and_whole_or_not_there(filled: Cli) -> None:
    old = os.umask(0)
    try:
        filled.ok("state", "export", "-f", "all.jsonl")
    finally:
        os.umask(old)
    file = filled.work / "all.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    assert filled("state", "export", "-f", "no/such/folder.jsonl").code == 6
    assert filled("state", "export", "--format", "json", "-f", "all.jsonl").code == 64
    assert file.read_bytes() == before
    assert [path.name for path in filled.work.iterdir()] == ["all.jsonl"]


def test_secrets_are_not_printed_on_a_terminal(filled: Cli) -> None:
    result = filled("state", "export", tty=True)
    assert result.code == 64 and "--reveal" in result.err and "correct horse" not in result.out
    shown = filled("state", "export", "--reveal", tty=True)
    assert shown.code == 0 and "correct horse" in shown.out
    assert "shown to ann@host1" in filled("state", "history", "db:password").err
    assert filled("state", "export", "--prefix", "config:", tty=True).code == 0


def test_json_has_no_mark_for_secrets(filled: Cli, other: Cli) -> None:
    assert filled("state", "export", "--format", "json").code == 64
    everything = filled.ok("state", "export", "--format", "json", "--reveal")
    assert json.loads(everything)["db:password"] == "correct horse"
    some = filled.ok("state", "export", "--format", "json", "--prefix", "config:")
    assert json.loads(some) == {
        "config:limits": {"cpu": [1, 2.5], "on": True, "name": "büro"},
        "config:version": 7,
    }
    other.file("some.json", some)
    other.ok("state", "set", "config:version", "old")
    other.ok("state", "set", "mine", "1")
    out = other.ok("state", "import", "some.json", "--format", "json", "--replace", "--yes")
    assert out == "local: 1 key new, 1 changed, 1 deleted, 0 the same\n"
    assert other.ok("state", "history", "config:version").split("\t")[2:4] == ["import", "7"]
    assert json.loads(other.ok("state", "export", "--format", "json")) == json.loads(some)


def test_json_leaves_shared_keys_to_the_shared_namespace(cli: Cli) -> None:
    cli.file("a.json", '{"a": 1, "cluster:x": 2}')
    result = cli("state", "import", "a.json", "--format", "json", "--yes")
    assert result.code == 64 and "--shared" in result.err
    assert cli.ok("state", "list") == ""
    cli.ok("state", "import", "a.json", "--format", "json", "--yes", "--shared")
    assert cli.ok("state", "get", "cluster:x") == "2\n"


def test_a_shared_prefix_is_exported_from_where_its_keys_are(cli: Cli, other: Cli) -> None:
    cli.ok("state", "set", "cluster:x", "1", "--json")
    cli.file("sloth.toml", "[agents]\nweb1 = 'local://'\n")
    assert "exported 1 key of _shared" in cli.ok(
        "state", "export", "--prefix", "cluster:", "-f", "shared.jsonl"
    )
    for where in ((), ("--agent", "web1"), ("--shared",)):
        given = ("state", "export", "--prefix", "cluster:", *where)
        assert json.loads(cli.ok(*given, "--format", "json")) == {"cluster:x": 1}
    file = other.file("shared.jsonl", (cli.work / "shared.jsonl").read_text())
    other.ok("state", "import", str(file), "--yes")
    assert _values(other) == {"_shared cluster:x": 1}


def test_what_would_be_lost_is_shown_and_a_backup_kept(filled: Cli) -> None:
    filled.ok("state", "export", "-f", "old.jsonl")
    filled.now += 60
    filled.ok("state", "set", "deployment:version", "v2")
    filled.ok("state", "set", "new", "1")
    refused = filled("state", "import", "old.jsonl", "--yes")
    assert refused.code == 7 and "deployment:version: revision 3 by ann@host1" in refused.err
    asked = filled("state", "import", "old.jsonl", "--force", "--replace", tty=True, stdin="n\n")
    assert asked.code == 8 and "local: 0 keys new, 1 changed, 1 deleted" in asked.err
    assert "Import it? [y/N]" in asked.err
    assert filled.ok("state", "get", "deployment:version") == "v2\n"
    plan = filled("state", "import", "old.jsonl", "--replace", "--dry-run")
    assert plan.code == 0 and "refused without --force" in plan.err
    filled.now += 60
    done = filled("state", "import", "old.jsonl", "--force", "--replace", "--yes")
    assert done.code == 0, done.shown()
    (backup,) = (filled.home / "state" / "backups").iterdir()
    assert str(backup).replace(str(filled.folder), "/TMP") in done.err
    assert backup.stat().st_mode & 0o777 == 0o600
    assert filled.ok("state", "get", "deployment:version") == "v1.2.3\n"
    filled.now += 60
    filled.ok("state", "import", str(backup), "--replace", "--force", "--yes", "--no-backup")
    assert filled.ok("state", "get", "deployment:version") == "v2\n"
    assert filled.ok("state", "get", "new") == "1\n"
    assert len(list(backup.parent.iterdir())) == 1


def test_nothing_to_do_asks_nothing(filled: Cli) -> None:
    filled.ok("state", "export", "-f", "a.jsonl")
    result = filled("state", "import", "a.jsonl")
    assert result.code == 0 and result.out == "local: 0 keys new, 0 changed, 6 the same\n"
    assert not (filled.home / "state" / "backups").exists()


def test_a_bundle_goes_to_another_namespace_on_demand(filled: Cli) -> None:
    filled.file("sloth.toml", '[agents]\nweb1 = "local://"\n')
    filled.ok("state", "export", "-f", "a.jsonl")
    assert "web1: 6 keys new" in filled.ok("state", "import", "a.jsonl", "--agent", "web1", "--yes")
    assert filled("state", "import", "a.jsonl", "--agent", "web2", "--yes").code == 4
    filled.ok("state", "export", "--all", "-f", "all.jsonl")
    assert filled("state", "import", "all.jsonl", "--agent", "web1", "--yes").code == 64
    result = filled("state", "import", "a.jsonl", "--shared", "--yes")
    assert result.code == 7 and "another state" in result.err


def test_prefixes_are_mapped(filled: Cli) -> None:
    filled.ok("state", "export", "-f", "a.jsonl")
    out = filled.ok("state", "import", "a.jsonl", "--prefix-map", "config:=live:", "--yes")
    assert out == "local: 2 keys new, 0 changed, 0 the same, 4 left out\n"
    assert filled.ok("state", "get", "live:version") == "7\n"
    for maps in (("a",), ("a=b", "ab=c"), ("a=b", "c=b:d")):
        argv = [part for one in maps for part in ("--prefix-map", one)]
        assert filled("state", "import", "a.jsonl", *argv, "--yes").code == 64
    assert filled("state", "import", "a.jsonl", "--replace", "--prefix-map", "a=b", "--yes").code == 64
    assert filled("state", "import", "a.jsonl", "--replace", "--merge", "--yes").code == 64


def test_locks_stay_where_they_are(cli: Cli, other: Cli) -> None:
    cli.ok("state", "set", "a", "1")
    hold(cli, "deploy")
    cli.ok("state", "export", "--with-history", "-f", str(other.work / "a.jsonl"))
    other.ok("state", "import", "a.jsonl", "--yes")
    assert other.ok("lock", "list") == ""


def test_a_passphrase_seals(filled: Cli, other: Cli) -> None:
    secret = {"PASS": "tr0ub4dor"}
    assert filled("state", "export", "-f", "a.age", "--passphrase-env", "PASS", environ=secret).code == 0
    sealed = (filled.work / "a.age").read_bytes()
    assert sealed.startswith(b"age-encryption.org/v1\n") and b"correct horse" not in sealed
    assert b"correct horse" in pyrage.passphrase.decrypt(sealed, "tr0ub4dor")
    (other.work / "a.age").write_bytes(sealed)
    missing = other("state", "import", "a.age", "--yes")
    assert missing.code == 7 and "--passphrase-env" in missing.err
    wrong = other("state", "import", "a.age", "--yes", "--passphrase-env", "PASS", environ={"PASS": "x"})
    assert wrong.code == 7 and "passphrase is wrong" in wrong.err
    assert other.ok("state", "list") == ""
    asked = other("state", "import", "a.age", tty=True, stdin="tr0ub4dor\ny\n")
    assert asked.code == 0, asked.shown()
    assert other.ok("state", "get", "db:password", "--reveal") == "correct horse\n"


def test_a_passphrase_is_typed_twice(filled: Cli) -> None:
    assert filled("state", "export", "-f", "a.age", "--passphrase", tty=True, stdin="a\nb\n").code == 8
    assert filled("state", "export", "-f", "a.age", "--passphrase", stdin="a\na\n").code == 5
    assert not (filled.work / "a.age").exists()
    assert filled("state", "export", "-f", "a.age", "--passphrase", tty=True, stdin="a\na\n").code == 0
    assert filled("state", "export", "-f", "b.age", "--passphrase-env", "NOT_SET").code == 64


def test_recipients_seal(filled: Cli, other: Cli) -> None:
    identity = pyrage.x25519.Identity.generate()
    document = json.loads(
        filled.ok("state", "export", "-f", "a.age", "--recipient", str(identity.to_public()), "-o", "json")
    )
    assert document["sealed"] == "recipients"
    sealed = (filled.work / "a.age").read_bytes()
    assert b"correct horse" in pyrage.decrypt(sealed, [identity])
    (other.work / "a.age").write_bytes(sealed)
    other.file("key.txt", f"# mine\n{identity}\n")
    other.ok("state", "import", "a.age", "--identity", "key.txt", "--yes")
    assert "6 the same" in other.ok("state", "import", "a.age", "--identity", "key.txt")
    damaged = sealed[:-30] + bytes([sealed[-30] ^ 1]) + sealed[-29:]
    (other.work / "a.age").write_bytes(damaged)
    assert other("state", "import", "a.age", "--identity", "key.txt").code == 7
    assert filled("state", "export", "--recipient", "age1nonsense").code == 64
    assert filled("state", "export", "--recipient", str(identity.to_public()), tty=True).code == 64


def test_exports_to_standard_output_have_no_document(filled: Cli) -> None:
    assert filled("state", "export", "-o", "json").code == 64
    assert filled("state", "export", "--format", "json", "--all").code == 64
    assert filled("state", "export", "--all", "--shared").code == 64


def test_an_unreadable_bundle_is_an_error(cli: Cli) -> None:
    assert cli("state", "import", "nothing.jsonl", "--yes").code == 4
    assert cli("state", "import", ".", "--yes").code == 4
    cli.file("a.txt", "hello\n")
    assert cli("state", "import", "a.txt", "--yes").code == 7
    cli.file("a.age", "-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert "age -d" in cli("state", "import", "a.age", "--yes").err


def test_an_empty_state_is_exported_as_such(cli: Cli, other: Cli) -> None:
    bundle = cli.ok("state", "export")
    assert json.loads(bundle.splitlines()[0])["lineage"] is None
    other.file("a.jsonl", bundle)
    assert other.ok("state", "import", "a.jsonl", "--yes") == "local: 0 keys new, 0 changed, 0 the same\n"
    assert cli("state", "export", "--all").code == 4


def test_a_progress_bar_is_for_terminals(filled: Cli) -> None:
    assert filled("state", "export", "-f", "a.jsonl").err == ""
    assert "exporting" in filled("state", "export", "-f", "a.jsonl", tty=True).err
    assert "exporting" not in filled("state", "export", "-f", "a", tty=True, environ={"TERM": "dumb"}).err


def test_the_memory_store_takes_bundles_too(filled: Cli) -> None:
    filled.ok("state", "export", "-f", "a.jsonl")
    memory = {"SLOTH_RUNNER_STATE__STORE": "memory://"}
    result = filled("state", "import", "a.jsonl", "--yes", environ=memory)
    assert result.code == 0 and "6 keys new" in result.out


def test_who_imported_is_remembered(filled: Cli, other: Cli) -> None:
    other.file("a.jsonl", filled.ok("state", "export"))
    other.ok("state", "import", "a.jsonl", "--yes")
    app = app_of(other)
    notes = [json.loads(e.value) for e in app.store().scan("local\x1fm\x1fimport\x1f")]
    assert [(note["user"], note["host"], note["digest"][:7]) for note in notes] == [
        ("ann", "host1", "sha256:")
    ]
    app.close()


def test_streams_have_bytes() -> None:
    assert Stream("é").buffer.read() == "é".encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [("root:x:0:0\n", "no record of a bundle"), ('{"a":1}\n', "no bundle of sloth-runner")],
)
def test_a_file_that_is_no_bundle_is_named(cli: Cli, content: str, words: str) -> None:
    cli.file("other.txt", content)
    shown = cli("state", "import", "other.txt", "--yes")
    assert shown.code == 7
    assert words in shown.err and "--> other.txt" in shown.err and "nothing was changed" in shown.err
