"""Tests of the Lua side: bodies are driven by hand, no engine."""
