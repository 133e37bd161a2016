"""Why: modules that handle files and folders share one kind of resource; a family, one file a theme."""
