"""The router: knows connections, agents, jobs, configuration and how to call a hook. Plugins decide the rest."""
