"""Why: a setting must come from where people think it does, and a wrong one must be found at its line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner import processes
from sloth_runner.app import App, settings_for
from sloth_runner.config import Settings, find_project
from sloth_runner.config_fields import FIELDS
from sloth_runner.config_file import read_config
from sloth_runner.errors import AgentUnknown, BadConfig, BadName, FileMissing


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


class Place:
    """A home and a project."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.work = folder / "work"
        self.work.mkdir()
        self.environ = {"SLOTH_RUNNER_HOME": str(self.home)}

    def project(self, text: str) -> Path:
        """Write the project's file."""
        return _write(self.work / "sloth.toml", text)

    def load(self, **environ: str) -> Settings:
        """The settings."""
        return settings_for({**self.environ, **environ}, self.work)

    def app(self) -> App:
        """An app with them."""
        return App(self.load(), clock=lambda: 0.0, new_id=lambda: "0" * 32, getenv=self.environ.get)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty one."""
    return Place(tmp_path)


def test_defaults(place: Place) -> None:
    settings = place.load()
    assert (settings.store, settings.jobs, settings.keep, settings.lua_memory) == ("sqlite", 1, 50, 512 << 20)
    assert settings.shared_prefixes == ("cluster:",) and settings.timeout is None
    assert {origin.label for name, origin in settings.origins.items() if name != "home"} == {"default"}


def test_the_nearer_wins_and_is_named(place: Place) -> None:
    home = _write(place.home / "config.toml", "[run]\njobs = 2\nlock_timeout = '5s'\nlua_time = 3\n")
    project = place.project("[run]\njobs = 3\nlock_timeout = '1m'\n")
    settings = place.load(SLOTH_RUNNER_RUN__JOBS="4")
    assert (settings.jobs, settings.lock_timeout, settings.lua_time) == (4, 60.0, 3.0)
    origins = settings.origins
    assert origins["run.jobs"].label == "SLOTH_RUNNER_RUN__JOBS"
    assert origins["run.lock_timeout"].label == f"{project}:3"
    assert origins["run.lua_time"].label == f"{home}:4"
    assert settings.files == (home, project)


def test_every_setting_from_a_file_and_from_a_variable(place: Place) -> None:
    values = {
        "state.store": ('"memory"', "memory", "memory"),
        "state.password_env": ('"STORE_PASSWORD"', "STORE_PASSWORD", "STORE_PASSWORD"),
        "state.request_timeout": ('"2s"', "2s", 2.0),
        "state.shared_prefixes": ('["a:", "b:"]', "a:,b:", ("a:", "b:")),
        "state.history.keep": ("7", "7", 7),
        "state.history.days": ("1.5", "1.5", 1.5),
        "state.history.max": ("70", "70", 70),
        "state.history.bytes": ('"3MiB"', "3MiB", 3 << 20),
        "run.jobs": ("8", "8", 8),
        "run.forks": ("50", "50", 50),
        "run.lock_timeout": ('"1m30s"', "1m30s", 90.0),
        "run.timeout": ('"1h"', "1h", 3600.0),
        "inventory.command": ('"list | sort"', "list | sort", ("/bin/sh", "-c", "list | sort")),
        "run.lua_time": ('"2s"', "2s", 2.0),
        "run.lua_memory": ('"64MiB"', "64MiB", 64 << 20),
    }
    assert set(values) == set(FIELDS)
    for name, (_, text, value) in values.items():
        variable = "SLOTH_RUNNER_" + name.replace(".", "__").upper()
        given_max = {} if name != "state.history.max" else {"SLOTH_RUNNER_STATE__HISTORY__KEEP": "7"}
        assert place.load(**{variable: text, **given_max}).value(name) == value
    sections: dict[str, list[str]] = {}
    for name, (toml, _, _) in values.items():
        section, _, key = name.rpartition(".")
        sections.setdefault(section, []).append(f"{key} = {toml}")
    place.project("\n".join(f"[{section}]\n" + "\n".join(keys) for section, keys in sections.items()))
    settings = place.load()
    assert {name: settings.value(name) for name in FIELDS} == {name: v[2] for name, v in values.items()}


WRONG = {
    "unknown section": ("[sate]\n", 1, "did you mean 'state'?"),
    "unknown setting": ("stores = 1\n", 1, "unknown setting"),
    "no section": ("run = 1\n", 1, "[run]"),
    "unknown key": ("[run]\n\njbos = 1\n", 3, "did you mean 'jobs'?"),
    "unknown history key": ("[state.history]\nkepe = 1\n", 2, "did you mean 'keep'?"),
    "dotted key": ("state.history.kepe = 1\n", 1, "did you mean 'keep'?"),
    "type": ('[run]\njobs = "many"\n', 2, "whole number"),
    "boolean": ("[run]\njobs = true\n", 2, "whole number"),
    "range": ("[run]\njobs = 0\n", 2, "between 1"),
    "duration": ('[run]\nlock_timeout = "soon"\n', 2, "1h30m"),
    "zero": ("[run]\ntimeout = 0\n", 2, "more than 0"),
    "memory": ('[run]\nlua_memory = "1KiB"\n', 2, "8MiB"),
    "variable": ('[state]\npassword_env = "my password"\n', 2, "the name of a variable"),
    "relative store": ('[state]\nstore = "sqlite://here"\n', 2, "absolute"),
    "empty prefix": ('[state]\nshared_prefixes = [""]\n', 2, "every key"),
    "overlap": ('[state]\nshared_prefixes = ["a", "a:"]\n', 2, "overlap"),
    "twice": ('[state]\nshared_prefixes = ["a:", "a:"]\n', 2, "overlap"),
    "no list": ('[state]\nshared_prefixes = "a:"\n', 2, "a list"),
    "max below keep": ("[state.history]\nkeep = 100\nmax = 10\n", 3, "less than keep"),
    "a source without its field": ('[state.encryption]\nsource = "env"\n', 2, "needs variable"),
    "no source": ('[state.encryption]\nvariable = "K"\n', 2, "nothing would be sealed"),
    "unknown source": ('[state.encryption]\nsource = "enc"\n', 2, "did you mean 'env'?"),
    "unknown encryption key": (
        '[state.encryption]\nsource = "env"\nvarible = "K"\n',
        3,
        "did you mean 'variable'?",
    ),
    "a field of another source": (
        '[state.encryption]\nsource = "env"\nvariable = "K"\nfile = "k"\n',
        4,
        "takes no file",
    ),
    "variable and file": (
        '[state.encryption]\nsource = "passphrase"\nvariable = "K"\nfile = "k"\n',
        4,
        "exclude each other",
    ),
    "variable with a value": (
        '[state.encryption]\nsource = "env"\nvariable = "a=b"\n',
        3,
        "name of a variable",
    ),
    "no command": (
        '[state.encryption]\nsource = "command"\ncommand = []\n',
        3,
        "a program and its arguments",
    ),
    "bad quotes": ('[state.encryption]\nsource = "command"\ncommand = "a \'b"\n', 3, "No closing quotation"),
    "bad endpoint": (
        '[state.encryption]\nsource = "aws-kms"\nkey = "a"\nendpoint = "here"\n',
        4,
        "a URL such as",
    ),
    "no text": ('[state.encryption]\nsource = "keyfile"\nfile = 5\n', 3, "file is a text"),
    "encryption as a text": ('[state]\nencryption = "env"\n', 2, "unknown key"),
    "agent name": ('[agents]\nWEB = "local://"\n', 2, "'WEB' is not an agent name"),
    "reserved": ('[agents]\nlocal = "local://"\n', 2, "reserved"),
    "agent url": ('[agents]\nweb = "here"\n', 2, "URL"),
    "agent type": ("[agents]\nweb = 5\n", 2, "a URL or a table"),
    "agent key": ('[agents]\nweb = { ulr = "local://" }\n', 2, "did you mean 'url'?"),
    "agent groups": ('[agents]\nweb = { url = "local://", groups = "db" }\n', 2, "a list of names"),
    "agent values": ('[agents]\nweb = { url = "local://", values = 1 }\n', 2, "a table"),
    "group key": ("[groups.db]\nvalue = {}\n", 1, "did you mean 'values'?"),
    "group type": ("[groups]\ndb = 1\n", 2, "a table"),
    "syntax": ("[run]\njobs = = 1\n", 2, "not TOML"),
    "no quotes": ("[state]\nstore = sqlite\n", 2, 'texts stand in quotes: store = "sqlite"'),
    "no quotes, a path": ("[state]\nstore = /srv/state # here\n", 2, 'store = "/srv/state"'),
    "YAML": ("state:\n  store: sqlite\n", 1, "how YAML is written"),
    "an address alone": ('[agents]\nweb = "root@10.0.0.5"\n', 2, 'web = "ssh://root@10.0.0.5"'),
    "string over lines": (
        '[groups.db]\nvalues = { a = """\njobs = 1\n""" }\n[run]\nx = 1\n',
        6,
        "unknown key 'x'",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_shown_where_it_is(place: Place, name: str) -> None:
    text, line, says = WRONG[name]
    file = place.project(text)
    with pytest.raises(BadConfig) as caught:
        place.load()
    error = caught.value
    assert (error.file, error.line) == (str(file), line)
    assert error.source == text.splitlines()[line - 1]
    assert says in " ".join([error.message, *error.next])
    assert error.unchanged and error.exit_code == 5


def test_a_file_of_another_system_is_read(place: Place) -> None:
    (place.work / "sloth.toml").write_bytes(b"\xef\xbb\xbf[run]\r\njobs = 3\r\n")
    assert place.load().jobs == 3
    (place.work / "sloth.toml").write_bytes(b'[agents]\nweb = "\xe9"\n')
    with pytest.raises(BadConfig, match="a byte in it is not UTF-8"):
        place.load()


def test_columns_point_at_the_word(place: Place) -> None:
    text = '[agents]\nweb = { url = "local://", gruops = [] }\n'
    file = read_config(place.project(text))
    assert file is not None
    origin = file.origin("agents", "web", "gruops")
    assert text.splitlines()[1][(origin.column or 0) - 1 :].startswith("gruops")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("SLOTH_RUNNER_RUN__JBOS", "1", "SLOTH_RUNNER_RUN__JOBS"),
        ("SLOTH_RUNNER_STORE", "memory", "no setting"),
        ("SLOTH_RUNNER_RUN__JOBS", "-1", "whole number"),
        ("SLOTH_RUNNER_STATE__HISTORY__DAYS", "long", "number of days"),
        ("SLOTH_RUNNER_STATE__ENCRYPTION__SOURCE", "env", "needs variable"),
        ("SLOTH_RUNNER_STATE__SHARED_PREFIXES", '["a:"]', "with commas alone"),
        ("SLOTH_RUNNER_STATE__SHARED_PREFIXES", '"a:","b:"', "with commas alone"),
        ("SLOTH_RUNNER_AGENTS__LOCAL", "local://", "reserved"),
        ("SLOTH_RUNNER_GROUPS__DB", "1", "no setting"),
        ("SLOTH_RUNNER_", "1", "no setting"),
    ],
)
def test_wrong_variables_are_named(place: Place, variable: str, value: str, says: str) -> None:
    with pytest.raises(BadConfig) as caught:
        place.load(**{variable: value})
    assert caught.value.message.startswith(f"{variable}: ")
    assert says in " ".join([caught.value.message, *caught.value.next])


def test_a_store_in_memory_is_sealed_too(place: Place) -> None:
    place.project("[state]\nstore = 'memory'\n[state.encryption]\nsource = 'env'\nvariable = 'K'\n")
    app = App(
        place.load(),
        clock=lambda: 0.0,
        new_id=lambda: "0" * 32,
        getenv=place.environ.get,
        environ={"K": "ab" * 32},
    )
    app.state().set("a", "canary")
    other = app.fresh_store()
    assert [entry.key for entry in other.scan("local\x1fk")] == ["local\x1fk\x1fa"]
    assert app.namespaces() == ["local"] and app.encrypted
    assert not any(b"canary" in entry.value for entry in getattr(other, "inner").scan())  # noqa: B009 - not a Store's


def test_two_sources_are_never_mixed(place: Place) -> None:
    _write(place.home / "config.toml", "[state.encryption]\nsource = 'keyfile'\nfile = '~/key'\n")
    mine = place.load(HOME="/home/me").encryption
    assert mine is not None and mine.file == Path("/home/me/key")
    place.project("[state.encryption]\nsource = 'env'\nvariable = 'K'\n")
    theirs = place.load().encryption
    assert theirs is not None and (theirs.source, theirs.variable, theirs.file) == ("env", "K", None)
    settings = place.load(SLOTH_RUNNER_STATE__ENCRYPTION__VARIABLE="OTHER")
    assert settings.value("state.encryption.variable") == "OTHER"
    origins = {name: o.label for name, o in settings.origins.items() if "encryption" in name}
    assert origins == {
        "state.encryption.source": f"{place.work / 'sloth.toml'}:2",
        "state.encryption.variable": "SLOTH_RUNNER_STATE__ENCRYPTION__VARIABLE",
    }
    place.project("[state.encryption]\nsource = 'keyfile'\nfile = 'sub/key'\n")
    relative = place.load().encryption
    assert relative is not None and relative.file == place.work / "sub" / "key"


@pytest.mark.parametrize("number", range(4))
def test_the_page_s_examples_are_understood(place: Place, number: int) -> None:
    page = (Path(__file__).parent.parent / "docs" / "encryption.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, re.S)
    assert len(blocks) == 4
    place.project(blocks[number])
    encryption = place.load().encryption
    assert encryption is not None and encryption.source in page


def test_the_search_stops_at_the_repository(tmp_path: Path) -> None:
    outer = _write(tmp_path / "sloth.toml", "")
    inner = tmp_path / "repo" / "a" / "b"
    inner.mkdir(parents=True)
    assert find_project(inner) == outer
    (tmp_path / "repo" / ".git").mkdir()
    assert find_project(inner) is None
    at_root = _write(tmp_path / "repo" / "sloth.toml", "")
    assert find_project(inner) == at_root
    assert find_project(_write(inner / "sloth.toml", "").parent) == inner / "sloth.toml"


def test_the_task_file_s_folder_counts_not_the_current_one(place: Place, tmp_path: Path) -> None:
    place.project("[run]\njobs = 2\n")
    other = _write(tmp_path / "other" / "sloth.toml", "[run]\njobs = 5\n")
    assert settings_for(place.environ, place.work, file_folder=other.parent).jobs == 5
    assert settings_for(place.environ, place.work, config=Path("../other/sloth.toml")).jobs == 5
    with pytest.raises(FileMissing) as caught:
        settings_for(place.environ, place.work, config=Path("sloth.tml"))
    assert caught.value.next == ["did you mean 'sloth.toml'?"]


def test_home(tmp_path: Path) -> None:
    def home(**environ: str) -> Path:
        return settings_for(environ, tmp_path).home

    assert home(HOME="/h") == Path("/h/.sloth-runner")
    assert home(HOME="/h", SLOTH_RUNNER_HOME="") == Path("/h/.sloth-runner")
    assert home(HOME="/h", SLOTH_RUNNER_HOME="sub/x") == tmp_path / "sub/x"
    assert home(HOME="/h", SLOTH_RUNNER_HOME="~/x") == Path("/h/x")
    assert home(HOME="/h", SLOTH_RUNNER_HOME="/abs") == Path("/abs")
    assert home().is_absolute()
    with pytest.raises(BadConfig):
        home(HOME="relative")
    with pytest.raises(BadConfig):
        home(HOME="/h", SLOTH_RUNNER_HOME="~bob/x")


def test_nobody_s_home(tmp_path: Path) -> None:
    """A user without an entry and without HOME is told what to set."""
    if os.getuid() != 0:
        pytest.skip("only root can become somebody unknown")
    script = (
        "import os, pwd; from pathlib import Path; from sloth_runner.app import settings_for;"
        "os.setuid(54321); settings_for({}, Path('/'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd="/")
    assert "neither SLOTH_RUNNER_HOME nor HOME is set" in done.stderr, done.stderr


def test_agents_groups_and_their_values(place: Place) -> None:
    place.project(
        '[agents]\nweb1 = "local://"\nweb2 = { url = "local://", groups = ["web", "eu"], '
        "values = { a = { y = 2 } } }\n"
        'db1 = { url = "ssh://db", groups = ["eu"] }\n'
        "[groups.web]\nvalues = { a = { x = 1, y = 1 } }\n[groups.eu]\nvalues = { zone = 'eu' }\n"
    )
    app = place.app()
    assert app.values_for("web2") == {"a": {"x": 1, "y": 2}, "zone": "eu"}
    assert app.values_for("local") == {}
    assert app.expand_agents("web*") == ["web1", "web2"]
    assert app.expand_agents("@web") == ["web2"]
    assert app.expand_agents("local") == app.expand_agents("local://") == ["local"]
    assert app.require_agent("db1") == "db1"
    assert app.expand_agents("@eu") == ["db1", "web2"]
    assert app.expand_agents("@eu", "!db*") == ["web2"]
    assert app.expand_agents("!web1") == ["db1", "web2"]
    assert app.expand_agents("ssh://db") == ["db1"], "an address that has a name"
    assert app.expand_agents("ssh://me@elsewhere:2222") == ["elsewhere-2222"]
    assert app.agent("elsewhere-2222").url == "ssh://me@elsewhere:2222"
    with pytest.raises(BadConfig, match="would be called 'elsewhere-2222'"):
        app.expand_agents("ssh://you@elsewhere:2222")
    with pytest.raises(BadConfig, match="no name can be made"):
        app.expand_agents("ssh://[::1]")
    for nowhere in (
        "ftp://db",
        "ssh://",
        "ssh://me:secret@db",
        "ssh://db/path",
        "local://x",
        "ssh://-oProxyCommand=x",
        "ssh://%2DoProxyCommand=x@host",
        "ssh://x;touch${IFS}here",
        "ssh://$(id)",
        "ssh://`id`@host",
        "ssh://ann%3Btouch%20here@host",
        "ssh://ann%0Aid@host",
        "ssh://ann%5C@host",
    ):
        with pytest.raises(BadConfig) as caught:
            app.expand_agents(nowhere)
        assert "secret" not in str(caught.value.message)
    for unknown in ("web", "@db", "x*"):
        with pytest.raises(AgentUnknown):
            app.expand_agents(unknown)
    with pytest.raises(BadName):
        app.require_agent("../web1")


def test_a_memory_store_is_one_store(place: Place) -> None:
    place.environ["SLOTH_RUNNER_STATE__STORE"] = "memory"
    app = place.app()
    app.state("web1").set("k", "v")
    fresh = app.fresh_store()
    fresh.close()
    assert app.writer(app.fresh_store()).store.get("web1\x1fk\x1fk") is not None
    assert app.namespaces() == ["web1"] and app.known_agents() == ["local", "web1"]
    assert app.file_bytes("web1") is None
    app.state(shared=True).set("cluster:x", "1")
    assert app.namespaces() == ["_shared", "web1"]


def test_an_unknown_store_blames_its_line(place: Place) -> None:
    file = place.project('[state]\nstore = "floppy://a"\n')
    with pytest.raises(BadConfig) as caught:
        place.app().store()
    assert (caught.value.file, caught.value.line) == (str(file), 2)


def test_a_process_is_told_from_a_later_one() -> None:
    boot, started = processes.identity()
    assert boot and started == processes.start_time(os.getpid())
    done = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, done.pid, os.WEXITED | os.WNOWAIT)
    assert processes.start_time(done.pid) is None, "it has ended, though nobody has asked for it yet"
    done.wait()
    assert processes.start_time(done.pid) is None


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for name in FIELDS:
        try:
            FIELDS[name].parse(text, True)
        except ValueError as error:
            assert str(error)
