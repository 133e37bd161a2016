"""Why: the program as its users have it: a process with a home folder, arguments, output and an exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sloth_runner.app import App, settings_for

PROGRAM = [sys.executable, "-m", "sloth_runner"]
ENCRYPTION = {
    "SLOTH_RUNNER_STATE__ENCRYPTION__SOURCE": "env",
    "SLOTH_RUNNER_STATE__ENCRYPTION__VARIABLE": "SLOTH_KEY",
    "SLOTH_KEY": "5a" * 32,
}
"""What seals a state under a key in a variable."""


class Said(NamedTuple):
    """What a finished process left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)


class Home:
    """A user with an empty home folder, who works in ``cwd``."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.cwd = folder / "work"
        self.cwd.mkdir(parents=True, exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "PYTHONPATH")}
        self.env = {**kept, "HOME": str(folder), "USER": "ann", **(env or {})}

    @property
    def state_folder(self) -> Path:
        """Where the default store keeps its files."""
        return self.folder / ".sloth-runner" / "state"

    def file(self, name: str, text: str) -> Path:
        """Write a file into the working folder."""
        path = self.cwd / name
        path.write_text(text)
        return path

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Begin ``sloth-runner ARGS``."""
        pipe = subprocess.PIPE
        argv = [*PROGRAM, *args]
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=self.env, cwd=self.cwd
        )

    def run(self, *args: str, code: int | None = 0) -> Said:
        """Run ``sloth-runner ARGS`` to its end; ``code`` is the exit status it must have (None: any)."""
        with self.start(*args) as process:
            out, err = process.communicate(timeout=120)
        said = Said(process.returncode, out, err)
        assert code is None or said.code == code, said
        assert "Traceback" not in err, err
        return said

    def app(self) -> App:
        """The application in this process, as the program makes it."""
        settings = settings_for(self.env, self.cwd)
        return App(
            settings, clock=time.time, new_id=lambda: uuid.uuid4().hex, getenv=self.env.get, cwd=self.cwd
        )

    def value(self, key: str, *more: str) -> str:
        """``state get``."""
        return self.run("state", "get", key, *more).out.removesuffix("\n")
