"""Requests that are alike: from one address, with the same header lines, to one job, another rest of the target.

Who asks and where it goes was decided for the first of them; as long as that holds (outcomes.Lasting), the next ones
are compared with it byte by byte and sent on with the head that was made for it. This is the way of most requests of
most clients, and the cheapest one. Whatever is not the same goes the whole way: exchange.py.

Contract: `matched` answers only for a buffer that is exactly one request line below the prefix and exactly the header
lines of the first request, which was strictly parsed, had no body and asked for no upgrade. So there is nothing in it
that was not validated before, but for the rest of the target, which is validated here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from prouter.http1.framing import wants_close
from prouter.model.access import Peer
from prouter.model.http import AnswerPolicy, RequestHead
from prouter.pipe.upstream import Upstream
from prouter.web.outcomes import Lasting

_REST = re.compile(rb"/[!-\"$-~]*")
"""As in http1/request.py: no spaces, no controls, no fragment."""
_VERSION = b" HTTP/1.1\r\n"
MAX_HEAD_BYTES = 4096
"""Of what is learned of. Larger heads are rare, and what they would take in memory is theirs to choose."""
MAX_JOBS = 8
"""That are asked with the same header lines; of more, those that were learned last."""


@dataclass(frozen=True, slots=True)
class Again:
    """What is known of the requests like the first one."""

    start: bytes
    """Verb and target, up to where the rest begins with its slash."""
    end: bytes
    """What follows the target: the version, the header lines, the empty line."""
    rest_at: int
    """How long that is."""
    end_bytes: int
    """How long what follows is."""
    most: int
    """Bytes that the rest may have."""
    lasting: Lasting
    before: bytes
    """What the job gets before the rest of the target."""
    behind: bytes
    """And behind it, up to the request's id."""
    last: bytes
    """And behind that."""
    head: RequestHead
    """The first request's."""
    closes: bool
    """Whether the client closes the connection after it."""
    short: bool
    """Whether it may go without an exchange: nobody is asked or told, and a body is there where an answer says so."""
    policy: AnswerPolicy
    fresh: Callable[[bool], Awaitable[Upstream]]
    """How a pipe is opened where none is kept."""

    def matched(self, data: bytes) -> bytes | None:
        """The rest of the target, where `data` is such a request."""
        if data.startswith(self.start) and data.endswith(self.end):
            begin, stop = self.rest_at, len(data) - self.end_bytes
            if stop - begin <= self.most and _REST.fullmatch(data, begin, stop) is not None:
                return data[begin:stop]
        return None

    def opening(self, rest: bytes) -> bytes:
        """The head that the job gets, up to the request's id; `last` follows it."""
        return b"".join((self.before, rest, self.behind))

    def request(self, rest: bytes, mark: bytes) -> bytes:
        """The head that the job gets; `mark` is the request's id."""
        return b"".join((self.before, rest, self.behind, mark, self.last))

    def head_of(self, rest: bytes) -> RequestHead:
        """As it was parsed, had it been."""
        target = self.start.partition(b" ")[2] + rest
        return replace(self.head, target=target.decode("ascii"))


class Alike:
    """What was learned of requests, by their address and header lines; the oldest is forgotten first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._seen: dict[int, None] = {}
        """Marks of requests; that two have one is rare, and does no harm."""
        self._known: dict[tuple[str, bool, bytes], tuple[Again, ...]] = {}

    def find(self, data: bytes, peer: Peer) -> Again | None:
        """What is known of a request that these bytes may be."""
        at = data.find(_VERSION)
        for again in self._known.get((peer.host, peer.secure, data[at:]), ()) if at >= 0 else ():
            if data.startswith(again.start):
                return again
        return None

    def seen_before(self, block: bytes, peer: Peer) -> bool:
        """Whether there was a request like this one (`block`, its head) not long ago: it is worth to learn of it."""
        mark = hash((peer.host, peer.secure, block[block.find(_VERSION) :]))
        if mark in self._seen:
            return True
        self._seen[mark] = None
        if len(self._seen) > self._most:
            del self._seen[next(iter(self._seen))]
        return False

    def keep(self, again: Again, peer: Peer) -> None:
        key = (peer.host, peer.secure, again.end)
        before = self._known.pop(key, ())
        others = [known for known in before if known.start != again.start]
        self._known[key] = (again, *others[: MAX_JOBS - 1])
        self._count += len(self._known[key]) - len(before)
        while self._count > self._most:
            self._count -= len(self._known.pop(next(iter(self._known))))


def learn(
    block: bytes,
    head: RequestHead,
    request: bytes,
    request_id: str,
    most_target: int,
    lasting: Lasting,
    policy: AnswerPolicy,
    fresh: Callable[[bool], Awaitable[Upstream]],
) -> Again | None:
    """From a request (`block`, its head as it came) and what the job got (`request`). None: it is not like that."""
    if len(block) > MAX_HEAD_BYTES:
        return None
    line, version, fields = block.partition(_VERSION)
    start = f"{head.method} {lasting.prefix}".encode("ascii")
    rest = line[len(start) :]
    sent, sent_version, sent_fields = request.partition(_VERSION)
    marked = request_id.encode("ascii")
    if not (line.startswith(start) and rest.startswith(b"/") and version and sent.endswith(rest)):
        return None
    if sent_fields.count(marked) != 1 or head.get("x-request-id") is not None:
        return None
    behind, _, last = sent_fields.partition(marked)
    before = sent[: len(sent) - len(rest)]
    most = most_target - len(lasting.prefix.encode("ascii"))
    return Again(
        start,
        version + fields,
        len(start),
        len(version) + len(fields),
        most,
        lasting,
        before,
        sent_version + behind,
        last,
        head,
        wants_close(head),
        lasting.judge is None and lasting.tell is None and head.method != "HEAD" and not policy.set_headers,
        policy,
        fresh,
    )
