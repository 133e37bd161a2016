"""Why: developers and CI start and stop all servers with one command. Called by scripts/services."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time

from tests.services import NAMES, ROOT, make


def up(names: list[str]) -> bool:
    """Start them; what can't be started is told, and does not keep the others from it."""
    ROOT.mkdir(exist_ok=True)
    good = True
    for name in names:
        file = ROOT / f"{name}.json"
        if file.exists():
            if _alive(json.loads(file.read_text())["pid"]):
                print(f"{name}: is up")
                continue
            file.unlink()
        shutil.rmtree(ROOT / name, ignore_errors=True)
        try:
            server = make(name, ROOT / name)
            server.start()
        except (RuntimeError, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            good = False
            continue
        file.write_text(json.dumps({"pid": server.pid, "url": server.url}))
        print(f"{name}: started, {server.url}")
    return good


def down(names: list[str]) -> None:
    for name in names:
        file = ROOT / f"{name}.json"
        if not file.exists():
            continue
        pid = json.loads(file.read_text())["pid"]
        for number in (signal.SIGTERM, signal.SIGKILL):
            end = time.monotonic() + 10
            while _alive(pid) and time.monotonic() < end:
                os.killpg(pid, number)
                time.sleep(0.05)
        file.unlink()
        shutil.rmtree(ROOT / name, ignore_errors=True)
        print(f"{name}: stopped")


def listing() -> None:
    for name in NAMES:
        file = ROOT / f"{name}.json"
        row = json.loads(file.read_text()) if file.exists() else None
        print(f"{name}: {row['url'] if row and _alive(row['pid']) else 'is not up'}")


def _alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    verb, *names = sys.argv[1:]
    unknown = set(names) - set(NAMES)
    if unknown:
        sys.exit(f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    chosen = names or list(NAMES)
    if verb == "up":
        sys.exit(0 if up(chosen) else 1)
    elif verb == "down":
        down(chosen)
    else:
        listing()


if __name__ == "__main__":
    main()
