"""Why: ``state.watch``: a task waits until a key holds what it needs, and hears of every change on the way.

What is waited for is judged in the task (a function) or here (a value); the changes come one by one and in order from
the history of the key, so none that was short is missed. ``ear`` says when to look; who looks is the desk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from sloth_runner.durations import human
from sloth_runner.engine import arguments as arg
from sloth_runner.engine.past_calls import revision
from sloth_runner.engine.pump import Pump, Wait
from sloth_runner.errors import BadArgument, Bug, SlothError, TaskFailed, TimedOut, Unpredictable
from sloth_runner.model import Returned
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state import edits, history
from sloth_runner.state.asking import Ask
from sloth_runner.state.value import encode
from sloth_runner.state.watching import Change, Gap, Scope, Watching, scopes_of

if TYPE_CHECKING:
    import asyncio

    from sloth_runner.engine.context import Context
    from sloth_runner.engine.ear import Ear, News
    from sloth_runner.model import Value
    from sloth_runner.state.state import State
    from sloth_runner.state.store import Store
    from sloth_runner.state.watching import Item

NAME = "state.watch"
TIMEOUT = 60.0
CHANGE, VALUE = "change", "value"
"""What is waited for: any change, or a value; or what a function of the task says, which is none of our business."""
_OPTIONS: dict[str, arg.Kinds] = {"timeout": (int, float, str), "prefix": bool}


class Watch:
    """Someone who waits. ``wanted``: the text of the value that is waited for; ``end``: by the pump's clock."""

    def __init__(
        self,
        context: Context,
        state: State,
        key: str,
        scopes: Sequence[Scope],
        kind: str,
        wanted: Value | None,
    ) -> None:
        self.context = context
        self.state = state
        self.key = key
        self.kind = kind
        self.value = wanted
        self.wanted: str | None = None
        if kind == VALUE and wanted is not None:
            self.wanted = encode(wanted, f"{NAME}: the value of {key!r}")
        self.watching = Watching(lambda: scopes, state.writer.clock)
        self.timeout = TIMEOUT
        self.end = 0.0
        self.found: deque[Item] = deque()
        self.hears: Callable[[News], None] | None = None
        self.news: list[News] = []
        self.rang: asyncio.Event | None = None

    def rung(self) -> Sequence[str] | None:
        """What the doorbell has said since the last time, taken together. Raises what it met."""
        news, self.news = self.news, []
        keys: dict[str, None] = {}
        unknown = False
        for one in news:
            if isinstance(one, SlothError):
                raise one
            unknown = unknown or one is None
            keys.update(dict.fromkeys(one or ()))
        return None if unknown else tuple(keys)

    def what(self) -> str:
        """What did not happen, in words."""
        if self.kind == CHANGE:
            return f"there was no change of {self.key!r}"
        if self.kind == VALUE:
            return f"{self.key!r} did not get the value that is waited for"
        return f"what is waited for did not come about by a change of {self.key!r}"


class Watcher:
    """Who waits in one run. ``pump`` has the clock by which time-outs are meant."""

    def __init__(self, pump: Callable[[], Pump], ear: Ear) -> None:
        self._pump = pump
        self._ear = ear
        self._watches: dict[int, Watch] = {}
        self._assumed: set[tuple[str, str]] = set()
        """Keys (and their namespaces) of which it is only taken for granted that others change them."""
        self._handles = 0

    def enter(self, context: Context, state: State, args: Sequence[object]) -> object:
        """Begin: a number for it (none if nothing needs to be waited for), the value that is there, and the change
        that brought it about (``True``: one that can't be known)."""
        key, wanted, kind, given = arg.take(NAME, args, 1, 4)
        if context.transaction is not None:
            raise TaskFailed(
                f"{NAME} can't be used inside state.transaction: it waits for others",
                next=["wait first, then begin the transaction"],
            )
        options = arg.options(NAME, given, _OPTIONS)
        several = options.get("prefix", False)
        if several and kind == VALUE:
            raise BadArgument(f"{NAME}: a value is waited for in one key; with prefix, give a function")
        if several:
            scopes = scopes_of(state, arg.prefix(NAME, key))
        else:
            scopes = [Scope(state.home(arg.key(NAME, key)), key, exact=True)]
        watch = Watch(context, state, key, scopes, kind, wanted)
        if "timeout" in options:
            watch.timeout = arg.duration(NAME, options["timeout"], "timeout")
        watch.end = self._pump().clock() + watch.timeout

        def begin(view: State) -> tuple[str | None, Value | None, object]:
            watch.watching.begin(view.store)
            if several or kind == CHANGE:
                return None, None, None
            row = view.row(key)
            if row is None:
                return None, None, _how_it_ended(view, key)
            return row.record.text, view.tell(row.value, row.record), _last(view, key)

        def begun(now: tuple[str | None, Value | None, object]) -> object:
            text, value, last = now
            if last is not None and (state.home(key), key) in self._assumed:
                last = True
            if watch.wanted is not None and text == watch.wanted:
                return Returned((None, value, last))
            self._handles += 1
            self._watches[self._handles] = watch
            return Returned((self._handles, value, last))

        return context.ask(state, begin, begun)

    def next(self, context: Context, state: State, args: Sequence[object]) -> object:
        """The next change (that gives the value, if one is waited for): the new value, and the change. Waits."""
        watch = self._watch(args)
        if watch.hears is None:
            context.note("info", f"waiting for a change of {watch.key!r}")
        return Wait(lambda: self._wait(watch))

    def leave(self, context: Context, state: State, args: Sequence[object]) -> object:
        """The end of it."""
        (handle,) = arg.take(NAME, args, 1, 1)
        watch = self._watches.pop(handle, None)
        if watch is not None and watch.hears is not None:
            self._ear.remove(watch.hears)
        return True

    def close(self) -> None:
        """Nobody waits any more."""
        self._watches.clear()
        self._ear.close()

    def _watch(self, args: Sequence[object]) -> Watch:
        (handle,) = arg.take(NAME, args, 1, 1)
        watch = self._watches.get(handle)
        if watch is None:
            raise Bug(f"nobody waits under the number {handle}")
        return watch

    async def _wait(self, watch: Watch) -> object:
        self._listen(watch)
        late = False
        while True:
            while watch.found:
                told = _told(watch, watch.found.popleft())
                if told is not None:
                    return told
            if late:
                raise TimedOut(
                    f"{NAME}: {watch.what()} within {human(watch.timeout)}",
                    unchanged=["nothing was changed"],
                    next=[
                        "give it longer: {timeout = …}",
                        f"see what happened: sloth-runner state history {watch.key}",
                    ],
                )
            late = not await self._heard(watch)
            await self._look(watch, late)

    def _listen(self, watch: Watch) -> None:
        """Have the doorbell wake this wait, from the first time on."""
        import asyncio

        loop = asyncio.get_running_loop()
        rang = watch.rang = asyncio.Event()
        if watch.news:
            rang.set()
        if watch.hears is not None:
            return

        def take(news: News) -> None:
            watch.news.append(news)
            if watch.rang is not None:
                watch.rang.set()

        def hears(news: News) -> None:
            try:
                loop.call_soon_threadsafe(take, news)
            except RuntimeError:
                if not loop.is_closed():
                    raise

        watch.hears = hears
        self._ear.add(hears)

    async def _heard(self, watch: Watch) -> bool:
        """Wait until there is something to look at; False: the time is up."""
        import asyncio

        assert watch.rang is not None
        left = watch.end - self._pump().clock()
        due = watch.watching.due()
        until = left if due is None else min(left, due - watch.state.writer.clock())
        if until > 0 and not watch.rang.is_set():
            try:
                await asyncio.wait_for(watch.rang.wait(), until)
            except TimeoutError:
                pass
        watch.rang.clear()
        return watch.end > self._pump().clock()

    async def _look(self, watch: Watch, late: bool) -> None:
        """Find what has happened; once more everywhere, before it is too late."""
        error: SlothError | None = None
        rung: Sequence[str] | None = None
        try:
            rung = watch.rung()
        except SlothError as failure:
            error = failure  # the desk says more of a server that is away than the doorbell
        where = None if late else rung

        def look(store: Store) -> list[Item]:
            return list(watch.watching.look(store, where))

        found: Any = await watch.context.desk.fetch(Ask(look))
        watch.found += found
        if error is None:
            return
        if not found:
            raise error
        watch.news.append(error)  # after what was found
        assert watch.rang is not None
        watch.rang.set()


class CheckWatcher(Watcher):
    """In a plan nothing is waited for: a value that is waited for is there from then on, of anything else nothing is
    known, nor of the change that will bring it."""

    def next(self, context: Context, state: State, args: Sequence[object]) -> object:
        """See Watcher; the change is ``True``: it can't be known. Raises Unpredictable."""
        watch = self._watch(args)
        context.note("info", f"would wait for a change of {watch.key!r}")
        if watch.value is None or watch.kind != VALUE:
            raise Unpredictable(f"what {watch.key!r} will hold is not known before it has changed")
        value = watch.value
        self._assumed.add((state.home(watch.key), watch.key))
        return context.ask(
            state, lambda view: view.apply(watch.key, edits.put(value)), lambda _: Returned((value, True))
        )


def _told(watch: Watch, item: Item) -> object:
    """What the task gets of this; None: nothing, it is not what is waited for."""
    if isinstance(item, Gap):
        text = f"revisions {item.first} to {item.last} of {item.key!r} are no longer kept, and were not looked at"
        watch.context.note("warn", f"{NAME}: {text}")
        return None
    if not isinstance(item, Change):
        purged = {"key": item.key, "op": "purge", "time": watch.state.writer.clock()}
        return None if watch.wanted is not None else Returned((None, purged))
    found = item.revision
    watch.state.told(found)
    if watch.wanted is not None and found.record.text != watch.wanted:
        return None
    row = {"key": item.key, **revision(found)}
    return Returned((found.new, row if item.written else _by_nobody(row)))


def _last(view: State, key: str) -> dict[str, object] | None:
    """The last revision of a key."""
    found = view.history(key, 1)
    return {"key": key, **revision(found[0])} if found else None


def _how_it_ended(view: State, key: str) -> dict[str, object] | None:
    """The change by which a key has no value: its last revision, or that its value has expired since."""
    row = _last(view, key)
    if row is None or "new" not in row:
        return row
    head = history.head(view.store, view.home(key), key)
    ended = row["time"] if head is None or head.expires is None else head.expires
    return _by_nobody({**row, "op": "expire", "time": ended, "old": row.pop("new")})


def _by_nobody(row: dict[str, object]) -> dict[str, object]:
    """A change that is no revision."""
    return {name: value for name, value in row.items() if name in ("key", "op", "time", "old")}
