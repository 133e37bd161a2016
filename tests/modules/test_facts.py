"""Why: facts are told by the real machine; what they look like is what their description says, and no more."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.agent.facts import SECTIONS as GATHERED
from sloth_runner.agent.perform import perform
from sloth_runner.engine.rehearsal import Rehearsal
from sloth_runner.modules.facts import FACTS, RECORDS, SECTIONS
from sloth_runner.ops import Facts, Gathered, OpError, mutates
from sloth_runner.transport.local import LocalTransport

KNOWN = {record.name: record for record in RECORDS}
WORDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "number": (int, float),
}


def gathered(section: str) -> Any:
    result = perform(Facts(section))
    assert isinstance(result, Gathered)
    return result.value


def fits(type_: str, value: Any, where: str) -> None:
    """Assert that a value is what a type of the description says, field by field."""
    table = re.fullmatch(r"table<string, (.*)>", type_)
    if table:
        assert isinstance(value, dict), where
        for key, item in value.items():
            assert isinstance(key, str)
            fits(table[1], item, f"{where}.{key}")
    elif type_.endswith("[]"):
        assert isinstance(value, list), where
        for number, item in enumerate(value):
            fits(type_[:-2], item, f"{where}[{number}]")
    elif type_ in KNOWN:
        fields = {field.name: field for field in KNOWN[type_].fields}
        assert isinstance(value, dict), where
        assert set(value) <= set(fields), where
        assert {name for name, field in fields.items() if not field.optional} <= set(value), where
        for name, item in value.items():
            fits(fields[name].type, item, f"{where}.{name}")
    elif type_.startswith('"'):
        assert value in [word.strip('"') for word in type_.split("|")], where
    else:
        assert isinstance(value, WORDS[type_]), where
        assert type_ == "boolean" or not isinstance(value, bool), where


def test_every_section_is_described() -> None:
    assert tuple(GATHERED) == SECTIONS


@pytest.mark.parametrize("section", [field.name for field in FACTS.fields if field.name != "packages"])
def test_a_section_is_what_its_description_says(section: str) -> None:
    types = {field.name: field.type for field in FACTS.fields}
    fits(types[section], gathered(section), section)


@pytest.mark.skipif(not Path("/var/lib/dpkg/status").exists(), reason="this system has no dpkg")
def test_packages_are_those_of_dpkg() -> None:
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${binary:Package}\t${Version}\t${db:Status-Abbrev}\t${Architecture}\n"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    native = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()
    expected = {}
    for line in shown.splitlines():
        name, version, status, _ = line.split("\t")
        if status[1] == "i":
            expected[name.removesuffix(f":{native}")] = version
    assert gathered("packages") == expected


AGREE: dict[str, Callable[[], Any]] = {
    "hostname": socket.gethostname,
    "arch": lambda: os.uname().machine,
    "kernel": lambda: Path("/proc/sys/kernel/osrelease").read_text().strip(),
}


@pytest.mark.parametrize("section", AGREE)
def test_other_ways_to_ask_agree(section: str) -> None:
    assert gathered(section) == AGREE[section]()


def test_interfaces_have_all_their_addresses() -> None:
    lo = gathered("interfaces")["lo"]
    assert {"address": "127.0.0.1", "prefix": 8, "family": "ipv4", "scope": "host"} in lo["addresses"]
    assert lo["up"] is True and lo["mtu"] > 1000


def test_memory_and_root() -> None:
    memory = gathered("memory")
    assert 0 < memory["available"] <= memory["total"]
    assert gathered("users")["root"]["uid"] == 0 and gathered("groups")["root"]["gid"] == 0
    assert any(mount["path"] == "/" for mount in gathered("mounts"))


def test_an_unknown_section_is_an_error() -> None:
    with pytest.raises(OpError, match="is no section of facts"):
        perform(Facts("memry"))


def test_a_rehearsal_gathers_too() -> None:
    assert not mutates(Facts("memory"))
    rehearsal = Rehearsal(LocalTransport(os.environ))
    result = rehearsal.at_once(Facts("cpu"))
    assert isinstance(result, Gathered)
    fits("sloth.facts.Cpu", result.value, "cpu")
