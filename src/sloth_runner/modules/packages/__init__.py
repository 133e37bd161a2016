"""Why: what modules do with Debian packages, the sources that they come from, and the keys that sign those."""
