"""Why: whoever keeps a list of machines elsewhere (a cloud, a database) need not keep it here too: a command prints
it.

It prints ``{"agents": {NAME: URL or a table as in sloth.toml}, "groups": {NAME: {"values": {…}}}}``. A command that a
repository names is run only once it is trusted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sloth_runner.config_fields import Agent, Group, parse_agent, parse_group
from sloth_runner.config_file import Origin
from sloth_runner.config_trust import is_trusted
from sloth_runner.errors import BadConfig
from sloth_runner.plain import TYPE_CHECKING, Any, TypeAlias
from sloth_runner.state.layout import check_agent_name

if TYPE_CHECKING:
    from sloth_runner.config import Settings

Listed: TypeAlias = "tuple[dict[str, Agent], dict[str, Group]]"
PATIENCE = 60.0
"""Seconds that the command may take."""
LIMIT = 64 << 20


def from_command(settings: Settings, environ: Mapping[str, str], cwd: Path) -> Listed:
    """What the configured command prints. Raises BadConfig: it is not trusted, fails, or prints something else."""
    origin = settings.origins["inventory.command"]
    if not is_trusted(settings.home, origin, settings.command):
        raise origin.problem(
            "this command lists agents, and was not trusted yet",
            "look at it, then let it run: sloth-runner config trust --inventory",
        )
    folder = cwd if origin.file is None else Path(origin.file).parent
    text = _output(settings.command, environ, folder, origin)
    try:
        document = json.loads(text)
    except ValueError as error:
        raise origin.problem(f"the command that lists agents prints no JSON: {error}") from None
    return parse(
        document, Origin(f"the command of {origin.label}", origin.file, origin.line, None, origin.source)
    )


def parse(document: Any, origin: Origin) -> Listed:
    """Agents and groups of a document. Raises BadConfig."""
    if not isinstance(document, dict) or not set(document) <= {"agents", "groups"}:
        raise origin.problem('what lists agents prints {"agents": {…}, "groups": {…}}')
    tables = [document.get(key, {}) for key in ("agents", "groups")]
    if not all(isinstance(table, dict) for table in tables):
        raise origin.problem("agents and groups are tables: name -> what it is")

    def check(name: str) -> str:
        return check_agent_name(name, reserved=True)

    return (
        {name: parse_agent(name, raw, origin, check) for name, raw in tables[0].items()},
        {name: parse_group(name, raw, origin) for name, raw in tables[1].items()},
    )


def _output(words: tuple[str, ...], environ: Mapping[str, str], folder: Path, origin: Origin) -> str:
    import subprocess

    try:
        done = subprocess.run(  # noqa: S603 - what the user trusted
            list(words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=dict(environ),
            cwd=folder,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise origin.problem(f"the command that lists agents took longer than {PATIENCE:g} seconds") from None
    except OSError as error:
        raise origin.problem(f"the command that lists agents can't be run: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
        problem: BadConfig = origin.problem(
            f"the command that lists agents ended with status {done.returncode}", "try it by hand"
        )
        problem.system = "\n".join(said) or None
        raise problem
    if len(done.stdout) > LIMIT:
        raise origin.problem(f"the command that lists agents prints more than {LIMIT:,} bytes")
    return done.stdout.decode("utf-8", "replace")
