"""Why: a large document must not need as much memory again to be printed, and yet be the same text."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.documents import TOKENS, dumped, pieces

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text().filter(lambda name: name not in ("format", "version")), JSON), st.booleans())
def test_a_document_is_json_indented_by_two(body: dict[str, object], ascii_only: bool) -> None:
    whole = {"format": "sloth-runner/probe", "version": 1, **body}
    text = dumped("probe", body, ascii_only=ascii_only)
    assert text == json.dumps(whole, ensure_ascii=ascii_only, indent=2)


def test_no_piece_of_a_large_document_is_large() -> None:
    rows = [{"name": f"row {number}", "value": "x" * 10} for number in range(10 * TOKENS)]
    made = list(pieces("probe", {"rows": rows}))
    assert max(map(len, made)) < sum(map(len, made)) / 20
    assert json.loads("".join(made))["rows"] == rows
