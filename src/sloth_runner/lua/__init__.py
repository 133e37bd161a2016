"""Why: everything that knows Lua lives here; the engine sees task bodies as generators of calls."""
