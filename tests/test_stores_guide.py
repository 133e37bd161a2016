"""The comparison of stores in docs/stores/README.md says what the stores say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sloth_runner.state.backends import SCHEMES, Options, open_store
from sloth_runner.state.store import Traits

FOLDER = Path(__file__).parents[1] / "docs" / "stores"
URLS = {
    "SQLite": "sqlite",
    "PostgreSQL": "postgres://h/d",
    "etcd": "etcd://h",
    "Consul": "consul://h:8500/p",
    "S3": "s3://bucket/p?region=eu-west-1&endpoint=http://127.0.0.1:1",
}
ENVIRON = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, str]]:
    """The table: what is compared, and by store."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8").partition("## Side by side")[2]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    names = [cell.strip() for cell in lines[0][1:]]
    assert names == list(URLS)
    return {
        line[0].strip(): dict(zip(names, (cell.strip() for cell in line[1:]), strict=True))
        for line in lines[2:]
    }


def traits(name: str, folder: Path) -> Traits:
    store = open_store(URLS[name], Options(folder, 1.0, environ=ENVIRON))
    store.close()
    return store.traits


@pytest.mark.parametrize("name", URLS)
def test_numbers(rows: dict[str, dict[str, str]], name: str, tmp_path: Path) -> None:
    found = traits(name, tmp_path)
    assert rows["changes in a commit"][name] == f"{found.max_changes:,}"
    assert rows["one value, bytes"][name] == f"{found.max_value:,}"
    shortest = f"{found.shortest_lease:g} s" if found.shortest_lease else "none"
    assert rows["shortest lease"][name].partition(",")[0] == shortest
    if not found.embedded:
        assert rows["tasks write at once over"][name].partition(" ")[0] == str(found.concurrency)
    assert ("transaction" in rows["an import or export is"][name]) is (found.bulk is not None)


def test_every_store_is_named() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for scheme in SCHEMES:
        assert f"`{scheme}" in text or scheme == "postgresql"


def test_links_lead_somewhere() -> None:
    for page in FOLDER.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
