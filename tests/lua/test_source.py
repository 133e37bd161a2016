"""How the text of a task file is read: which lines may hold a secret, and what no end is found of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.lua.source import hidden_lines, with_frames

CALL = """task({name = "t", run = function()
  local a = cmd("true")
  file.write({
    dest = "/x",
    content = [[
      secret (]] .. ")",
    sensitive = true,
  }); file.write({
    dest = "/y", -- sensitive
  })
end})"""
IN_A_LOCK = """state.with_lock("a", function()
  if x then print("s") end
  state.set("k",
    "secret", {sensitive = true})
  for i = 1, 2 do repeat print(i) until true end
end)"""
FUNCTION_INSIDE = """cmd({
  only_if = function()
    return "s"
  end,
  sensitive = true })
print(1)"""


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("print(1)\nprint(2)", set()),
        ("print(1)\nx = 'sensitive'\nprint(2)", {2}),
        (CALL, {3, 4, 5, 6, 7, 8, 9}),
        (IN_A_LOCK, {3, 4}),
        (FUNCTION_INSIDE, {1, 2, 3, 4, 5}),
        ("f(\n1,\nfunction() g({\n2, sensitive = true}) end)", {3, 4}),
        ("f('--[[', \n{sensitive = true,\n'x'})", {1, 2, 3}),
        ("f(\n sensitive = true,\n 'open", {1, 2, 3}),
        ("end ) sensitive", {1}),
    ],
)
def test_the_lines_of_a_call_that_says_sensitive_are_hidden(text: str, lines: set[int]) -> None:
    assert hidden_lines(text) == lines


@given(
    st.lists(st.sampled_from(["(", ")", "{", "}", "end", "function", "if", "sensitive", "\n", "'", "--[["]))
)
def test_a_line_that_says_it_is_hidden_whatever_stands_around(pieces: list[str]) -> None:
    text = " ".join(pieces)
    said = {n for n, line in enumerate(text.split("\n"), 1) if "sensitive" in line}
    assert said <= hidden_lines(text)


@pytest.mark.parametrize("piece", ["[==[", "--[==[", '"\\', "'\\", '"', "function ", "("])
def test_a_text_that_nothing_ends_is_read_once(piece: str) -> None:
    text = f"sensitive {piece * 50_001}"
    assert with_frames(text).endswith(text)
    assert hidden_lines(text) == {1}
