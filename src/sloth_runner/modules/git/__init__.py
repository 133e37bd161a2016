"""Why: working copies of git repositories, converged without destroying anybody's work."""
