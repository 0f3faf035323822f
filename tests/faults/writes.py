"""System calls by which a daemon's threads change what is on disk: seen one by one, and a death at any of them.

Belongs here: strace on a running daemon, and what its lines say. Does not: what the daemon is doing meanwhile, and what
must be true afterwards. Of a daemon only threads beside the main one are looked at, which does no file's work there;
a process that has no other is looked at itself.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prouter.testing import eventually

CALLS = (
    *("openat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"),
    *("unlink", "unlinkat", "rmdir", "write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "fchmod"),
)
TRIES = 8
"""For a boundary to be met; what threads share they share a little differently each time."""
LINE = re.compile(r"^(?:(?P<thread>\d+) +)?(?P<call>\w+)\((?P<rest>.*)$")


@dataclass(frozen=True)
class Write:
    """One call. `number` counts the thread's calls of that name since it was looked at, from 1."""

    call: str
    number: int
    text: str

    @property
    def death(self) -> str:
        """What strace does in place of the call."""
        return f"inject={self.call}:signal=KILL:when={self.number}"


@asynccontextmanager
async def traced(pid: int, log: Path, *options: str) -> AsyncIterator[None]:
    """Until the context or the process ends."""
    others = [task.name for task in sorted(Path(f"/proc/{pid}/task").iterdir()) if task.name != str(pid)] or [str(pid)]
    words = [word for thread in others for word in ("-p", thread)]
    trace = ["strace", "-q", "-qq", "-y", "-s", "80", "-o", str(log), "-e", f"trace={','.join(CALLS)}", *options]
    strace = subprocess.Popen([*trace, *words], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        await eventually(lambda: strace.poll() is not None or all(_looked_at(pid, thread) for thread in others))
        assert strace.poll() is None, strace.communicate()[1]
        yield
    finally:
        if strace.poll() is None:
            strace.send_signal(signal.SIGINT)
        strace.communicate(timeout=20)


def _looked_at(pid: int, thread: str) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/task/{thread}/status").read_text()


def writes_below(place: Path | str, log: Path) -> Sequence[Write]:
    """In the order in which they began. `place` is in what they write to, a name in it is enough."""
    found, counts = [], Counter[tuple[str, str]]()
    for line in log.read_text("utf-8", "replace").splitlines():
        match = LINE.match(line)
        if match is None:  # what another thread interrupted goes on, or a thread ended
            continue
        thread, call, rest = match["thread"], match["call"], match["rest"]
        counts[thread, call] += 1
        if str(place) in rest and (call != "openat" or "O_CREAT" in rest):
            found.append(Write(call, counts[thread, call], f"{call}({rest.replace(str(place), 'STATE')}"))
    return found


async def missed_of(boundaries: Sequence[Write], met: Callable[[Write], Awaitable[bool]]) -> Sequence[Write]:
    """Those at which nobody died, however often it was tried. `met` tries once, and looks what is true afterwards."""
    missed = []
    for boundary in boundaries:
        for _ in range(TRIES):
            if await met(boundary):
                break
        else:
            missed.append(boundary)
    return missed
