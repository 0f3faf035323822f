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
KNOWN_LINES, KNOWN_LINE_BYTES = 256, 256
"""That are remembered, and how long each may be."""
_READ, _LENGTH, _OTHER = 1, 2, 3


class Unread:
    """Tells lines apart, for decisions that read headers of these (lower-case) `names`, and no others."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = frozenset(names) | ALWAYS_READ
        read = "|".join(re.escape(name) for name in sorted(self.names))
        kinds = rf"((?:{read}):{VALUE})|({LENGTH}:[ \t]*[0-9]{{1,18}}[ \t]*)|((?!{LENGTH}:){_NAME}:{VALUE})"
        self._line = re.compile(kinds.encode("latin-1"), re.IGNORECASE)
        """A group for each kind."""
        self._known: dict[bytes, int] = {}
        """Which kind it is, of lines that came: most of a client's are the same in each of its requests."""

    def split(self, data: bytes, start: int, end: int, most: int) -> tuple[bytes, bytes, int] | None:
        """Lines that are read, and the others, of the fields from `start` to `end`, that of their head; and how long
        the body is by the others, where none of them says so 0.

        None: these are no such lines, or more than `most`.
        """
        read, others, lengths = [], [], []
        lines = data[start : end - 4].split(b"\r\n")
        for line in lines:
            kind = self._known.get(line) or self._look(line)
            if kind == _OTHER:
                others.append(line)
            elif kind == _READ:
                read.append(line)
            elif kind == _LENGTH:
                others.append(line)
                lengths.append(line)
            else:
                return None
        if len(lines) > most or len(lengths) > 1:
            return None
        length = int(lengths[0].partition(b":")[2]) if lengths else 0
        return b"\r\n".join((*read, b"")), b"\r\n".join((*others, b"")), length

    def _look(self, line: bytes) -> int:
        """Which kind it is; 0: no valid line, or one that may be taken for another."""
        found = self._line.fullmatch(line)
        if found is None:
            return 0
        kind = found.lastindex or 0
        if len(line) <= KNOWN_LINE_BYTES:
            if len(self._known) >= KNOWN_LINES:
                self._known.clear()
            self._known[line] = kind
        return kind


@lru_cache(64)
def unread(*names: frozenset[str]) -> Unread:
    """Of all these together: the same value for the same names."""
    return _unread(frozenset().union(*names))


@lru_cache(64)
def _unread(names: frozenset[str]) -> Unread:
    return Unread(names)
