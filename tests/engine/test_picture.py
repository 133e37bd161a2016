"""What is below a path is what a look at all paths would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.engine.picture import Node, Nodes
from sloth_runner.ops import FILE, Found

PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))
STEPS = st.lists(st.tuples(st.sampled_from(["put", "clear", "keep", "put back"]), PATHS), max_size=24)


@given(STEPS)
def test_below_is_what_begins_with_it(steps: list[tuple[str, str]]) -> None:
    nodes, plain, kept = Nodes(), dict[str, Node](), dict[str, Node]()
    for number, (what, path) in enumerate(steps):
        start = path + "/"
        if what == "put":
            nodes[path] = plain[path] = Node(Found(FILE, size=number))
        elif what == "clear":
            nodes.clear(path)
            plain = {name: node for name, node in plain.items() if not name.startswith(start)}
        elif what == "keep":
            kept = dict(nodes.items())
        else:
            nodes.put_back(kept)
            plain = dict(kept)
        assert dict(nodes.items()) == plain
        assert bool(nodes) == bool(plain)
        assert dict(nodes.below(path)) == {name: n for name, n in plain.items() if name.startswith(start)}
        assert dict(nodes.below("/")) == plain
        assert nodes.get(path) == plain.get(path)
