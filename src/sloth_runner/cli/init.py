"""Why: a start that works at once is better than a page about starting."""

from __future__ import annotations

import shlex
from pathlib import Path

from sloth_runner.cli.base import output_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.types import FOLDER, write_files
from sloth_runner.cli.words import PATH, argument, command
from sloth_runner.errors import FileMissing, UsageError
from sloth_runner.plain import Final

FILES: Final = {
    "sloth.toml": "sloth.toml",
    "values.yaml": "values.yaml",
    "hello.sloth": "hello.sloth",
    ".luarc.json": "luarc.json",
}
"""What is made, and from what in the package's folder ``starter``."""


@command("init")
@argument("folder", metavar="[DIR]", default=Path(), type=PATH)
@output_option
def init(shell: Shell, folder: Path) -> None:
    """Begin a project in DIR (here): sloth.toml, values.yaml, hello.sloth, .luarc.json with types for editors.

    What is there already is kept as it is.
    """
    from sloth_runner.reference import meta

    target = shell.cwd / folder
    if target.exists() and not target.is_dir():
        raise UsageError(f"{folder} is no folder", unchanged=["nothing was written"])
    made, kept = _starter(target)
    types = write_files(target / FOLDER, meta.files(), meta.MARK)
    steps = ["sloth-runner run hello.sloth --values values.yaml", "sloth-runner modules"]
    if folder != Path():
        steps.insert(0, f"cd {shlex.quote(str(folder))}")
    if shell.structured:
        names = [str(path) for path in (*made, *types)]
        shell.document(
            "init", {"folder": str(target), "made": names, "kept": list(map(str, kept)), "next": steps}
        )
        return
    for path in made:
        shell.print(f"made {path}")
    shell.print(f"made {target / FOLDER} ({len(types)} files)")
    for path in kept:
        shell.print(f"kept {path}: it was there already")
    for number, step in enumerate(steps):
        shell.say(f"{'next: ' if not number else '      '}{step}")


def _starter(target: Path) -> tuple[list[Path], list[Path]]:
    """The files that were made and those that were there. Raises FileMissing for a folder that can't be written."""
    from importlib.resources import files

    source = files("sloth_runner") / "starter"
    made, kept = [], []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, original in FILES.items():
            text = (source / original).read_text(encoding="utf-8")
            try:
                with (target / name).open("x", encoding="utf-8") as file:
                    file.write(text)
            except FileExistsError:
                kept.append(target / name)
            else:
                made.append(target / name)
    except OSError as error:
        raise FileMissing(f"{error.filename or target} can't be written", system=error.strerror) from error
    return made, kept
