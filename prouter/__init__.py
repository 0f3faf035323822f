"""prouter."""
