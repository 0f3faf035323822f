"""The original's protocol as both imitations use it: messages, streams, calls, links; no code of prouter."""
