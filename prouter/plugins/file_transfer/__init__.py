"""Files of a job's sandbox over HTTP: `PATH/file/REL`. The router relays, the agent's half reads and writes."""
