"""Why: what task files may use is described once, as data; pages, types for editors and completion are made of it."""
