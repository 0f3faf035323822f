"""Requests that are alike: from one address, with the same header lines, to one job, another rest of the target.

Or with other lines than the first one had, where nothing is decided by these (unread.py).

Who asks and where it goes was decided for the first of them; as long as that holds (outcomes.Lasting), the next ones
are compared with it byte by byte and sent on with the head that was made for it. This is the way of most requests of
most clients, and the cheapest one. Whatever is not the same goes the whole way: exchange.py.

Contract: `matched` answers only for a buffer that is exactly one request line below the prefix, exactly the header
lines of the first request, and no more than its body. That one was strictly parsed, had no body or one of a length that
it told, and asked for no upgrade. So there is nothing in it that was not validated before, but for the rest of the
target, which is validated here, and how long the body is, where that may be another (unread.py).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from prouter.http1.fields import names_in
from prouter.http1.framing import CHUNKED, request_framing, wants_close
from prouter.http1.policy import forward_request
from prouter.http1.request import HeadLimits
from prouter.model.access import Peer
from prouter.model.http import AnswerPolicy, ForwardPlan, RequestHead
from prouter.pipe.upstream import Upstream
from prouter.web.outcomes import Lasting
from prouter.web.unread import Unread

_REST = re.compile(rb"/[!-\"$-~]*")
"""As in http1/request.py: no spaces, no controls, no fragment."""
_VERSION = b" HTTP/1.1\r\n"
_HEAD_END = b"\r\n\r\n"
MAX_HEAD_BYTES = 4096
"""Of what is learned of. Larger heads are rare, and what they would take in memory is theirs to choose."""
_Key = tuple[str, bool, bytes]
"""Address, whether it is TLS, header lines."""
MAX_JOBS = 8
"""That are asked with the same header lines; of more, those that were learned last."""
REPEATABLE = ("GET", "HEAD", "OPTIONS")
"""Without a body they are sent once more when a kept connection had just been closed (RFC 9110 9.2.2)."""


@dataclass(slots=True)
class Again:
    """What is known of the requests like the first one. Never changed; frozen ones take long to make."""

    start: bytes
    """Verb and target, up to where the rest begins with its slash."""
    end: bytes
    """What follows the target: the version, the header lines, the empty line."""
    rest_at: int
    """How long that is."""
    end_bytes: int
    """How long what follows is."""
    length: int
    """Bytes of the body behind that."""
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
    """Whether it may go without an exchange: nobody is asked, and a body is there where an answer says so."""
    repeatable: bool
    """Whether it may be sent once more."""
    policy: AnswerPolicy
    fresh: Callable[[bool], Awaitable[Upstream]]
    """How a pipe is opened where none is kept."""

    def matched(self, data: bytes) -> bytes | None:
        """The rest of the target, where `data` is such a request, or all of its head and a part of its body."""
        begin = self.rest_at
        stop = data.find(_VERSION, begin)
        if data.startswith(self.start) and data.startswith(self.end, stop) and stop - begin <= self.most:
            body_bytes = len(data) - stop - self.end_bytes
            if body_bytes <= self.length and _REST.fullmatch(data, begin, stop) is not None:
                return data[begin:stop]
        return None

    def is_whole(self, data: bytes, rest: bytes) -> bool:
        """Whether the body is all there, once it `matched`."""
        return len(data) == self.rest_at + len(rest) + self.end_bytes + self.length

    def rest_of(self, head: bytes) -> bytes:
        """The rest of the target, of the head of one that `matched`."""
        return head[self.rest_at : len(head) - self.end_bytes]

    def head_in(self, data: bytes) -> bytes:
        """The head of one that is whole."""
        return data[: len(data) - self.length] if self.length else data

    def body_of(self, data: bytes) -> bytes:
        """The body of one that is whole."""
        return data[len(data) - self.length :] if self.length else b""

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


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests that are alike but for header lines by which nothing is decided, and which the job gets as they came."""

    plain: Again
    """One without any such line."""
    host: bytes
    """What the job gets before these lines: the rest of the first line, and Host."""
    behind: bytes
    """And behind them, up to the request's id."""

    @classmethod
    def of(cls, plain: Again) -> Kind:
        host_end = plain.behind.index(b"\r\n", len(_VERSION)) + 2
        return cls(plain, plain.behind[:host_end], plain.behind[host_end:])

    def with_lines(self, end: bytes, lines: bytes, length: int, most_head: int) -> Again | None:
        """`end`: what follows the target of such a request, before its body of this `length`; `lines`: those of it that
        are not read, by nobody who is told of it either: its head is that of the first one. None: such a body is not
        for this verb."""
        plain = self.plain
        if length and plain.repeatable:
            return None
        most = min(plain.most, most_head - plain.rest_at - len(end))
        return Again(
            plain.start,
            end,
            plain.rest_at,
            len(end),
            length,
            most,
            plain.lasting,
            plain.before,
            b"".join((self.host, lines, self.behind)),
            plain.last,
            plain.head,
            plain.closes,
            plain.short,
            plain.repeatable,
            plain.policy,
            plain.fresh,
        )


def _line_end(head: bytes) -> int:
    """Where the version at the end of the first line begins; -1 where that says another version than 1.1: a header's
    value may end like that, too."""
    at = head.find(_VERSION)
    return at if at >= 0 and head.find(b"\r\n") == at + len(_VERSION) - 2 else -1


class Alike:
    """What was learned of requests, by their address and header lines; the oldest is forgotten first."""

    def __init__(self, most: int, limits: HeadLimits) -> None:
        self._most = most
        self._limits = limits
        self._count = 0
        self._unread: Unread | None = None
        """Which lines are not read, in the kinds that are known."""
        self._kinds: dict[_Key, tuple[Kind, ...]] = {}
        self._kind_count = 0
        self._seen: dict[int, None] = {}
        """Marks of requests; that two have one is rare, and does no harm."""
        self._known: dict[_Key, tuple[Again, ...]] = {}

    def find(self, data: bytes, peer: Peer) -> Again | None:
        """What is known of a request that these bytes may be."""
        at = _line_end(data)
        stop = data.find(_HEAD_END, at) + len(_HEAD_END) if at >= 0 else 0
        if stop < len(_HEAD_END):
            return None
        for again in self._known.get((peer.host, peer.secure, data[at:stop]), ()):
            if data.startswith(again.start):
                return again
        return self._of_a_kind(data, at, stop, peer) if self._kinds else None

    def _of_a_kind(self, data: bytes, at: int, stop: int, peer: Peer) -> Again | None:
        if self._unread is None or stop > min(MAX_HEAD_BYTES, self._limits.head_bytes):
            return None
        lines = self._unread.split(data, at + len(_VERSION), stop, self._limits.header_count)
        if lines is None:
            return None
        read, others, length = lines
        for kind in self._kinds.get((peer.host, peer.secure, read), ()):
            if data.startswith(kind.plain.start):
                again = kind.with_lines(data[at:stop], others, length, self._limits.head_bytes)
                if again is not None and self.seen_before(data[:stop], peer):
                    self.keep(again, peer)
                return again
        return None

    def kind_to_learn(self, block: bytes, names: Unread, peer: Peer) -> bytes | None:
        """Of a request (`block`, its head) the lines that are read, where it is worth to learn of its kind."""
        at = _line_end(block)
        if at < 0 or len(block) > MAX_HEAD_BYTES:
            return None
        lines = names.split(block, at + len(_VERSION), len(block), self._limits.header_count)
        if lines is None or not self._is_seen(hash((peer.host, peer.secure, names, lines[0]))):
            return None
        return lines[0]

    def keep_kind(self, kind: Kind, names: Unread, peer: Peer) -> None:
        if names is not self._unread:
            self._unread, self._kinds, self._kind_count = names, {}, 0
        key = (peer.host, peer.secure, kind.plain.end[len(_VERSION) : -2])
        before = self._kinds.pop(key, ())
        others = [known for known in before if known.plain.start != kind.plain.start]
        self._kinds[key] = (kind, *others[: MAX_JOBS - 1])
        self._kind_count += len(self._kinds[key]) - len(before)
        while self._kind_count > self._most:
            self._kind_count -= len(self._kinds.pop(next(iter(self._kinds))))

    def seen_before(self, block: bytes, peer: Peer) -> bool:
        """Whether there was a request like this one (`block`, its head) not long ago: it is worth to learn of it."""
        return self._is_seen(hash((peer.host, peer.secure, block[block.find(_VERSION) :])))

    def _is_seen(self, mark: int) -> bool:
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
    limits: HeadLimits,
    lasting: Lasting,
    policy: AnswerPolicy,
    fresh: Callable[[bool], Awaitable[Upstream]],
) -> Again | None:
    """From a request (`block`, its head as it came) and what the job got (`request`). None: it is not like that."""
    if len(block) > MAX_HEAD_BYTES:
        return None
    framing, repeatable = request_framing(head), head.method in REPEATABLE
    if head.version != "1.1" or _line_end(block) < 0 or framing is CHUNKED or (framing.length and repeatable):
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
    most = min(
        limits.target_bytes - len(lasting.prefix.encode("ascii")),
        limits.head_bytes - len(start) - len(version) - len(fields),
    )
    return Again(
        start,
        version + fields,
        len(start),
        len(version) + len(fields),
        framing.length,
        most,
        lasting,
        before,
        sent_version + behind,
        last,
        head,
        wants_close(head),
        lasting.judge is None and lasting.anew is None and head.method != "HEAD" and not policy.set_headers,
        repeatable,
        policy,
        fresh,
    )


def learn_kind(
    read: bytes,
    names: Unread,
    head: RequestHead,
    sent: RequestHead,
    plan: ForwardPlan,
    request_id: str,
    limits: HeadLimits,
    lasting: Lasting,
    fresh: Callable[[bool], Awaitable[Upstream]],
) -> Kind | None:
    """From a request with these lines that are `read`; `sent` is the head that went to the job by `plan`."""
    plain = replace(head, headers=tuple(line for line in head.headers if line[0].lower() in names.names))
    sent = replace(sent, headers=tuple(line for line in sent.headers if line[0].lower() in names.names))
    if head.version != "1.1" or any(name not in ("keep-alive", "close") for name in names_in(head.all("connection"))):
        return None
    block = f"{head.method} {head.target} HTTP/1.1\r\n".encode("ascii") + read + b"\r\n"
    request = forward_request(sent, plan)
    again = learn(block, plain, request, request_id, limits, lasting, plan.answer, fresh)
    return Kind.of(again) if again is not None and not again.length else None
