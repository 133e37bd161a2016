"""The engine: plans a program's tasks, runs their bodies, and says what happened."""
