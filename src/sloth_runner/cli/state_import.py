"""Why: what comes in is shown before it changes anything, and what was there is kept beside the state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sloth_runner.cli import text
from sloth_runner.cli.bar import bar
from sloth_runner.cli.base import output_option, where_options, yes_option
from sloth_runner.cli.sealing import opening_keys, passphrase_options
from sloth_runner.cli.shell import Shell, Where, one_namespace
from sloth_runner.cli.words import PATH, argument, choice, command, option
from sloth_runner.errors import BadName, Corrupt, UsageError
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state.layout import LOCAL, SHARED

if TYPE_CHECKING:
    from sloth_runner.state.bundle_files import File
    from sloth_runner.state.bundle_import import Choice, Outcome
    from sloth_runner.state.bundle_key import Figures

NOTHING = "nothing was changed"


class Asked(NamedTuple):
    """The options of an import. ``name`` is how messages call the file."""

    name: str
    dry_run: bool
    yes: bool
    backup: bool


@command("import")
@argument("file", type=PATH)
@where_options()
@option(
    "--format", "form", type=choice("bundle", "json"), default="bundle", metavar="FORM",
    help="bundle, or json: one object of keys and values.",
)  # fmt: skip
@option("--merge", is_flag=True, help="Set what is in FILE and leave other keys alone (the default).")
@option("--replace", is_flag=True, help="Delete the keys that are not in FILE, too.")
@option(
    "--prefix-map", "maps", multiple=True, metavar="OLD=NEW",
    help="Take only keys below OLD, and put them below NEW.",
)  # fmt: skip
@option("--dry-run", is_flag=True, help="Show what would happen; change nothing.")
@option(
    "--force",
    is_flag=True,
    help="Import even a bundle that is older than what is there, or of another state.",
)
@option("--no-backup", is_flag=True, help="Keep no copy of what was there before.")
@passphrase_options
@option(
    "--identity", "identities", multiple=True, type=PATH, metavar="FILE",
    help="An age identity file that opens it.",
)  # fmt: skip
@yes_option
@output_option
def import_state(
    shell: Shell, file: Path, where: Where, form: str, merge: bool, replace: bool, maps: tuple[str, ...],
    dry_run: bool, force: bool, no_backup: bool, passphrase_env: str | None, passphrase: bool,
    identities: tuple[Path, ...], yes: bool,
) -> None:  # fmt: skip
    """Bring a bundle's keys into the namespaces that they come from (or --agent, --shared); - reads standard input.

    The whole FILE is verified first. A bundle of another state, or one that is behind what is there, is refused
    unless --force is given. Values change by new revisions: rollback brings the old ones back.
    """
    from sloth_runner.state import bundle_files
    from sloth_runner.state.bundle_import import Choice

    if merge and replace:
        raise UsageError("--merge and --replace exclude each other", unchanged=[NOTHING])
    if replace and maps:
        raise UsageError("--replace and --prefix-map exclude each other", unchanged=[NOTHING])
    app = shell.app()
    target = _target(shell, one_namespace(where, "a bundle knows its namespaces"))
    choice = Choice(app.by(), app.clock(), app.new_id, target, replace, _mapping(maps), force)
    from_stdin = str(file) == "-"
    asked = Asked("standard input" if from_stdin else str(file), dry_run, yes, not no_backup)
    keys = opening_keys(shell, passphrase_env, passphrase, identities, from_stdin)
    path = None if from_stdin else shell.cwd / file
    with bundle_files.opened(path, shell.world.stdin.buffer, app.settings.state_folder) as raw:
        source = bundle_files.File(raw, keys)
        if form == "json":
            _import_object(shell, asked, source, choice._replace(namespace=target or LOCAL))
        else:
            _import_bundle(shell, asked, source, choice)


def _target(shell: Shell, where: Where) -> str | None:
    return shell.view(where).namespace if where.agent is not None or where.shared else None


def _mapping(maps: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for given in maps:
        old, equals, new = given.partition("=")
        if not equals:
            raise UsageError(f"--prefix-map: {given!r} is no OLD=NEW", unchanged=[NOTHING])
        for side, one in ((0, old), (1, new)):
            if any(one.startswith(pair[side]) or pair[side].startswith(one) for pair in pairs):
                raise UsageError(
                    f"--prefix-map: {one!r} overlaps with another prefix: two keys could become one",
                    unchanged=[NOTHING],
                )
        pairs.append((old, new))
    return tuple(pairs)


def _import_bundle(shell: Shell, asked: Asked, source: File, choice: Choice) -> None:
    from sloth_runner.engine.fitting_store import fitting
    from sloth_runner.state import bundle_import

    app = shell.app()
    try:
        sections = bundle_import.survey(source)
    except Corrupt as error:
        error.file = error.file or asked.name
        raise
    if choice.namespace is not None and len(sections) > 1:
        raise UsageError(
            f"{asked.name} holds {len(sections)} namespaces: they can't all go into {choice.namespace}",
            unchanged=[NOTHING],
        )
    store = app.store()
    choice = choice._replace(fit=fitting(store.traits.max_value))
    outcomes = bundle_import.plan(store, source, sections, choice, exact=asked.dry_run)
    if asked.dry_run:
        _told(shell, asked, outcomes, [], choice)
        return
    bundle_import.check(outcomes, choice)
    if not any(outcome.figures.writes for outcome in outcomes):
        _told(shell, asked, outcomes, [], choice)
        return
    lines = [*_lines(outcomes), *_origins(shell, asked, outcomes)]
    shell.confirm(lines, "Import it?", yes=asked.yes)
    there = [one.namespace for one in outcomes if one.figures.writes and one.relation != bundle_import.EMPTY]
    backups = _backups(shell, there) if asked.backup else []
    total = sum(sum(section.closing.counts.values()) for section in sections)
    with bar(shell, "importing", total) as progress:
        done = bundle_import.apply(store, source, sections, choice, progress=progress)
    _told(shell, asked, done, backups, choice)


def _backups(shell: Shell, namespaces: Sequence[str]) -> list[Path]:
    """A copy of each namespace from before."""
    from sloth_runner import __version__
    from sloth_runner.moments import iso
    from sloth_runner.state.bundle_files import keep_backup
    from sloth_runner.state.bundle_gather import Order

    app = shell.app()
    now = iso(app.clock())
    stamp = "".join(c for c in now.partition(".")[0] if c.isdigit() or c == "T") + "Z"
    paths = []
    for name in dict.fromkeys(namespaces):
        program = f"sloth-runner {__version__}"
        order = Order([name], now, app.settings.user, app.settings.host, program, with_history=True)
        folder = app.settings.state_folder
        sealed = app.encrypted
        paths.append(keep_backup(app.store(), name, folder, order, stamp, app.new_id, sealed=sealed))
        shell.say(f"kept what was in {name}: {paths[-1]}")
    return paths


def _import_object(shell: Shell, asked: Asked, source: File, choice: Choice) -> None:
    from sloth_runner.state.bundle_import import merge_values
    from sloth_runner.state.json_objects import items

    app = shell.app()
    namespace = choice.namespace
    assert namespace is not None
    shared = () if namespace == SHARED else app.settings.shared_prefixes

    def values() -> Any:
        for name, value in items(source.blocks()):
            if name.startswith(shared):
                raise BadName(
                    f"{name!r} belongs to the shared namespace", unchanged=[NOTHING], next=["--shared"]
                )
            yield name, value

    figures = merge_values(app.store(), namespace, values(), choice, dry_run=True)
    if asked.dry_run or not figures.writes:
        _object_told(shell, asked, namespace, figures, [])
        return
    lines = [_counts(namespace, figures), f"{asked.name} into {app.stores.name}"]
    shell.confirm(lines, "Import it?", yes=asked.yes)
    there = figures.changed or figures.same or figures.deleted
    backups = _backups(shell, [namespace]) if there and asked.backup else []
    figures = merge_values(app.store(), namespace, values(), choice, dry_run=False)
    _object_told(shell, asked, namespace, figures, backups)


def _lines(outcomes: Sequence[Outcome]) -> list[str]:
    from sloth_runner.state.bundle_import import losses

    lines: list[str] = []
    for outcome in outcomes:
        lines.append(_counts(outcome.namespace, outcome.figures))
        lost = losses(outcome)
        if lost:
            lines += [f"newer in {outcome.namespace} than in the bundle:", *lost]
    return lines


def _origins(shell: Shell, asked: Asked, outcomes: Sequence[Outcome]) -> list[str]:
    header = outcomes[0].section.header
    return [
        f"{asked.name}, made {header.created} by {header.user}@{header.host}",
        f"into {', '.join(dict.fromkeys(o.namespace for o in outcomes))} of {shell.app().stores.name}",
    ]


def _counts(namespace: str, figures: Figures) -> str:
    """``local: 3 keys new, 1 changed, 2 deleted, 5 the same``."""
    parts = [f"{text.count(figures.new, 'key')} new", f"{figures.changed:,} changed"]
    parts += [f"{figures.deleted:,} deleted"] if figures.deleted else []
    parts.append(f"{figures.same:,} the same")
    parts += [f"{figures.left_out:,} left out"] if figures.left_out else []
    parts += [text.count(figures.others, "other record")] if figures.others else []
    return f"{namespace}: {', '.join(parts)}"


def _told(
    shell: Shell, asked: Asked, outcomes: Sequence[Outcome], backups: Sequence[Path], choice: Choice
) -> None:
    if shell.structured:
        sections = [_section(outcome, "" if choice.force else outcome.needs_force) for outcome in outcomes]
        shell.document("state.import", _body(shell, asked, "bundle", sections, backups))
        return
    for line in _lines(outcomes) if asked.dry_run else [_counts(o.namespace, o.figures) for o in outcomes]:
        shell.print(text.pictures(line))
    for outcome in outcomes if asked.dry_run and not choice.force else ():
        if outcome.needs_force:
            why = "of another state" if outcome.needs_force == "other" else "behind what is there"
            shell.say(f"{outcome.namespace}: this would be refused without --force: the bundle is {why}")


def _object_told(
    shell: Shell, asked: Asked, namespace: str, figures: Figures, backups: Sequence[Path]
) -> None:
    if shell.structured:
        sections = [
            {"namespace": namespace, "from": None, "lineage": None, "refused": None, **_figures(figures)}
        ]
        shell.document("state.import", _body(shell, asked, "json", sections, backups))
    else:
        shell.print(_counts(namespace, figures))


def _body(
    shell: Shell, asked: Asked, form: str, sections: list[dict[str, Any]], backups: Sequence[Path]
) -> dict[str, Any]:
    return {
        "store": shell.app().stores.name,
        "file": asked.name,
        "form": form,
        "dry_run": asked.dry_run,
        "sections": sections,
        "backups": [str(path) for path in backups],
    }


def _section(outcome: Outcome, refused: str) -> dict[str, Any]:
    header = outcome.section.header
    return {
        "namespace": outcome.namespace,
        "from": header.namespace,
        "lineage": header.lineage,
        "refused": refused or None,
        **_figures(outcome.figures),
    }


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "new": figures.new,
        "changed": figures.changed,
        "deleted": figures.deleted,
        "same": figures.same,
        "left_out": figures.left_out,
        "records": figures.others,
        "behind": figures.behind + figures.others_behind,
        "lost": [{"key": one.key, "rev": one.here, "bundle_rev": one.bundle} for one in figures.lost],
    }
