"""Jobs that wait for an agent with room."""
