"""Why: what works on the machine itself; standard library only, so that it can be sent to a bare one."""
