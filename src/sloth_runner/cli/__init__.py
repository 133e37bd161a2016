"""Why: people and scripts meet the project here; nothing below this package knows a terminal."""
