"""Who may speak to whom: one authority of the user's own, and certificates with a name and a role."""
