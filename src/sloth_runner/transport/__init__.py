"""Why: the ways to a machine; whoever asks for an operation need not know which one it takes."""
