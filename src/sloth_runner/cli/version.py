"""Why: a report begins with which version of what."""

from __future__ import annotations

import platform
from importlib import metadata

from sloth_runner import __version__
from sloth_runner.cli.base import output_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import command


@command("version")
@output_option
def version(shell: Shell) -> None:
    """Print the version of sloth-runner and of what it stands on."""
    from sloth_runner.state.backends.sqlite_file import library_version

    found = {
        "sloth_runner": __version__,
        "python": platform.python_version(),
        "sqlite": library_version(),
        "lupa": metadata.version("lupa"),
        "platform": platform.platform(terse=True),
    }
    if shell.structured:
        shell.document("version", found)
        return
    for name, value in found.items():
        shell.print(f"{name.replace('_', '-')} {value}")
