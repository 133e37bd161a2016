"""Why: what can be done with a task file, each in a file of its own: loading, running, checking, pruning."""
