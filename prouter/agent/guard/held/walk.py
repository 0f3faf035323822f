"""The walk through a sandbox, beside the guardian's loop, which never waits for it: its disk may not answer.

It is the only thread that a guardian has while its job runs, and begins when nothing is forked any more. One whose disk
does not answer is left to wait: nothing could end it, and it goes on where it was when the disk is back.
Belongs here: the thread, its pauses, what it cost. Does not: the walk itself (measure.py), when one begins (bounds.py).
"""

from __future__ import annotations

import threading
import time

from .measure import Measure

SLICE_SECONDS = 0.005
"""Of a walk at once: the guardian's loop gives it as long before it goes on, and takes its turns between."""
PAUSE_SECONDS = 0.05
SLOWEST_SECONDS = 0.5
"""What a slice counts for at most: one that waited for its disk cost nobody else as much."""


class Walk:
    """One after the other, each as often as `look` asks for it."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._thread: threading.Thread | None = None
        self._bytes: int | None = None
        self._took = 0.0

    def look(self) -> tuple[int, float] | None:
        """Bytes, and the seconds of work that it took, of a walk that is done; None: one is under way, begun now where
        there was none."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # there is no thread for it
                self._slice()
            else:
                self._thread = thread
        if self._thread is not None:
            self._thread.join(SLICE_SECONDS)
            if self._thread.is_alive():
                return None
            self._thread = None
        if self._bytes is None:
            return None
        done = self._bytes, self._took
        self._bytes, self._took = None, 0.0
        return done

    def _run(self) -> None:
        while self._slice() is None:
            time.sleep(PAUSE_SECONDS)

    def _slice(self) -> int | None:
        began = time.monotonic()
        self._bytes = self._measure.step(SLICE_SECONDS)
        self._took += min(time.monotonic() - began, SLOWEST_SECONDS)
        return self._bytes
