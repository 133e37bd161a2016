"""Why: a database file is tampered with by another process, as a stranger would: with SQL, past all of our code."""

from __future__ import annotations

import sys

import apsw


def main() -> None:
    path, *statements = sys.argv[1:]
    file = apsw.Connection(path)
    for statement in statements:
        file.execute(statement)
    file.close()


if __name__ == "__main__":
    main()
