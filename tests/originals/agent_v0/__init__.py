"""An imitation of the original pAgent 0.6, for tests. It shares no code with prouter."""
