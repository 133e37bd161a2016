"""Why: the web UI is started, told where it is, and ended, from the command line."""

from __future__ import annotations

from pathlib import Path

from sloth_runner.cli.base import output_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import PATH, Kind, command, option
from sloth_runner.errors import BadConfig, UsageError

PORT = 8787


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ValueError(f"a port from 0 to 65535 is needed, not {text!r}")
    return int(text)


_PORTS = Kind("port", _port)


@command("ui")
@option("--port", type=_PORTS, default=PORT, shown=str(PORT), metavar="N", help="0: any free one.")
@option("--host", default="127.0.0.1", shown="127.0.0.1", help="Another one needs TLS, or --plain-http.")
@option("--name", "names", multiple=True, metavar="NAME", help="A further name that browsers use for it.")
@option("--tls-cert", type=PATH, metavar="FILE", help="Certificate chain (PEM).")
@option("--tls-key", type=PATH, metavar="FILE", help="Its key (PEM).")
@option("--plain-http", is_flag=True, help="Allow --host without TLS: anybody on the way can read.")
@option("--read-only", is_flag=True, help="Refuse everything that changes or reveals something.")
@option("--token-env", metavar="NAME", help="Variable with a token that programs may use (Bearer).")
@option("--open", "browser", is_flag=True, help="Open it in a browser.")
@output_option
def ui(
    shell: Shell,
    port: int,
    host: str,
    names: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    plain_http: bool,
    read_only: bool,
    token_env: str | None,
    browser: bool,
) -> None:
    """Serve the web UI on this machine, and print a link that lets one browser in. Enter prints another link; Ctrl-C
    ends it. The browser may read and change state as the user who started it; what it reveals is recorded.
    """
    try:
        from sloth_runner.web.options import Options
        from sloth_runner.web.server import serve
    except ImportError as error:
        raise BadConfig(
            f"the web UI needs a package that is not installed ({error.name})",
            unchanged=["nothing was started"],
            next=["pip install 'sloth-runner[web]'"],
        ) from None
    certificate, key = (None if path is None else _file(shell, path) for path in (tls_cert, tls_key))
    token = None if token_env is None else _token(shell, token_env)
    options = Options(host, port, names, certificate, key, plain_http, read_only, token)
    from sloth_runner.cli.ui_telling import Telling, unstopped

    with unstopped():
        telling = Telling(shell, browser=browser)
        serve(shell.app(), options, telling.ready, telling.fault)


def _file(shell: Shell, path: Path) -> Path:
    whole = shell.cwd / path
    if not whole.is_file():
        raise UsageError(f"there is no file {path}", unchanged=["nothing was started"])
    return whole


def _token(shell: Shell, name: str) -> str:
    found = shell.world.environ.get(name, "")
    if len(found) < 20:
        why = "has less than 20 characters" if found else "is not set"
        raise UsageError(
            f"--token-env: the variable {name} {why}",
            unchanged=["nothing was started"],
            next=[f"export {name}=$(head -c 32 /dev/urandom | base64)"],
        )
    return found
