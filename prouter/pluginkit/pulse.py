"""How late an app's event loop is, and what held it: a beat on the loop, and a thread that looks when one is overdue.

Belongs here: measuring and naming. Does not: who shows it (metrics, /debug/state, the watch of a link). What plugins
do in hooks and routes is named with the plugin by watching.py as well; here it is whatever ran, by where it stood.

A beat comes every half of `slow_seconds` and costs a timer; the thread wakes as often, and reads the loop's stack only
when a beat is overdue. No values are read from the stack, only names of functions and lines.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from types import FrameType

from prouter.model.plugin import ConfigSection
from prouter.model.traffic import LoopCount
from prouter.pluginkit.seldom import SeldomLog

log = logging.getLogger(__name__)

SECTION = ConfigSection(
    "loop",
    {
        "slow_callback": {
            "type": "number",
            "minimum": 0,
            "maximum": 60,
            "default": 0.5,
            "description": "Seconds for which the event loop may be held at one time; who holds it for longer is named "
            "in the log. 0: nobody is.",
        }
    },
)
BEAT_SECONDS = 0.5
"""Between two beats where nobody is to be named."""
LINES_AT_ONCE = 5
STUCK_SECONDS = 5.0
"""Whoever holds the loop for so long is named at once, since it may never end."""
WORST_OF_SECONDS = 60.0
FRAMES = 4
"""Of the stack: the innermost ones."""
_BASE = ("asyncio.base_events", "asyncio.runners", "prouter.cli.daemon")
"""Modules below which nothing of ours stands; a callback's own frames are above."""
_PLUMBING = ("asyncio.events", "asyncio.tasks", "asyncio.locks", "selectors", "prouter.pluginkit.tasks")


class Pulse:
    """Of one event loop. `begin` on the loop, `end` before it goes."""

    def __init__(self, slow_seconds: float) -> None:
        """`slow_seconds` 0: delays are measured, nobody is named, and there is no thread."""
        self.count = LoopCount()
        self._slow_seconds = slow_seconds
        self._every = slow_seconds / 2 if slow_seconds else BEAT_SECONDS
        self._lines = SeldomLog(log, LINES_AT_ONCE)
        self._idle_lines = SeldomLog(log)
        self._due = 0.0
        """When the next beat should come, by the monotonic clock; written by the loop, read by the thread."""
        self._beat_cpu = 0.0
        self._seen = ""
        """What ran when this beat was overdue; written by the thread."""
        self._waited = 0.0
        """How long the loop's thread had waited for a processor, when a beat came in time."""
        self._handle: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ident = threading.get_ident()
        self._native = threading.get_native_id()
        self._next()
        if self._slow_seconds:
            self._thread = threading.Thread(target=self._look, name="pulse", daemon=True)
            self._thread.start()

    def end(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._ended.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _next(self) -> None:
        self._beat_cpu = time.thread_time()
        self._due = time.monotonic() + self._every
        self._handle = self._loop.call_later(self._every, self._beat)

    def _beat(self) -> None:
        now = time.monotonic()
        late = max(0.0, now - self._due)
        self.count.note(late, now, WORST_OF_SECONDS)
        if self._slow_seconds and late >= self._slow_seconds:
            self._tell(late)
        self._seen = ""
        self._next()

    def _tell(self, late: float) -> None:
        """Late for want of a processor is nobody's fault here, nor is a process that was stopped."""
        worked = time.thread_time() - self._beat_cpu
        held = late - max(0.0, _waited_for_processor(self._native) - self._waited)
        if held < self._slow_seconds or (not self._seen and worked < self._slow_seconds):
            self._idle_lines.info("the event loop was %.2f s late, while nothing was run for this process", late)
            return
        self.count.slow += 1
        what = self._seen or "something that was over before it could be seen"
        self._lines.warn("the event loop was held for %.2f s (%.2f s of work) by %s", late, worked, what)

    def _look(self) -> None:
        """The thread."""
        told_for = 0.0
        while not self._ended.wait(self._every):
            due = self._due
            overdue = time.monotonic() - due
            if overdue < self._every / 2:
                self._waited = _waited_for_processor(self._native)
                continue
            what = self._what_runs()
            if what and not self._seen and due == self._due:
                self._seen = what
            if what and overdue > STUCK_SECONDS and told_for != due:
                told_for = due
                log.warning("the event loop is held since %.1f s by %s", overdue, what)

    def _what_runs(self) -> str:
        """Empty when the loop waits for news."""
        frame: FrameType | None = sys._current_frames().get(self._ident)
        stack: list[str] = []
        while frame is not None:
            module = str(frame.f_globals.get("__name__", "?"))
            if module in _BASE:
                break
            if module == "selectors" and not stack:
                return ""
            if module not in _PLUMBING:
                stack.append(f"{module}.{_name(frame)}:{frame.f_lineno}")
            frame = frame.f_back
        if frame is None or not stack:  # a loop that ends, or one that waits
            return ""
        shown = " < ".join(stack[:FRAMES])
        task = asyncio.current_task(self._loop)
        return f"{task.get_name()[:100]}: {shown}" if task is not None else shown


def _name(frame: FrameType) -> str:
    return str(getattr(frame.f_code, "co_qualname", frame.f_code.co_name))


def _waited_for_processor(native_id: int) -> float:
    """Seconds for which a thread could have run and did not (Linux; elsewhere 0)."""
    try:
        place = os.open(f"/proc/self/task/{native_id}/schedstat", os.O_RDONLY)
    except OSError:
        return 0.0
    try:
        return int(os.read(place, 100).split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
    finally:
        os.close(place)
