"""The router's end of a pipe on the short way (web/short.py): answers that come in one piece, without a reader.

On the long way whoever gets what comes of a pipe is its carrier (upstream.py). Here a connection asks in his place, and
makes one as soon as anything else comes than such an answer.

Contract: it was validated whole, or begins with the bytes of one that was and has its size (http1/response.py). It is
the answer to a request that has left us whole; what comes before that is out of step, and goes to a carrier as every
other thing that may happen to a pipe.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import MutableSequence
from typing import Any, Protocol

from prouter.http1.response import WholeAnswer, whole_answer


class Asker(Protocol):
    """Wants an answer that comes whole and plain; any other, and whatever else happens, goes to a carrier."""

    def answered_whole(self, answer: WholeAnswer, came: bytes) -> bool:
        """`came` is the whole answer. False: it has to go to a carrier all the same."""

    def in_full(self) -> None:
        """It is no such answer: put a carrier in place, by the pipe's `carry`. Nothing, where there is one by now."""


class ShortPipe:
    """A base of UpstreamPipe."""

    uses: int
    """Exchanges that it carried or carries."""
    idle_since: float
    _unsent_line: bytes
    """What binds it to its port: sent with the first request."""
    _transport: asyncio.Transport
    _shelf: MutableSequence[Any] | None = None
    """Where it waits for its next request (shelf.py). None: its pool is asked each time."""
    _asker: Asker | None = None
    """In a carrier's place, as long as nothing but a whole answer comes."""
    _known: WholeAnswer | None = None
    """What the last answer of that kind was like."""

    def ask(self, asker: Asker, request: bytes) -> None:
        """Send a request, all of it, that is not HEAD."""
        self.uses += 1
        self._asker = asker
        if self._unsent_line:
            request, self._unsent_line = self._unsent_line + request, b""
        self._transport.write(request)

    def answer_whole(self, asker: Asker, data: bytes) -> bool:
        """Tell the asker, where `data` is all of the answer, and be ready for the next request; whether it was."""
        known = self._known
        if known is None or len(data) != known.size or not data.startswith(known.head):
            known = self._known = whole_answer(data)
            if known is None:
                return False
        if self._transport.get_write_buffer_size() or not asker.answered_whole(known, data):
            return False
        self._asker = None
        self.idle_since = time.monotonic()
        if self._shelf is not None:
            self._shelf.append(self)
        else:
            self.go_back()
        return True

    def keep_on(self, shelf: MutableSequence[Any] | None) -> None:
        """It is to wait there from now on."""
        self._shelf = shelf

    def go_back(self) -> None:
        """To its pool: it is in step, for the next request."""
        raise NotImplementedError

    def be_carried(self) -> None:
        """Something else happens: whoever has asked goes the long way, and a carrier gets what comes from now on."""
        if self._asker is not None:
            self._asker.in_full()
