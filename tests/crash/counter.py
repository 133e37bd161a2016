"""Why: many processes count one key; each says how long its slowest increment took."""

from __future__ import annotations

import json
import sys
import time

from tests.crash.worker import open_state


def main() -> None:
    folder, rounds = sys.argv[1], int(sys.argv[2])
    state = open_state(folder)
    state.exists("counter")
    print("ready", flush=True)
    sys.stdin.readline()
    worst, began = 0.0, time.monotonic()
    for _ in range(rounds):
        start = time.monotonic()
        state.increment("counter")
        worst = max(worst, time.monotonic() - start)
    print(json.dumps({"worst": worst, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main()
