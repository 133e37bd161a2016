"""Why: a box must say which of several things of one name it is."""

from __future__ import annotations

from sloth_runner.web.graphs import LETTERS, layout


def node(name: str, where: str, kind: str = "task") -> dict[str, str | None]:
    """A node of the document of ``stack graph``."""
    return {"id": f"{kind}:{name}@{where}", "kind": kind, "name": name, "where": where, "status": None}


def test_what_is_on_several_machines_says_on_which() -> None:
    long = "a-task-with-a-name-that-is-cut"
    nodes = [
        node("web", "web1"),
        node("web", "web2"),
        node("build", "local"),
        node(long, "a"),
        node(long, "b"),
    ]
    texts = [box.text for box in layout(nodes, []).boxes]
    assert texts[:3] == ["web @ web1", "web @ web2", "build"]
    assert texts[3].endswith("@ a") and texts[4].endswith("@ b") and texts[3].startswith("…")
    assert max(map(len, texts)) <= LETTERS


def test_a_resource_is_not_taken_for_a_task_of_its_name() -> None:
    nodes = [node("seen", "local"), node("seen", "local", "key")]
    assert [box.text for box in layout(nodes, []).boxes] == ["seen", "seen"]
