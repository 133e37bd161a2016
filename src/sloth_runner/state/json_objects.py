"""Why: keys and values come from other programs as one JSON object; it is read value by value, never all at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator

from sloth_runner.errors import BadValue, Corrupt, SlothError
from sloth_runner.plain import TYPE_CHECKING, Any, Final
from sloth_runner.state.bundle import scan_string
from sloth_runner.state.bundle_export import snapshot_of
from sloth_runner.state.layout import HEAD, check_key, place, prefix_of
from sloth_runner.state.record import decode_record, load_blob
from sloth_runner.state.value import encode
from sloth_runner.state.written import finite, named_once, no_constant, value_of

if TYPE_CHECKING:
    from sloth_runner.state.store import Store

VALUE_MAX: Final = 8 << 20
"""Characters of one value: more than the longest has when all of it is escapes."""
KEYS_MAX: Final = 1_000_000
NAMES_MAX: Final = 128 << 20
"""Characters of all names together: they are kept, to find one that comes twice."""
STEP: Final = 1 << 16
_SPACE = re.compile(r"[ \t\n\r]*+")


def items(blocks: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """The keys of a JSON object and their values' canonical texts, in the order of the file.

    Raises BadValue (what state can't hold, naming the key), BadName, Corrupt (no JSON object, a key twice).
    """
    text = _Text(blocks)
    seen: set[str] = set()
    characters = 0
    text.expect("{")
    mark = text.skip()
    if mark == "}":
        text.take()
    while mark != "}":
        key = check_key(text.key())
        if key in seen:
            raise _no_json(f"it names {key!r} twice")
        seen.add(key)
        characters += len(key)
        if len(seen) > KEYS_MAX or characters > NAMES_MAX:
            raise _no_json(f"it has more than {KEYS_MAX:,} keys, or too long ones; a bundle may have more")
        text.expect(":")
        yield key, _encoded(key, text.value())
        mark = text.skip()
        if mark not in (",", "}"):
            raise _no_json("a comma or the closing brace is missing")
        text.take()
    if text.skip():
        raise _no_json("something follows the object")


def write(
    store: Store,
    namespace: str,
    prefix: str,
    now: float,
    put: Callable[[bytes], object],
    consent: Callable[[str], None],
) -> int:
    """Write the keys that are live at ``now`` as one object, a key a line; how many there are.

    ``consent`` hears of each sensitive key before it is written, and may raise.
    """
    count = 0
    with snapshot_of(store, namespace) as reader:
        put(b"{")
        for entry in reader.scan(prefix_of(namespace, HEAD, prefix)):
            record = decode_record(entry.value)
            if not record.live(now):
                continue
            name = place(entry.key).name
            if record.sensitive:
                consent(name)
            text = load_blob(reader, namespace, name, record).text
            put(f"{',' if count else ''}\n{json.dumps(name, ensure_ascii=False)}: {text}".encode())
            count += 1
        put(b"\n}\n")
    return count


class _Text:
    """A window on the file's text: characters before ``at`` are done with."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        import codecs

        self._blocks = iter(blocks)
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._window = ""
        self._at = 0
        self._ended = False
        decoder: Any = json.JSONDecoder(
            parse_constant=_or_bad(no_constant),
            parse_float=_or_bad(finite),
            object_pairs_hook=_or_bad(named_once),
        )
        self._scan = decoder.scan_once

    def skip(self) -> str:
        """Pass over white space; the next character, "" at the end."""
        while True:
            space = _SPACE.match(self._window, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._window):
                return self._window[self._at]
            if not self._more(STEP):
                return ""

    def take(self) -> None:
        """The next character is done with."""
        self._at += 1

    def expect(self, mark: str) -> None:
        """Pass over ``mark``."""
        found = self.skip()
        if found != mark:
            what = f"{found!r}" if found else "the end"
            raise _no_json(f"{mark!r} is expected where {what} stands")
        self.take()

    def key(self) -> str:
        """A string."""
        if self.skip() != '"':
            raise _no_json("a key must be a string")
        return str(self._scanned(lambda: scan_string(self._window, self._at + 1, True)))

    def value(self) -> object:
        """Any value."""
        if not self.skip():
            raise _no_json("it is cut off")
        return self._scanned(lambda: self._scan(self._window, self._at))

    def _scanned(self, scan: Any) -> object:
        """What ``scan`` finds, and its end; again with twice as much text while there is more, since a value that
        touches the window's end may go on beyond it."""
        while True:
            try:
                found, end = scan()
            except (ValueError, StopIteration, RecursionError) as error:
                if isinstance(error, RecursionError):
                    raise BadValue("a value is nested too deep", unchanged=["nothing was changed"]) from None
                if not self._more(len(self._window) - self._at):
                    raise _no_json(str(error) or "a value can't be read") from error
                continue
            if end < len(self._window) or not self._more(STEP):
                self._at = end
                return found

    def _more(self, count: int) -> bool:
        """Take in ``count`` more characters or so; False at the end. Raises Corrupt."""
        if self._ended:
            return False
        if len(self._window) - self._at > VALUE_MAX:
            raise _no_json(f"a value has more than {VALUE_MAX:,} characters")
        fresh: list[str] = []
        size = 0
        while size < count and not self._ended:
            data = next(self._blocks, b"")
            try:
                fresh.append(self._decoder.decode(data, not data))
            except UnicodeDecodeError as error:
                raise _no_json(f"it is not UTF-8: {error}") from error
            size += len(fresh[-1])
            self._ended = not data
        self._window = self._window[self._at :] + "".join(fresh)
        self._at = 0
        return size > 0


def _encoded(key: str, found: object) -> str:
    try:
        return encode(value_of(found), f"the value of {key!r}")
    except SlothError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadValue(
            f"the value of {key!r} can't be stored: {error}", unchanged=["nothing was changed"]
        ) from error


def _or_bad(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``read``, its refusals told from a text that is only cut off so far."""

    def refusing(given: Any) -> Any:
        try:
            return read(given)
        except ValueError as error:
            raise BadValue(str(error), unchanged=["nothing was changed"]) from None

    return refusing


def _no_json(why: str) -> Corrupt:
    return Corrupt(
        f"this is no JSON object of keys and values: {why}",
        unchanged=["nothing was changed"],
        next=["a bundle is imported without --format json"],
    )
