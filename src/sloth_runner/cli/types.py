"""Why: editors and the documentation get what they know of modules from the descriptions that the code checks by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sloth_runner.cli.base import output_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import PATH, argument, command, option
from sloth_runner.errors import FileMissing, UsageError

FOLDER = ".sloth/types"


@command("types")
@argument("folder", metavar="[DIR]", required=False, type=PATH)
@option("--docs", type=PATH, metavar="DIR", help="Write the reference pages into DIR.")
@option("--stdout", is_flag=True, help="Print the types instead of writing files.")
@output_option
def types(shell: Shell, folder: Path | None, docs: Path | None, stdout: bool) -> None:
    """Write the types of task files for lua-language-server into DIR (.sloth/types), one file a topic.

    A file of that name which was not made by this command is never overwritten. A .luarc.json that names the
    folder in workspace.library makes an editor use them; sloth-runner init writes one.
    """
    if stdout and (folder is not None or docs is not None):
        raise UsageError("--stdout prints the types: it takes neither a folder nor --docs")
    from sloth_runner.reference import markdown, meta

    if stdout:
        shell.write("\n".join(meta.files().values()))
        return
    written: list[Path] = []
    if docs is not None:
        written += write_files(shell.cwd / docs, markdown.files(), markdown.MARK)
    if folder is not None or docs is None:
        written += write_files(shell.cwd / (folder or FOLDER), meta.files(), meta.MARK)
    if shell.structured:
        shell.document("types", {"files": [str(path) for path in written]})
        return
    for path in written:
        shell.print(str(path))


def write_files(folder: Path, files: Mapping[str, str], mark: str) -> list[Path]:
    """Write files, and remove those of an earlier version (they bear the ``mark``); the paths written.

    Raises UsageError, before anything is written, if a file of that name does not bear it; FileMissing.
    """
    for name in files:
        path = folder / name
        if path.exists() and mark not in _text(path):
            raise UsageError(
                f"{path} was not made by sloth-runner types",
                unchanged=["nothing was written"],
                next=["move it away, or choose another folder"],
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.glob("*" + Path(next(iter(files))).suffix)):
            if old.name not in files and mark in _text(old):
                old.unlink()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileMissing(f"{error.filename or folder} can't be written", system=error.strerror) from error
    return [folder / name for name in files]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
