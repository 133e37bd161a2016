"""Why: what makes a machine's own set-up: accounts, services, names, schedules, settings of the kernel."""
