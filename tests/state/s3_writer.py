"""A process that commits to an S3 store, one number after the other, and says so, until it is killed."""

from __future__ import annotations

import sys

from sloth_runner.state.store import Change
from tests.state.s3_kit import another, key


def main() -> None:
    store = another(sys.argv[1])
    number = len(list(store.scan(key("n"))))
    while True:
        store.commit(
            [Change(key(f"n{number:04}"), str(number).encode()), Change(key("last"), b"%d" % number)]
        )
        print(number, flush=True)
        number += 1


if __name__ == "__main__":
    main()
