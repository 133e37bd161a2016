"""Why: what the UI shows to people, Prometheus reads as numbers (its text format, version 0.0.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from sloth_runner import __version__
from sloth_runner.documents import locks
from sloth_runner.documents.runs import heads
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.web.house import House

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RUNS = 1000

Sample = tuple[Mapping[str, str], float]


def text(app: App, house: House) -> str:
    """All of them."""
    metrics = [*_state(house), *_activity(app), *_server(house)]
    return "\n".join(line for metric in metrics for line in metric) + "\n"


def _state(house: House) -> list[list[str]]:
    figures = [(shelf.namespace, shelf.stats()) for shelf in house.index.shelves() if shelf.loaded]

    def each(field: str) -> list[Sample]:
        found = ((name, getattr(stats, field)) for name, stats in figures)
        return [({"namespace": name}, value) for name, value in found if value is not None]

    return [
        _metric("keys", "gauge", "Live keys.", each("keys")),
        _metric("value_bytes", "gauge", "Bytes of their values.", each("bytes")),
        _metric("revisions", "gauge", "Revisions kept.", each("revisions")),
        _metric("last_write_timestamp_seconds", "gauge", "When a key was changed last.", each("newest")),
        _metric("writes_last_minute", "gauge", "Writes in this and the last minute.", [({}, _last(house))]),
    ]


def _activity(app: App) -> list[list[str]]:
    held = list(locks.held(app, locks.namespaces(app, None)))
    spaces = Counter(info.namespace for info, _ in held)
    runs = Counter(str(head["status"]) for head in heads(app, stack=None, limit=RUNS))
    stale = sum(stale for _, stale in held)
    return [
        _metric("locks_held", "gauge", "Locks that are held.", _labelled("namespace", spaces)),
        _metric("locks_stale", "gauge", "Locks whose process is gone.", [({}, stale)]),
        _metric("runs", "gauge", f"Runs by status, of the last {RUNS}.", _labelled("status", runs)),
    ]


def _server(house: House) -> list[list[str]]:
    served = [({"method": m, "status": str(s)}, c) for (m, s), c in sorted(house.served.items())]
    out = [
        _metric("build_info", "gauge", "The version that runs.", [({"version": __version__}, 1)]),
        _metric("ui_pages_listening", "gauge", "Pages that listen for changes.", [({}, house.hub.listening)]),
        _metric("ui_requests_total", "counter", "Requests answered.", served),
    ]
    last = house.checks.last
    if last is not None:
        out += [
            _metric("drift_resources", "gauge", "Resources that differ.", [({}, last.body["drifted"])]),
            _metric(
                "drift_checked_timestamp_seconds", "gauge", "When that was looked at.", [({}, last.ended)]
            ),
        ]
    return out


def _labelled(label: str, counts: Mapping[str, int]) -> list[Sample]:
    return [({label: name}, count) for name, count in sorted(counts.items())]


def _last(house: House) -> int:
    return sum(count for _, count in house.pulse.minutes()[-2:])


def _metric(name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> list[str]:
    full = f"sloth_runner_{name}"
    lines = [f"# HELP {full} {meaning}", f"# TYPE {full} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{full}{{{inside}}} {value:.15g}" if inside else f"{full} {value:.15g}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
