"""Strict HTTP/1.1 (RFC 9110, RFC 9112) as pure functions and machines: heads, framing, header policy, our own answers.

What could be read two ways is refused. No event loop and no sockets here.
"""
