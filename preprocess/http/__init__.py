"""HTTP: the client, public addresses, bodies, failures and opt-out headers."""
