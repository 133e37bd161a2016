"""Why: something that imports a bundle, until it is killed."""

from __future__ import annotations

import sys

from sloth_runner.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["state", "import", sys.argv[1], "--yes", "--no-backup", "--force", *sys.argv[2:]]))
