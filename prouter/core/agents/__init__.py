"""Agents as the router sees them: links, who is connected or away, pipes, and agents that we dial."""
