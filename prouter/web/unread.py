"""Header lines by which nothing is decided, and which a job gets as they came.

Belongs here: telling them from those that are read, on the bytes of a head. Does not: what is known of requests that
differ in nothing else (again.py).

Contract: `split` answers only where every line is valid by itself (http1/fields.py) and is either one that may be read,
or an ordinary one, or the only Content-Length, a plain number: how long a body is says where the next request begins,
and decides nothing. What else frames a body, what is hop-by-hop and what names other headers is always among
those that may be read; names with an underscore are nothing ordinary: some servers take it for a hyphen.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from prouter.http1.fields import VALUE
from prouter.http1.policy import HOP_BY_HOP, REQUEST_FRAMING

LENGTH = "content-length"
ALWAYS_READ = (HOP_BY_HOP | REQUEST_FRAMING | frozenset(("host", "x-request-id"))) - {LENGTH}
_NAME = r"[!#$%&'*+\-.^`|~0-9A-Za-z]+"
"""A token without an underscore."""


class Unread:
    """Tells lines apart, for decisions that read headers of these (lower-case) `names`, and no others."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = frozenset(names) | ALWAYS_READ
        read = "|".join(re.escape(name) for name in sorted(self.names))
        self._lines = re.compile(
            rf"((?:{read}):{VALUE}\r\n)|({LENGTH}:[ \t]*[0-9]{{1,18}}[ \t]*\r\n)|((?!{LENGTH}:){_NAME}:{VALUE}\r\n)"
            r"|[\s\S]+".encode("latin-1"),
            re.IGNORECASE,
        )
        """What is none of these takes the rest: looked at once, and not from each of its bytes on."""

    def split(self, data: bytes, start: int, end: int, most: int) -> tuple[bytes, bytes, int] | None:
        """Lines that are read, and the others, of the fields from `start` to `end`, that of their head; and how long
        the body is by the others, where none of them says so 0.

        None: these are no such lines, or more than `most`.
        """
        found = self._lines.findall(data, start, end - 2)
        read = b"".join([line for line, _, _ in found])
        others = b"".join([length or line for _, length, line in found])
        lengths = [length for _, length, _ in found if length]
        if len(read) + len(others) != end - 2 - start or len(found) > most or len(lengths) > 1:
            return None
        return read, others, int(lengths[0].partition(b":")[2]) if lengths else 0


@lru_cache(64)
def unread(*names: frozenset[str]) -> Unread:
    """Of all these together: the same value for the same names."""
    return _unread(frozenset().union(*names))


@lru_cache(64)
def _unread(names: frozenset[str]) -> Unread:
    return Unread(names)
