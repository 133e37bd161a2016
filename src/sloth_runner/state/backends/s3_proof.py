"""Why: much is called S3 that is not; what this store rests on is tried before it is trusted.

``prove_creates`` is asked by every process before its first commit and costs one request: the object ``proof``
is there already, and creating it must be refused. Servers that ignore ``If-None-Match`` create it again, and
are told apart from a new store by a second try. ``proofs`` is the doctor's: it takes a few seconds and looks at
more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sloth_runner.errors import StoreDown, Unfit
from sloth_runner.plain import Final
from sloth_runner.state.backends.s3_client import Created, Objects, World
from sloth_runner.state.backends.s3_keeping import Keeper
from sloth_runner.state.backends.s3_lease import CLOCK
from sloth_runner.state.backends.s3_log import log_name
from sloth_runner.state.backends.s3_tail import Tail
from sloth_runner.state.proofs import tried
from sloth_runner.state.store import Proof

PROOF: Final = "proof"
_BODY: Final = b"Creating this object again must be refused: all commits of this store rest on that.\n"
PROBE: Final = "probe"
RACERS: Final = 8
RACES: Final = 3
RUN: Final = 2.2
"""Seconds for which the server's clock is watched."""
SAMPLE: Final = 20
"""Log objects that are looked for."""


def prove_creates(objects: Objects) -> None:
    """Raises Unfit if an object that is there can be created again; StoreDown."""
    for _ in range(2):
        made = objects.create(PROOF, _BODY)
        while made is Created.AGAIN:
            made = objects.create(PROOF, _BODY)
        if made is Created.TAKEN:
            return
    raise Unfit(
        f"{objects.place} ignores If-None-Match: an object that was there could be created again, and so two "
        "writers would overwrite each other's commits",
        unchanged=["nothing was committed"],
        next=["use a server that has conditional writes: docs/stores/s3.md, Servers"],
    )


class Prober:
    """All proofs of one store."""

    def __init__(self, objects: Objects, tail: Tail, keeper: Keeper, world: World) -> None:
        self._objects = objects
        self._tail = tail
        self._keeper = keeper
        self._world = world

    def __call__(self) -> list[Proof]:
        """Raises what says nothing of the server's worth: StoreDown, Indeterminate."""
        self._tail.refresh()
        mark = f"{PROBE}/{self._world.new_id()}"
        names = [f"{mark}-{number}" for number in range(RACES)]
        tries: tuple[tuple[str, Callable[[], Proof]], ...] = (
            ("create once", self._create_once),
            ("one winner", lambda: self._one_winner(names)),
            ("read after write", lambda: self._reads(mark)),
            ("clock", self._clock),
            ("log", self._log),
            ("checkpoints", self._checkpoints),
            ("bucket", self._bucket),
        )
        try:
            return tried(tries)
        finally:
            self._tidy([mark, *names])

    def _tidy(self, names: Sequence[str]) -> None:
        """Nothing stays; who can't even do this is told by the error that is on its way."""
        try:
            self._objects.delete(names)
        except StoreDown:
            pass

    def _create_once(self) -> Proof:
        prove_creates(self._objects)
        return Proof("create once", True, "a second conditional create is refused")

    def _one_winner(self, names: Sequence[str]) -> Proof:
        """Of several who create the same object at the same moment, one must win, and its content must
        stand."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(RACERS) as pool:
            for name in names:
                bodies = [f"{name} by {racer}".encode() for racer in range(RACERS)]
                made = list(pool.map(lambda body, name=name: self._objects.create(name, body), bodies))
                won = [body for body, one in zip(bodies, made, strict=True) if one is Created.DONE]
                found = self._objects.get(name)
                if len(won) > 1 or (None if found is None else found.body) != next(iter(won), None):
                    text = f"{RACERS} created one object at once, and {len(won)} were told that it was theirs"
                    return Proof("one winner", False, text)
        return Proof(
            "one winner", True, f"of {RACERS} who create one object at once, one wins; {len(names)} times"
        )

    def _reads(self, name: str) -> Proof:
        """What was written, overwritten or deleted is seen so at once, by name and in a listing."""
        for body in (b"first", b"second, longer", None):
            if body is None:
                self._objects.delete([name])
            else:
                self._objects.put(name, body)
            found = self._objects.get(name)
            listed = [row.size for row in self._objects.list(PROBE) if row.name == name]
            if (None if found is None else found.body) != body:
                return Proof(
                    "read after write", False, "an object that was just written was not read as it is"
                )
            if listed != ([] if body is None else [len(body)]):
                return Proof(
                    "read after write", False, "an object that was just written was not listed as it is"
                )
        return Proof("read after write", True, "reads and listings show what was written last")

    def _clock(self) -> Proof:
        """The times of two objects differ by as much as passes here."""
        began = self._world.now()
        self._objects.put(CLOCK, b"")
        first = self._objects.modified(CLOCK)
        self._world.sleep(RUN)
        ready = self._world.now()
        self._objects.put(CLOCK, b"")
        second = self._objects.modified(CLOCK)
        passed = self._world.now() - began
        if first is None or second is None:
            return Proof("clock", False, "an object that was just written is not there")
        if not ready - began - RUN - 1 <= second - first - RUN <= passed - RUN + 1:
            text = (
                f"in {passed:.1f} s the times of the server's objects went from {first:.0f} to {second:.0f}"
            )
            return Proof("clock", False, text)
        return Proof("clock", True, f"it runs as clocks here do; {passed:.1f} s were tried")

    def _log(self) -> Proof:
        """Log objects are never deleted; those looked for are the ends and some in between."""
        last = self._tail.read(lambda state: state.tail)
        if not last:
            return Proof("log", True, "it is empty")
        chosen = {1, last, *(1 + int(self._world.chance() * (last - 1)) for _ in range(SAMPLE))}
        missing = [number for number in sorted(chosen) if self._objects.modified(log_name(number)) is None]
        if missing:
            text = f"{log_name(missing[0])} was deleted: a writer that slept could create it again"
            return Proof("log", False, f"{text}; look for a lifecycle rule of the bucket")
        return Proof("log", True, f"{last:,} objects; {len(chosen)} were looked for, and are there")

    def _checkpoints(self) -> Proof:
        last, official = self._tail.read(lambda state: (state.tail, state.official))
        at = official.at if official is not None else 0
        trouble = self._keeper.trouble
        if trouble is not None:
            text = f"the last one could not be made: {trouble.message}"
            return Proof("checkpoints", False, text, vital=False)
        if last - at > 4 * self._keeper.interval:
            text = f"the newest is at {at:,}, the log at {last:,}: no writer makes any"
            return Proof("checkpoints", False, text, vital=False)
        return Proof("checkpoints", True, f"the newest is at {at:,}, the log at {last:,}")

    def _bucket(self) -> Proof:
        """What the answers say about rules of the bucket."""
        prove_creates(self._objects)  # so that there is an object to ask for
        try:
            said = self._objects.headers(PROOF)
        except StoreDown as error:
            return Proof("bucket", True, f"its rules can't be looked at: {error.message}")
        if "x-amz-expiration" in said:
            text = f"a lifecycle rule will delete objects of this store: {said['x-amz-expiration']}"
            return Proof("bucket", False, f"{text}; take its prefix out of the rule")
        words = ["no lifecycle rule deletes its objects"]
        if said.get("x-amz-version-id", "null") != "null":
            words.append("old versions are kept: have noncurrent versions expire")
        if "x-amz-object-lock-mode" in said:
            words.append(f"object lock ({said['x-amz-object-lock-mode'].lower()}) keeps them")
        encrypted = said.get("x-amz-server-side-encryption")
        words.append(
            f"encrypted by the server ({encrypted})" if encrypted else "the server says nothing of encryption"
        )
        return Proof("bucket", True, "; ".join(words))
