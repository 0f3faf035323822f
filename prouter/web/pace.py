"""How fast a request's body must come: who sends a byte now and then holds a connection, a pipe and a job's server."""

from __future__ import annotations

LATE = 0.25
"""Of a window: how late its end may be looked at."""


class BodyPace:
    """Looks back over one window of time after the other. A window in which the client had to wait counts for nothing,
    nor does one whose end we saw late: we slept, and what was sent meanwhile has not been read yet.

    `waits`: the client sends nothing before it is told to go on (`Expect: 100-continue`).
    """

    def __init__(self, rate: float, window_seconds: float, now: float, *, waits: bool) -> None:
        self._least = rate * window_seconds
        self._window_seconds = window_seconds
        self._until = now + window_seconds
        self._bytes = 0
        """That had come when the window began."""
        self._waits = waits
        self._held = False
        self._excused = False

    def hold(self) -> None:
        """Nobody takes what it sends."""
        self._held = self._excused = True

    def go_on(self) -> None:
        self._held = False

    def asked_for(self) -> None:
        """The client was told that it may send."""
        self._excused = self._excused or self._waits
        self._waits = False

    def look(self, now: float, bytes_in: int, *, taken: bool) -> float:
        """Seconds until the window ends; 0 when it has ended with too few bytes. `taken`: somebody takes the body."""
        if now < self._until:
            return self._until - now
        waits = self._waits and not bytes_in
        slept = now > self._until + LATE * self._window_seconds
        excused = self._excused or waits or slept or not taken
        if bytes_in - self._bytes < self._least and not excused:
            return 0.0
        self._until = now + self._window_seconds
        self._bytes = bytes_in
        self._excused = self._held
        return self._window_seconds
