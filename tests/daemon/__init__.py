"""Why: gRPC is told how to be before anything imports it, here as in the program."""

import os

from sloth_runner.rpc import load

load(os.environ)
