"""Why: a checkpoint keeps a moment from pruning, and its digest, kept elsewhere, shows later what was replaced."""

from __future__ import annotations

from sloth_runner import documents
from sloth_runner.cli import suggestions, text
from sloth_runner.cli.base import output_option, where_options, yes_option
from sloth_runner.cli.shell import Shell, Where, one_namespace
from sloth_runner.cli.words import argument, command, option
from sloth_runner.documents.keys import flags
from sloth_runner.errors import UsageError
from sloth_runner.moments import iso
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state import tags

if TYPE_CHECKING:
    from sloth_runner.state.state import State


@command("tag")
@argument("name", required=False, complete=suggestions.checkpoints)
@option("--delete", is_flag=True, help="Delete the tag NAME; revisions that only it kept go with it.")
@where_options()
@yes_option
@output_option
def tag(shell: Shell, name: str | None, delete: bool, where: Where, yes: bool) -> None:
    """Keep the revision and hash of every key of one namespace as the checkpoint NAME, and print its digest.

    What it names is never pruned, and state rollback --to-tag goes back to it. Keep the digest elsewhere, and give it
    to state verify --head: that shows whether the whole state was replaced by an older copy. Without NAME, list the
    tags.
    """
    view = shell.view(one_namespace(where, "a tag lies in one namespace"))
    if name is None:
        if delete:
            raise UsageError("--delete needs the NAME of a tag", unchanged=["nothing was changed"])
        _list(shell, view)
    elif delete:
        _delete(shell, view, name, yes=yes)
    else:
        _make(shell, view, name)


def _make(shell: Shell, view: State, name: str) -> None:
    made = tags.make(view.writer.store, view.namespace, name, view.by, view.writer.clock())
    if shell.structured:
        body = {"store": shell.app().stores.name, "namespace": view.namespace, "tag": _document(made)}
        shell.document("state.tag", body)
        return
    shell.print(made.digest)
    shell.say(f"tagged {text.count(made.keys, 'key')} of {view.namespace} as {name}")
    shell.say(f"to verify later: sloth-runner state verify --head {made.digest}{flags(view.namespace)}")


def _list(shell: Shell, view: State) -> None:
    found = list(tags.every(view.writer.store, view.namespace))
    if shell.mode == "jsonl":
        for one in found:
            shell.record("tag", _document(one))
        return
    if shell.mode == "json":
        body = {
            "store": shell.app().stores.name,
            "namespace": view.namespace,
            "count": len(found),
            "tags": [_document(one) for one in found],
        }
        shell.document("state.tag.list", body)
        return
    rows = [
        [
            one.name,
            f"{one.keys:,}" if shell.human else str(one.keys),
            shell.moment(one.time),
            f"{one.by.user}@{one.by.host}",
            "not finished" if one.status != tags.DONE else one.digest,
        ]
        for one in found
    ]
    shell.table(["NAME", "KEYS", "TIME", "BY", "DIGEST"], rows, flexible=(0, 3))
    if shell.human and not rows:
        shell.say(f"no tags in {view.namespace}")


def _delete(shell: Shell, view: State, name: str, *, yes: bool) -> None:
    found = tags.require(view.writer.store, view.namespace, name)
    lines = [
        f"the tag {name} of {text.count(found.keys, 'key')} in {view.namespace} of {shell.app().stores.name}",
        "Revisions that only it keeps go with it; its digest can't be verified any more.",
    ]
    shell.confirm(lines, "Delete it?", yes=yes)
    tags.drop(view.writer.store, view.namespace, name)
    if shell.structured:
        body = {"store": shell.app().stores.name, "namespace": view.namespace, "tag": name}
        shell.document("state.tag.delete", body)
    else:
        shell.print(f"deleted the tag {name} from {view.namespace}")


def _document(found: tags.Tag) -> dict[str, Any]:
    return {
        "name": found.name,
        "status": found.status,
        "digest": found.digest or None,
        "keys": found.keys,
        "time": iso(found.time),
        "by": documents.who(found.by),
    }
