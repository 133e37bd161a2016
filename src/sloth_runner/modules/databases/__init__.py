"""Why: users, databases and grants of database servers are resources, asked for and changed through their clients."""
