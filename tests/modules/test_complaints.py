"""Why: of what a program says, the line that tells what went wrong heads the error, wherever it stands."""

from __future__ import annotations

import pytest

from sloth_runner.modules.complaints import headline

SAID = {
    "the last line": (["reading", "no such user"], "no such user"),
    "a quoted line with a mark (visudo)": (["stdin:2:4: error", "xx = = y", "   ^"], "stdin:2:4: error"),
    "several of them": (["stdin:1:5: no", "a b c", "    ^", "stdin:2:4: no", "d", "~~^"], "stdin:2:4: no"),
    "a line that goes on (mount)": (["mount: no device.", "       dmesg(1) may tell"], "mount: no device."),
    "a traceback": (["Traceback:", '  File "x"', "ValueError: it"], "ValueError: it"),
    "a colon, and then what it is about": (["E: Broken:", "  one, two", "", "  three"], "E: Broken: one, two"),
    "before how it is used": (["x: no -q", "Usage: x", "  x -D", "", "Options:", "  -a  all"], "x: no -q"),
    "after how it is used": (["usage: x [-a]", "x: error: no option -q"], "x: error: no option -q"),
    "before one line of how it is used": (["x: no -q", "Usage: x"], "x: no -q"),
    "a colon before how it is used": (["x: failed:", "  why", "usage: x"], "x: failed: why"),
    "between, after how it is used": (["reading", "usage: x [-a]", "x: error: no -q"], "x: error: no -q"),
    "only how it is used": (["Usage: x", "  -a  all"], "Usage: x"),
    "where more is told (systemctl)": (["x failed.", 'See "systemctl status x" for details.'], "x failed."),
    "only where more is told": (["See 'x --help'."], "See 'x --help'."),
    "only where more is told, at length": (["See 'x --help'.", "  and more"], "See 'x --help'."),
    "and then nothing": (["x failed.", " "], "x failed."),
    "nothing else": (["  all of it", "\tis further in"], "is further in"),
    "a mark alone": (["^"], "^"),
    "nothing": ([], ""),
}  # fmt: skip


@pytest.mark.parametrize("what", SAID)
def test_what_heads_an_error(what: str) -> None:
    lines, expected = SAID[what]
    assert headline(lines) == expected
