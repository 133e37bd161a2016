"""Why: a module is tested on real files through the real local transport, with every operation on record."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sloth_runner.engine.drive import Drive
from sloth_runner.model import Outcome
from sloth_runner.modules import Context, check_args, modules, read_source
from sloth_runner.ops import Batch, Exec, mutation
from sloth_runner.transport.local import LocalTransport

if TYPE_CHECKING:
    from sloth_runner.ops import Op, Result


class Killed(BaseException):
    """The process ended here."""


class Machine:
    """A target (``root``), a task file's folder (``source``), and what calls remembered.

    ``operations`` are those of the last call; ``killed_after`` stops it once so many of them changed something.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "target"
        self.source = folder / "source"
        self.root.mkdir()
        self.source.mkdir()
        self.memory: dict[str, Mapping[str, Any]] = {}
        self.operations: list[Op] = []
        self.mutations: list[str] = []
        self.output: list[tuple[str, bytes]] = []
        self._transport = LocalTransport(os.environ, grace=0.2)
        self._killed_after: int | None = None
        self._count = 0

    def call(
        self,
        name: str,
        args: Mapping[str, Any],
        *,
        killed_after: int | None = None,
        context: Context | None = None,
    ) -> Outcome:
        """Call a module as the engine does; what it remembers is kept."""
        module = modules()[name]
        self.operations, self.output, self._count = [], [], 0
        self._killed_after = killed_after
        steps = module.run(check_args(module, args), context or self.context())
        drive = Drive(steps, self._at_once, self.memory.get, lambda path: read_source(str(self.source), path))
        try:
            op = drive.advance()
            if op is not None:
                asyncio.run(self._wait(drive, op))
        finally:
            self.mutations = drive.mutations
        assert drive.outcome is not None
        if drive.outcome.remember is not None:
            self.memory[drive.outcome.remember[0]] = drive.outcome.remember[1]
        return drive.outcome

    def context(self, **given: Any) -> Context:
        """A call on this machine, from the task file's folder."""
        return Context(str(self.source), None, {}, "local", True)._replace(**given)

    def changing(self) -> list[str]:
        """The names of the last call's operations that may change something."""
        return [
            type(op).__name__
            for op in self.operations
            if type(op).__name__ in ("Write", "MakeDir", "SetAttrs", "Remove")
            or (isinstance(op, Exec) and op.mutating)
        ]

    def _at_once(self, op: Op) -> Result | None:
        result = self._transport.at_once(op)
        if result is not None:
            self._done(op, result)
        return result

    async def _wait(self, drive: Drive, op: Op | None) -> None:
        while op is not None:
            self.operations.append(op)
            op = await drive.perform(
                self._transport, op, lambda name, piece: self.output.append((name, piece))
            )

    def _done(self, op: Op, result: Result) -> None:
        self.operations.extend(op.ops if isinstance(op, Batch) else [op])
        self._count += bool(mutation(op, result))
        if self._killed_after is not None and self._count >= self._killed_after:
            raise Killed


def make_tree(root: Path, tree: Mapping[str, Any]) -> None:
    """Make files (a text, or content and mode), folders ({folder: mode}) and links ({link: target})."""
    for name, what in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, dict) and "link" in what:
            path.symlink_to(what["link"])
        elif isinstance(what, dict) and "folder" in what:
            path.mkdir(exist_ok=True)
            path.chmod(int(what["folder"], 8))
        elif isinstance(what, dict) and "fifo" in what:
            os.mkfifo(path)
        else:
            content, mode = (what["content"], what["mode"]) if isinstance(what, dict) else (what, "0644")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            path.chmod(int(mode, 8))


def read_tree(root: Path) -> dict[str, Any]:
    """The tree again, in the same form; folders 0755 and files 0644 in short, folders that hold something not."""
    tree: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name, status = str(path.relative_to(root)), path.lstat()
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        if path.is_symlink():
            tree[name] = {"link": str(path.readlink())}
        elif path.is_dir():
            if mode != "0755" or not any(path.iterdir()):
                tree[name] = {"folder": mode}
        elif path.is_fifo():
            tree[name] = {"fifo": True}
        else:
            raw = path.read_bytes()
            content: str | bytes = raw
            if b"\0" not in raw and raw.decode("utf-8", "ignore").encode() == raw:
                content = raw.decode()
            tree[name] = content if mode == "0644" else {"content": content, "mode": mode}
    return tree
