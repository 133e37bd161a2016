"""Why: state leaves the machine in one file that is whole, private, and sealed if the state is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sloth_runner.cli import text
from sloth_runner.cli.bar import bar
from sloth_runner.cli.base import output_option, reveal_option, where_options
from sloth_runner.cli.sealing import passphrase_options, sealing_keys
from sloth_runner.cli.shell import Shell, Where, one_namespace
from sloth_runner.cli.words import PATH, choice, command, option
from sloth_runner.documents import reveals
from sloth_runner.documents.keys import own_view
from sloth_runner.errors import KeyMissing, UsageError
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state.layout import SHARED, check_prefix

if TYPE_CHECKING:
    from sloth_runner.state.age import Keys
    from sloth_runner.state.bundle_export import Exported
    from sloth_runner.state.bundle_gather import Census

NOTHING = "nothing was written"


class Asked(NamedTuple):
    """The options of an export."""

    namespaces: list[str]
    with_history: bool
    prefix: str
    path: Path | None
    keys: Keys | None
    reveal: bool


@command("export")
@where_options(everywhere=True)
@option("--all", "everything", is_flag=True, help="The same as --all-agents.")
@option("--with-history", is_flag=True, help="With all revisions, tags, runs, and what modules remember.")
@option("--prefix", default="", help="Only keys below it (with their history).")
@option(
    "-f", "--output-file", "path", type=PATH, metavar="FILE",
    help="Write to FILE (0600, replaced at once) instead of standard output.",
)  # fmt: skip
@option(
    "--format", "form", type=choice("bundle", "json"), default="bundle", metavar="FORM",
    help="bundle, or json: one object of keys and values, nothing else.",
)  # fmt: skip
@passphrase_options
@option("--recipient", "recipients", multiple=True, metavar="AGE1…", help="Seal it to this age recipient.")
@option("--plaintext", is_flag=True, help="Don't seal the bundle, although the state is sealed.")
@reveal_option
@output_option
def export(
    shell: Shell, where: Where, everything: bool, with_history: bool, prefix: str, path: Path | None, form: str,
    passphrase_env: str | None, passphrase: bool, recipients: tuple[str, ...], plaintext: bool, reveal: bool,
) -> None:  # fmt: skip
    """Write state to a file or to standard output, as a bundle that `state import` takes back.

    A bundle holds sensitive values: it is a backup. Seal it with a passphrase or to age recipients (age -d opens it,
    too). Locks that are held stay behind.
    """
    if everything and (where.agent is not None or where.shared):
        raise UsageError("--all excludes --agent and --shared", unchanged=[NOTHING])
    where = Where(all_agents=True) if everything else where
    keys = sealing_keys(shell, passphrase_env, passphrase, recipients)
    _check(shell, path, keys, plaintext)
    if form == "json":
        if with_history:
            raise UsageError("--format json takes no --with-history", unchanged=[NOTHING])
        where = one_namespace(where, "one JSON object holds one namespace")
    check_prefix(prefix)
    asked = Asked(_namespaces(shell, where, prefix), with_history, prefix, path, keys, reveal)
    if form == "json":
        _export_object(shell, asked)
    else:
        _export_bundle(shell, asked)


def _check(shell: Shell, path: Path | None, keys: Keys | None, plaintext: bool) -> None:
    if shell.app().encrypted and keys is None and not plaintext:
        raise UsageError(
            "the state is encrypted, and this export would not be",
            unchanged=[NOTHING],
            next=["--passphrase-env NAME", "--recipient AGE1…", "--plaintext, if that is what you want"],
        )
    if path is None and shell.structured:
        raise UsageError(
            "the export itself goes to standard output", unchanged=[NOTHING], next=["--output-file FILE"]
        )
    if path is None and keys is not None and shell.world.stdout_tty:
        raise UsageError(
            "a sealed export is no text for a terminal", unchanged=[NOTHING], next=["--output-file FILE"]
        )


def _namespaces(shell: Shell, where: Where, prefix: str) -> list[str]:
    app = shell.app()
    if not where.all_agents:
        return [shell.view(where).home(prefix)]
    known = set(app.known_agents())
    found = [name for name in app.namespaces() if name == SHARED or name in known]
    if not found:
        raise KeyMissing("there is no state to export", unchanged=[NOTHING])
    return found


def _export_bundle(shell: Shell, asked: Asked) -> None:
    from sloth_runner import __version__
    from sloth_runner.moments import iso
    from sloth_runner.state.bundle_export import export
    from sloth_runner.state.bundle_gather import Order

    app = shell.app()
    order = Order(
        asked.namespaces, iso(app.clock()), app.settings.user, app.settings.host, f"sloth-runner {__version__}",
        asked.with_history, asked.prefix,
    )  # fmt: skip

    folder = app.settings.state_folder if asked.path is None else (shell.cwd / asked.path).parent

    def consent(namespace: str, found: Census) -> None:
        if found.sensitive and asked.path is None and shell.world.stdout_tty:
            _reveal(shell, asked, namespace, found.sensitive)

    def produce(write: Callable[[bytes], object]) -> list[Exported]:
        with bar(shell, "exporting", None) as progress:
            return export(
                app.store(),
                order,
                write,
                folder=folder,
                new_id=app.new_id,
                progress=progress,
                consent=consent,
            )

    done = _deliver(shell, asked, produce)
    nameless = [one.header.namespace for one in done if one.header.lineage is None and one.closing.counts]
    if nameless:
        shell.warn(
            f"{', '.join(nameless)} was never exported before, and its identity can't be stored, since you may only "
            "read: without --force, only an empty state takes this bundle"
        )
    if asked.path is None:
        return
    sections = [_section(one) for one in done]
    keys = sum(one["keys"] for one in sections)
    _told(shell, asked, "bundle", sections, keys, done[-1].closing.digest)


def _section(one: Exported) -> dict[str, Any]:
    header = one.header
    return {
        "namespace": header.namespace,
        "lineage": header.lineage,
        "head": header.head,
        "keys": header.counts["keys"],
        "records": sum(one.closing.counts.values()),
        "with_history": header.with_history,
        "prefix": header.prefix,
    }


def _export_object(shell: Shell, asked: Asked) -> None:
    from sloth_runner.state.json_objects import write as write_object

    app = shell.app()
    (namespace,) = asked.namespaces

    def consent(key: str) -> None:
        if not asked.reveal:
            _refuse_secrets(f"{key!r} is sensitive, and JSON says nothing of that")

    def produce(write: Callable[[bytes], object]) -> int:
        if asked.reveal:
            _record(shell, asked, namespace)
        return write_object(app.store(), namespace, asked.prefix, app.clock(), write, consent)

    count = _deliver(shell, asked, produce)
    if asked.path is not None:
        _told(shell, asked, "json", [], count, None)


def _reveal(shell: Shell, asked: Asked, namespace: str, count: int) -> None:
    if not asked.reveal:
        _refuse_secrets(
            f"{text.count(count, 'sensitive value')} of {namespace} would be shown on the terminal"
        )
    _record(shell, asked, namespace)


def _record(shell: Shell, asked: Asked, namespace: str) -> None:
    app = shell.app()
    view = own_view(app.state(shared=True) if namespace == SHARED else app.state(namespace))
    reveals.record(view, (row for row in view.rows(asked.prefix) if row.record.sensitive))


def _refuse_secrets(why: str) -> None:
    raise UsageError(
        why,
        unchanged=[NOTHING],
        next=[
            "as a bundle into a file: state export --output-file FILE",
            "to show it nevertheless: --reveal",
        ],
    )


def _deliver(shell: Shell, asked: Asked, produce: Callable[[Callable[[bytes], object]], Any]) -> Any:
    """Write to the file, or, once it is whole, to standard output: nobody sees anything of an export that failed."""
    from sloth_runner.state import bundle_files
    from sloth_runner.state.bundle_draft import Draft

    def seal_by(put: Callable[[bytes], object]) -> Any:
        write, finish = bundle_files.sealer_for(put, asked.keys)
        result = produce(write)
        finish()
        return result

    if asked.path is not None:
        with bundle_files.written(shell.cwd / asked.path) as file:
            return seal_by(file.write)
    with Draft(shell.app().settings.state_folder) as draft:
        result = seal_by(draft.write)
        for block in draft.blocks():
            shell.write_bytes(block)
        return result


def _told(
    shell: Shell, asked: Asked, form: str, sections: list[dict[str, Any]], keys: int, digest: str | None
) -> None:
    assert asked.path is not None
    path = shell.cwd / asked.path
    size = path.stat().st_size
    if shell.structured:
        sealed = None if asked.keys is None else "passphrase" if asked.keys.passphrase else "recipients"
        body = {
            "store": shell.app().stores.name, "file": str(path), "form": form, "bytes": size, "keys": keys,
            "sealed": sealed, "digest": digest, "sections": sections,
        }  # fmt: skip
        shell.document("state.export", body)
        return
    where = ", ".join(asked.namespaces)
    shell.print(
        f"exported {text.count(keys, 'key')} of {where} to {text.pictures(str(asked.path))} ({text.size(size)})"
    )
