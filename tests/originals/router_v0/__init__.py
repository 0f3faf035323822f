"""An imitation of the original pRouter 0.2, for tests. It shares no code with prouter."""
