"""Why: every source of a key works as its page says, and each way to get it wrong has an answer."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.cli.state_seal import broken_off
from sloth_runner.errors import StoreDown
from tests.cli.kit import Cli, Result
from tests.cli.schema import check
from tests.cli.test_documents import settle

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = bytes(range(1, 33)).hex()
ENV = '[state.encryption]\nsource = "env"\nvariable = "SLOTH_KEY"\n'


def document(result: Result) -> dict[str, Any]:
    assert result.code == 0, result.shown()
    found: dict[str, Any] = json.loads(result.out)
    check(found)
    return found


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
def sealed(cli: Cli) -> Cli:
    """A command line whose state is sealed by a key in a variable; it holds a value."""
    cli.file("sloth.toml", ENV)
    cli.environ["SLOTH_KEY"] = KEY
    cli.ok("state", "set", "greeting", "good morning")
    return cli


def on_disk(cli: Cli) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(cli.home.rglob("*")) if path.is_file())


def source(cli: Cli, name: str) -> str:
    """Configuration for a source that is ready to be used."""
    if name == "env":
        cli.environ["SLOTH_KEY"] = KEY
        return ENV
    if name == "env in hex":
        cli.environ["SLOTH_KEY"] = OTHER + "\n"
        return ENV
    if name == "keyfile":
        private(cli.work / "key", KEY + "\n")
        return '[state.encryption]\nsource = "keyfile"\nfile = "key"\n'
    if name == "keyfile of bytes":
        (cli.work / "key").write_bytes(bytes(range(128, 160)))
        (cli.work / "key").chmod(0o600)
        return '[state.encryption]\nsource = "keyfile"\nfile = "key"\n'
    if name == "command":
        return f'[state.encryption]\nsource = "command"\ncommand = ["printf", "{KEY}"]\n'
    if name == "command as a line":
        return f'[state.encryption]\nsource = "command"\ncommand = "printf \'{KEY}\'"\n'
    if name == "passphrase in a variable":
        cli.environ["WORDS"] = "correct horse"
        return '[state.encryption]\nsource = "passphrase"\nvariable = "WORDS"\n'
    private(cli.work / "words", "correct horse\nsecond line\n")
    return '[state.encryption]\nsource = "passphrase"\nfile = "words"\n'


SOURCES = [
    "env", "env in hex", "keyfile", "keyfile of bytes", "command", "command as a line", "passphrase in a variable",
    "passphrase in a file",
]  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_each_source_seals_and_opens(cli: Cli, name: str) -> None:
    cli.file("sloth.toml", source(cli, name))
    if name.startswith("command"):
        cli.ok("config", "trust", "--yes")
    cli.ok("state", "set", "greeting", "good morning")
    assert cli.ok("state", "get", "greeting") == "good morning\n"
    assert b"good morning" not in on_disk(cli)
    shown = cli.ok("config", "show") + cli.ok("config", "show", "-o", "json")
    assert "state.encryption.source" in shown
    assert "correct horse" not in shown
    assert name.startswith("command") or KEY not in shown


def test_a_passphrase_is_asked_for_once_a_command(cli: Cli) -> None:
    cli.file("sloth.toml", '[state.encryption]\nsource = "passphrase"\n')
    made = cli("state", "set", "a", "b", tty=True, stdin="correct horse\n")
    assert made.code == 0, made.shown()
    assert made.err == "Passphrase of the state: \n"
    assert cli("state", "get", "a", tty=True, stdin="correct horse\n").out == "b\n"
    wrong = cli("state", "get", "a", tty=True, stdin="battery staple\n")
    assert wrong.code == 7 and "error[E-KEY-WRONG]: the passphrase does not open this state" in wrong.err
    nothing = cli("state", "get", "a", tty=True, stdin="\n")
    assert nothing.code == 8
    nobody = cli("state", "get", "a")
    assert nobody.code == 5 and "no terminal to ask on" in nobody.err


def test_argon2_parameters_are_stored(cli: Cli) -> None:
    from sloth_runner.state.backends.sqlite import SQLiteStore
    from sloth_runner.state.layout import KEYRING

    cli.file("sloth.toml", source(cli, "passphrase in a variable"))
    cli.ok("state", "set", "a", "b")
    store = SQLiteStore(cli.home / "state")
    entry = store.get(KEYRING)
    assert entry is not None
    parameters = json.loads(entry.value)["source"]
    store.close()
    assert len(bytes.fromhex(parameters.pop("salt"))) == 16
    assert parameters == {
        "kind": "passphrase", "function": "argon2id", "memory": 65536, "iterations": 3, "lanes": 4,
    }  # fmt: skip


def test_the_wrong_key_changes_nothing(sealed: Cli) -> None:
    before = on_disk(sealed)
    for argv in (("state", "list"), ("state", "set", "a", "b"), ("lock", "list"), ("state", "rekey")):
        result = sealed(*argv, environ={"SLOTH_KEY": OTHER})
        assert result.code == 7, result.shown()
        assert "error[E-KEY-WRONG]: the variable SLOTH_KEY does not open this state" in result.err
    assert on_disk(sealed) == before


def test_without_configuration_it_is_told_that_it_is_sealed(sealed: Cli) -> None:
    (sealed.work / "sloth.toml").unlink()
    for argv in (("state", "get", "greeting"), ("state", "set", "a", "b"), ("run", "x.sloth")):
        sealed.file("x.sloth", 'task({name = "t", run = function() end})')
        result = sealed(*argv)
        assert result.code == 7 and "this state is sealed, and no key for it is configured" in result.err


MISSING = {
    "no variable": (ENV, {"SLOTH_KEY": ""}, "the variable SLOTH_KEY, which is to hold the key of the state, is not"),
    "no key": (ENV, {"SLOTH_KEY": "hunter2"}, "the variable SLOTH_KEY holds no key: 32 random bytes are needed"),
    "a text of 32": (ENV, {"SLOTH_KEY": "passwordpasswordpasswordpassword"}, "holds no key"),
    "no file": (
        '[state.encryption]\nsource = "keyfile"\nfile = "key"\n', {}, "key can't be used: No such file or directory",
    ),
    "a folder": ('[state.encryption]\nsource = "keyfile"\nfile = "."\n', {}, "it is no regular file"),
    "a command that fails": (
        '[state.encryption]\nsource = "command"\ncommand = ["false"]\n', {}, "gave none: it ended with status 1",
    ),
    "a command that is silent": (
        '[state.encryption]\nsource = "command"\ncommand = ["true"]\n', {}, "gave none: it printed nothing",
    ),
    "a command that is not there": (
        '[state.encryption]\nsource = "command"\ncommand = ["no-such-program"]\n', {}, "gave none: No such file",
    ),
    "no region": (
        '[state.encryption]\nsource = "aws-kms"\nkey = "alias/x"\n', {}, "the region of AWS KMS is not known",
    ),
    "no credentials": (
        '[state.encryption]\nsource = "aws-kms"\nkey = "alias/x"\nregion = "r"\n', {}, "no credentials for AWS KMS",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISSING)
def test_a_key_that_can_not_be_had(cli: Cli, name: str) -> None:
    text, environ, words = MISSING[name]
    cli.file("sloth.toml", text)
    if "command" in name:
        cli.ok("config", "trust", "--yes")
    result = cli("state", "set", "a", "b", environ=environ)
    assert result.code == 5, result.shown()
    assert "error[E-CONFIG]" in result.err and words in result.err
    assert "hunter2" not in result.err
    assert not list((cli.home / "state").rglob("*.db"))


def test_a_key_file_that_others_can_read_is_refused(cli: Cli) -> None:
    cli.file("sloth.toml", source(cli, "keyfile"))
    (cli.work / "key").chmod(0o640)
    result = cli("state", "list")
    assert result.code == 0  # nothing is there to be opened yet
    result = cli("state", "set", "a", "b")
    assert result.code == 5 and "its mode 0640 lets others at it" in result.err


def test_a_command_of_a_repository_is_asked_for_once(cli: Cli) -> None:
    marker = cli.folder / "ran"
    line = f'[state.encryption]\nsource = "command"\ncommand = ["sh", "-c", "touch {marker}; echo {KEY}"]\n'
    cli.file("sloth.toml", line)
    for _ in range(2):
        result = cli("state", "set", "a", "b")
        assert result.code == 5 and "sloth-runner config trust" in result.err
        assert "sloth.toml:3" in result.err
    assert cli("config", "trust").code == 8
    assert cli("config", "trust", tty=True, stdin="n\n").code == 8
    assert not marker.exists()
    shown = cli("config", "trust", tty=True, stdin="y\n")
    assert shown.code == 0 and f"echo {KEY}" in shown.err
    assert document(cli("config", "trust", "-o", "json"))["changed"] is False
    cli.ok("state", "set", "a", "b")
    assert marker.exists()
    assert stat.S_IMODE((cli.home / "trusted.json").stat().st_mode) == 0o600
    cli.file("sloth.toml", line.replace("touch", "rm"))
    assert cli("state", "get", "a").code == 5
    (cli.home / "config.toml").write_text(line)
    (cli.work / "sloth.toml").unlink()
    assert cli.ok("state", "get", "a") == "b\n"


def test_a_list_of_trust_that_is_damaged(cli: Cli) -> None:
    cli.file("sloth.toml", source(cli, "command"))
    cli.home.mkdir()
    (cli.home / "trusted.json").write_text("{")
    assert "trusted commands can't be read" in cli("state", "set", "a", "b").err
    (cli.work / "sloth.toml").unlink()
    assert cli("config", "trust").code == 4


def test_sealing_and_opening(cli: Cli) -> None:
    cli.ok("state", "set", "greeting", "good morning")
    cli.ok("state", "set", "cluster:x", "good evening")
    cli.file("sloth.toml", ENV)
    cli.environ["SLOTH_KEY"] = KEY
    refused = cli("state", "get", "greeting")
    assert refused.code == 7 and "this state is in plaintext" in refused.err
    assert "sloth-runner state encrypt" in refused.err
    found = document(cli("state", "encrypt", "-o", "json"))
    assert (found["changed"], found["done"], found["mode"], found["plaintext"]) == (4, True, "sealed", 0)
    assert b"good" not in on_disk(cli)
    assert cli.ok("state", "encrypt").startswith(
        "sqlite:///TMP/home/state: sealed already\n4 records under the key"
    )
    assert cli.ok("state", "get", "greeting") == "good morning\n"
    assert document(cli("state", "stats", "-o", "json"))["encrypted"] is True
    unasked = cli("state", "decrypt")
    assert unasked.code == 8
    assert document(cli("state", "decrypt", "--yes", "-o", "json"))["changed"] == 4
    assert "it was decrypted" in cli("state", "list").err
    assert "in plaintext already" in cli.ok("state", "decrypt", "--yes")
    (cli.work / "sloth.toml").unlink()
    assert cli.ok("state", "get", "greeting") == "good morning\n"
    assert cli.ok("state", "list", "--all-agents").count("\n") == 2


def test_turning_keys_over(sealed: Cli) -> None:
    before = document(sealed("state", "rekey", "--status", "-o", "json"))
    assert (before["left"], before["done"], before["source"]) == (0, True, "key")
    after = document(sealed("state", "rekey", "-o", "json"))
    assert after["changed"] == 2 and len(after["keys"]) == 1
    assert after["keys"][0]["id"] != before["keys"][0]["id"]
    assert before["keys"][0]["id"].encode() not in on_disk(sealed)
    assert sealed.ok("state", "get", "greeting") == "good morning\n"
    plain = sealed.ok("state", "rekey", "--status")
    assert "state\tsealed\n" in plain and "2 records, the current one" in plain
    assert "2 records under the key" in sealed.ok("state", "rekey")


def test_a_rekey_waits_for_locks_and_says_so(sealed: Cli) -> None:
    from tests.cli.test_documents import hold

    hold(sealed, "deploy")
    found = sealed("state", "rekey")
    assert found.code == 0 and "the leases of 1 lock are as they were (deploy)" in found.err
    status = document(sealed("state", "rekey", "--status", "-o", "json"))
    assert (status["left"], status["waiting"], status["done"], len(status["keys"])) == (
        1,
        ["deploy"],
        False,
        2,
    )
    assert "being sealed anew" in sealed.ok("state", "rekey", "--status")
    sealed.ok("lock", "break", "deploy", "--yes")
    assert document(sealed("state", "rekey", "--wait", "5m", "-o", "json"))["done"] is True


def test_a_server_that_is_lost_midway_says_how_to_go_on() -> None:
    error = StoreDown("no answer", unchanged=["nothing was stored"], next=["is it running?"])
    broken_off(error, 300, "sloth-runner state rekey")
    assert (error.changed, error.unchanged) == (
        ["300 records and the keyring: they stay as they are now"],
        [],
    )
    assert error.next[1:] == [
        "run the same command again, it goes on where it stopped: sloth-runner state rekey"
    ]


def test_another_passphrase(sealed: Cli) -> None:
    sealed.environ["NEW"] = "staple"
    said = sealed.ok("state", "rekey", "--to", "passphrase:NEW")
    assert '[state.encryption]\nsource = "passphrase"\nvariable = "NEW"\n' in said
    assert sealed("state", "get", "greeting").code == 7
    sealed.file("sloth.toml", said[said.index("[state.encryption]") :])
    assert sealed.ok("state", "get", "greeting") == "good morning\n"
    typed = sealed("state", "rekey", "--to", "passphrase", tty=True, stdin="one\nother\n")
    assert typed.code == 8 and "not the same" in typed.err
    typed = sealed("state", "rekey", "--to", "passphrase", tty=True, stdin="battery\nbattery\n")
    assert typed.code == 0, typed.shown()
    sealed.file("sloth.toml", '[state.encryption]\nsource = "passphrase"\n')
    assert sealed("state", "get", "greeting", tty=True, stdin="battery\n").out == "good morning\n"


@pytest.mark.parametrize("to", ["nothing", "keyfile", "env:", "passphrase:A B", "keyfile:/no/such/file"])
def test_a_new_source_that_can_not_be_used(sealed: Cli, to: str) -> None:
    before = on_disk(sealed)
    assert sealed("state", "rekey", "--to", to).code in (5, 64)
    assert on_disk(sealed) == before
    assert sealed("state", "rekey", "--to", "env:X", "--status").code == 64


def test_an_unsealed_state_has_a_status_and_no_rekey(cli: Cli) -> None:
    cli.ok("state", "set", "a", "b")
    assert "state\tin plaintext\n" in cli.ok("state", "rekey", "--status")
    assert cli("state", "rekey").code == 5
    cli.file("sloth.toml", ENV)
    result = cli("state", "rekey", environ={"SLOTH_KEY": KEY})
    assert result.code == 7 and "this state is not sealed" in result.err


def test_a_run_is_sealed_as_everything_else(sealed: Cli) -> None:
    sealed.file(
        "deploy.sloth",
        """
        task({name = "t", run = function()
          state.with_lock("l", 30, function() state.increment("n") end)
          state.transaction(function() state.set("copy", state.get("greeting")) end)
          print("told: " .. state.get("copy"))
        end})
        """,
    )
    assert "told: good morning" in sealed.ok("run", "deploy.sloth")
    assert "told: good morning" in sealed.ok("runs", "logs", "last")
    assert b"told" not in on_disk(sealed)
    assert document(sealed("state", "rekey", "-o", "json"))["done"] is True
    assert "told: good morning" in sealed.ok("runs", "logs", "last")


def test_sensitive_numbers_are_not_quoted_in_errors(cli: Cli) -> None:
    cli.ok("state", "set", "pin", "hunter2", "--sensitive")
    result = cli("state", "increment", "pin")
    assert result.code == 5 and "hunter2" not in result.err + result.out
    cli.ok("state", "set", "big", "--json", "9223372036854775807", "--sensitive")
    assert "9223372036854775807" not in cli("state", "increment", "big").err


def test_the_doctor_says_how_it_is_sealed(sealed: Cli) -> None:
    from tests.cli.test_documents import hold

    assert "unlocked by the variable SLOTH_KEY" in sealed("state", "doctor").out
    hold(sealed, "deploy")
    sealed.ok("state", "rekey")
    assert "state rekey was begun and is to be finished" in sealed("state", "doctor").out


def test_what_looks_at_the_past_works_on_a_sealed_state(sealed: Cli) -> None:
    sealed.ok("state", "tag", "before")
    sealed.ok("state", "set", "greeting", "good evening")
    sealed.ok("state", "rekey")
    assert sealed("state", "verify").code == 0
    sealed.ok("state", "rollback", "--to-tag", "before", "--yes")
    assert sealed.ok("state", "get", "greeting") == "good morning\n"
    assert b"good" not in on_disk(sealed)


def test_a_sealed_state_leaves_and_enters_sealed(sealed: Cli) -> None:
    sealed.ok("state", "set", "cluster:x", "good evening", "--sensitive")
    refused = sealed("state", "export", "--all")
    assert refused.code == 64 and "--plaintext" in refused.err and "good" not in refused.out + refused.err
    sealed.environ["WORDS"] = "correct horse"
    sealed.ok("state", "export", "--all", "--with-history", "-f", "all.age", "--passphrase-env", "WORDS")
    plain = sealed.ok("state", "export", "--all", "--with-history", "--plaintext")
    rows = [json.loads(line) for line in plain.splitlines()]
    assert {row[0] for row in rows if isinstance(row, list)} == {"k", "h"}
    sealed.ok("state", "set", "greeting", "good night")
    sealed.ok("state", "set", "more", "good grief")
    done = sealed(
        "state",
        "import",
        "all.age",
        "--passphrase-env",
        "WORDS",
        "--replace",
        "--force",
        "--yes",
        "-o",
        "json",
    )
    found = document(done)
    assert [(s["namespace"], s["changed"], s["deleted"]) for s in found["sections"]] == [
        ("_shared", 0, 0), ("local", 1, 1),
    ]  # fmt: skip
    assert [Path(name).suffix for name in found["backups"]] == [".db"]
    assert sealed.ok("state", "get", "greeting") == "good morning\n"
    assert sealed("state", "get", "more").code == 4
    assert b"good" not in on_disk(sealed)
    place, now = sealed.home / "state" / "local.db", sealed.home / "now.db"
    shutil.copy(place, now)
    shutil.copy(sealed.home / "state" / "backups" / Path(found["backups"][0]).name, place)
    assert sealed.ok("state", "get", "greeting") == "good night\n", "a backup put back is the state as it was"
    shutil.move(now, place)
    stats = document(sealed("state", "stats", "--all-agents", "-o", "json"))
    assert stats["keys"] == 2
    assert document(sealed("state", "rekey", "-o", "json"))["done"] is True


def test_a_bundle_into_a_new_sealed_state_is_sealed(cli: Cli, sealed: Cli) -> None:
    plain = sealed.ok("state", "export", "--plaintext")
    (sealed.folder / "other").mkdir()
    other = Cli(sealed.folder / "other")
    other.environ["SLOTH_KEY"] = KEY
    other.file("sloth.toml", ENV)
    other.ok("state", "import", "-", "--yes", stdin=plain)
    assert b"good" not in on_disk(other)
    assert other.ok("state", "get", "greeting") == "good morning\n"
    (other.work / "sloth.toml").unlink()
    for argv in (("import", "-", "--yes"), ("export",), ("stats",)):
        assert other("state", *argv, stdin=plain).code == 7
    assert b"good" not in on_disk(other)


def test_a_migration_under_way_is_not_called_encrypted(cli: Cli) -> None:
    from sloth_runner.state import reseal
    from sloth_runner.state.backends.sqlite import SQLiteStore
    from sloth_runner.state.sealed import Sealed
    from tests.state.kit import key_source
    from tests.state.test_reseal import Between, Killed

    cli.ok("state", "set", "greeting", "good morning")
    cli.file("sloth.toml", ENV)
    cli.environ["SLOTH_KEY"] = "81" * 32  # that of key_source

    def kill(number: int, when: str) -> None:
        if number == 2:
            raise Killed

    inner = SQLiteStore(cli.home / "state")
    with pytest.raises(Killed):
        reseal.encrypt(Sealed(Between(inner, kill), key_source()), os.urandom, lambda count: None)
    inner.close()
    assert document(cli("state", "stats", "-o", "json"))["encrypted"] is False
    said = cli("state", "doctor")
    assert said.code == 7 and "state encrypt was begun and is to be finished" in said.out
    refused = cli("state", "export")
    assert refused.code == 64 and "--plaintext" in refused.err
    cli.ok("state", "encrypt")
    assert document(cli("state", "stats", "-o", "json"))["encrypted"] is True
    settle(cli)
    assert cli("state", "doctor").code == 0


def test_the_doctor_looks_at_a_sealed_states_files(sealed: Cli) -> None:
    sealed.ok("state", "tag", "now")
    settle(sealed)
    found = sealed.ok("state", "doctor", "-o", "plain")
    assert "its files are yours alone" in found and "apsw" in found
    assert "all as written; head" in found
    path = sealed.home / "state" / "local.db"
    data = bytearray(path.read_bytes())
    at = data.index(b"\xffSL\x01")
    data[at + 120] ^= 1
    path.write_bytes(data)
    said = sealed("state", "doctor")
    assert said.code == 7 and "altered" in said.out


def test_everyone_else_is_kept_out_of_the_folder(sealed: Cli) -> None:
    for path in (sealed.home / "state").rglob("*"):
        assert not stat.S_IMODE(os.lstat(path).st_mode) & 0o077
