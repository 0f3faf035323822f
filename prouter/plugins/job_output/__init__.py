"""A job's output over HTTP: `PATH/output`. The router relays, the agent's half reads and follows."""
