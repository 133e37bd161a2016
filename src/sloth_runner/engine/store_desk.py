"""Why: everything in a run that needs the store comes here, and here alone it is decided who asks it.

What an embedded store is asked is answered in place, within microseconds. What a server is asked is answered in
place, too, while there is only one body that could do anything meanwhile; else by workers, each with a connection
of its own, while the bodies that don't wait go on. Mutations that come together share commits: as few as the
connections that are free, each holding whole keys, so that what is done to one key stays in order.

A call that is under way always comes to its end: the reply to a commit is waited for even if its task is stopped, for
it tells what is true. That lasts no longer than the store's time-out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sloth_runner.engine.workers import Workers
from sloth_runner.errors import Busy, Forbidden, Indeterminate, SlothError, StoreDown
from sloth_runner.plain import TYPE_CHECKING, Any, TypeAlias
from sloth_runner.state.asking import Ask
from sloth_runner.state.commits import Unknowable

if TYPE_CHECKING:
    import asyncio

    from sloth_runner.engine.pump import Mutate, Pump, Strand
    from sloth_runner.state.batch import Mutation
    from sloth_runner.state.store import Store
    from sloth_runner.state.writer import Writer

Item: TypeAlias = "tuple[Strand, Mutate]"
Key: TypeAlias = "tuple[str, str]"
Deliver: TypeAlias = "Callable[[Item, object], None]"
TOGETHER = 8
"""Mutations that are better in one commit than in two connections."""
QUICK = 0.02
"""Seconds that the pump's thread waits for other processes that write to an embedded store, if others could go on."""


class StoreDesk:
    """The desk of one run. ``main`` is the handle of the pump's thread. ``fresh`` opens another one, with some
    patience (None: a handle's usual one); None: there is only the one handle. ``make`` makes a writer on a handle.
    ``on_down`` hears, once, that the server is lost."""

    def __init__(
        self,
        main: Writer,
        make: Callable[[Store], Writer],
        fresh: Callable[[float | None], Store] | None = None,
        on_down: Callable[[SlothError], None] = lambda error: None,
    ) -> None:
        traits = main.store.traits
        self.main = main
        self.store = main.store
        self.embedded = traits.embedded or fresh is None
        self.down: SlothError | None = None
        self._make = make
        self._fresh = fresh
        self._on_down = on_down
        self._quick: Writer | None = None
        self._workers = Workers(1 if self.embedded else max(1, traits.concurrency), self._open)
        self._share = max(1, min(64, traits.max_changes // 8))
        self._pump: Pump | None = None
        self._queue: list[Item] = []
        self._deliver: Deliver = lambda item, result: None
        self._flying: set[Key] = set()
        self._under_way = 0

    def serve(self, pump: Pump) -> None:
        """Answer this pump's bodies."""
        self._pump = pump

    def close(self) -> None:
        """Give all handles back but the main one."""
        self._workers.close()
        if self._quick is not None:
            self._quick.store.close()

    @property
    def in_place(self) -> bool:
        """Whether what is asked now is answered at once."""
        return self.embedded or self._pump is None or self._pump.alone

    @property
    def busy(self) -> bool:
        """Whether somebody still waits for the store, or something that is to be told."""
        return self._under_way > 0

    # Asking.

    def ask(self, ask: Ask) -> object:
        """The answer; or the ask itself, a reply for which the pump lets the body wait."""
        if not self.in_place:
            return ask
        if self.down is not None:
            raise self.down.again()
        try:
            return ask.answered(self.store)
        except SlothError as error:
            self._met(error)
            raise

    async def fetch(self, ask: Ask) -> object:
        """The answer, for who is on the event loop already."""
        import asyncio

        if self.in_place:
            return self.ask(ask)
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def told(answer: object, error: BaseException | None) -> None:
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)

        self.send(ask, told)
        return await firm(future)

    def send(self, ask: Ask, told: Callable[[object, BaseException | None], None]) -> None:
        """Have a worker answer; ``told`` gets the answer or the error, in the pump's thread."""

        def done(result: Any, error: BaseException | None) -> None:
            if error is None and ask.then is not None:
                try:
                    result = ask.then(result)
                except SlothError as failure:
                    result, error = None, failure
            told(result, error)

        self._do(lambda writer: ask.work(writer.store), done)

    # Writing.

    def write(self, items: list[Item], deliver: Deliver) -> None:
        """Commit mutations; ``deliver`` gets each one's result or error, now or later, in the pump's thread."""
        assert self._pump is not None
        if self.down is not None:
            _deliver(items, [self.down.again() for _ in items], deliver)
        elif not self.embedded and not self._pump.alone:
            self._queue += items
            self._deliver = deliver
            self._dispatch()
        elif self._pump.alone or self._fresh is None:
            results = self.main.apply(_mutations(items))
            self._meet(results)
            _deliver(items, results, deliver)
        else:
            self._write_quickly(items, deliver)

    def write_one(self, mutation: Mutation) -> object:
        """The result, or the error, of a mutation while at most one body is under way."""
        if self.down is not None:
            return self.down.again()
        (result,) = self.main.apply([mutation])
        if isinstance(result, SlothError):
            self._met(result)
        return result

    def _write_quickly(self, items: list[Item], deliver: Deliver) -> None:
        """An embedded store, and others could go on: what another process keeps us from is waited for by a worker."""
        assert self._fresh is not None
        if self._quick is None:
            self._quick = self._make(self._fresh(QUICK))
        results = self._quick.apply(_mutations(items))
        late = [item for item, result in zip(items, results, strict=True) if isinstance(result, Busy)]
        for item, result in zip(items, results, strict=True):
            if not isinstance(result, Busy):
                deliver(item, result)
        if late:
            self._do(lambda writer: writer.apply(_mutations(late)), _delivery(late, deliver))

    def _dispatch(self) -> None:
        """Send what can go: nothing that concerns a key which is being written just now."""
        free = self._workers.most - self._under_way
        if free <= 0 or not self._queue:
            return
        keys: dict[Key, list[Item]] = {}
        for item in self._queue:
            keys.setdefault(_key(item), []).append(item)
        ready = {key: items for key, items in keys.items() if key not in self._flying}
        self._queue = [item for key, items in keys.items() if key in self._flying for item in items]
        count = sum(map(len, ready.values()))
        share = min(self._share, max(TOGETHER, -(-count // free)))
        for group in _groups(ready, share):
            if free <= 0:
                self._queue += group
                continue
            free -= 1
            self._send(group)

    def _send(self, group: list[Item]) -> None:
        keys = {_key(item) for item in group}
        self._flying |= keys
        tell = _delivery(group, self._deliver)

        def done(results: Any, error: BaseException | None) -> None:
            self._flying -= keys
            if error is None:
                self._meet(results)
            tell(results, error)

        self._do(lambda writer: writer.apply(_mutations(group)), done)

    # Both.

    def _do(self, work: Callable[[Writer], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        """Have a worker do it; ``done`` is called in the pump's thread."""
        assert self._pump is not None
        pump = self._pump
        self._under_way += 1

        def told(result: Any, error: BaseException | None) -> None:
            pump.post(lambda: finished(result, error))

        def finished(result: Any, error: BaseException | None) -> None:
            self._under_way -= 1
            if isinstance(error, SlothError):
                self._met(error)
            done(result, error)
            self._dispatch()  # a connection is free, and perhaps a key

        if self.down is not None:
            told(None, self.down.again())
        else:
            self._workers.do(work, told)

    def _open(self) -> Writer:
        assert self._fresh is not None
        writer = self._make(self._fresh(None))
        writer.heads = self.main.heads
        return writer

    def _meet(self, results: Sequence[object]) -> None:
        for result in results:
            if isinstance(result, SlothError):
                self._met(result)

    def _met(self, error: SlothError) -> None:
        """A server that stayed away for as long as a handle's patience lasts is lost to this run."""
        if is_outage(error) and not self.embedded and self.down is None:
            self.down = error.again()
            self.down.final = True
            self._on_down(error)


def is_outage(error: BaseException | None) -> bool:
    """Whether it is the store's server that does not answer: not a machine, not a right that we lack, not one write
    of which nobody knows any more whether it was done."""
    other = Busy | Forbidden | Unknowable
    return isinstance(error, StoreDown | Indeterminate) and not isinstance(error, other)


async def firm(future: asyncio.Future[object]) -> object:
    """The result of what is under way; a cancellation takes effect only after that."""
    import asyncio

    stopped: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError as error:
            stopped = error
        except Exception:
            break
    if stopped is not None:
        future.exception()
        raise stopped
    return future.result()


def _mutations(items: Sequence[Item]) -> list[Mutation]:
    return [mutate.mutation for _, mutate in items]


def _key(item: Item) -> Key:
    mutation = item[1].mutation
    return mutation.namespace, mutation.key


def _groups(ready: dict[Key, list[Item]], share: int) -> list[list[Item]]:
    """Whole keys of one namespace together, about ``share`` mutations at a time."""
    groups: list[list[Item]] = []
    current: dict[str, list[Item]] = {}
    for (namespace, _), items in ready.items():
        group = current.get(namespace)
        if group is None or len(group) + len(items) > share:
            group = current[namespace] = []
            groups.append(group)
        group += items
    return groups


def _deliver(items: Sequence[Item], results: Sequence[object], deliver: Deliver) -> None:
    for item, result in zip(items, results, strict=True):
        deliver(item, result)


def _delivery(items: Sequence[Item], deliver: Deliver) -> Callable[[Any, BaseException | None], None]:
    def tell(results: Any, error: BaseException | None) -> None:
        if error is None:
            _deliver(items, results, deliver)
        elif isinstance(error, SlothError):
            _deliver(items, [error.again() for _ in items], deliver)
        else:
            raise error

    return tell
