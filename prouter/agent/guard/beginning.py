"""The beginning of a keeper: its process and the socket to it, both or none.

Belongs here: starting the process off the loop, so that whoever gives up meanwhile closes nothing under the thread that
does it, and leaves no keeper that nobody has. Does not: what is started (carried.py), when (client.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass

from prouter.agent.guard.carried import BOOT

EXECUTABLE = os.path.realpath(sys.executable)
"""What a virtual environment leads to, which may be made anew while we run; a keeper needs nothing that is in one."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A keeper that runs."""

    process: subprocess.Popen[bytes]
    """Not asyncio's, which would kill it when the loop closes."""
    control: socket.socket
    """Does not block: one that hangs holds up nobody."""


async def begin(program: bytes) -> Begun:
    """A keeper of this program. One that dies at once is seen by its socket. Raises OSError where none can be started.

    Cancelled, it leaves none, although that may take a while.
    """
    beginning = _Beginning(program)
    try:
        return await asyncio.get_running_loop().run_in_executor(None, beginning.run)
    except asyncio.CancelledError:
        beginning.give_up()
        raise


class _Beginning:
    """One start, which somebody waits for or not."""

    def __init__(self, program: bytes) -> None:
        self._program = program
        self._alone = threading.Lock()
        self._wanted = True
        self._begun: Begun | None = None

    def run(self) -> Begun:
        """In a thread. Raises OSError."""
        begun = _begin(self._program)
        with self._alone:
            if self._wanted:
                self._begun = begun
                return begun
        _let_go(begun)
        return begun

    def give_up(self) -> None:
        with self._alone:
            self._wanted = False
            begun = self._begun
        if begun is not None:
            threading.Thread(target=_let_go, args=(begun,), daemon=True, name="end of a keeper").start()


def _begin(program: bytes) -> Begun:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        ours.setblocking(False)
        with theirs:
            process = subprocess.Popen(
                [EXECUTABLE, *("-I", "-S", "-X", "utf8", "-c", BOOT, str(theirs.fileno()))],
                stdin=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                cwd="/",
            )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as given:
            given.write(program)
    except BaseException:
        ours.close()
        raise
    return Begun(process, ours)


def _let_go(begun: Begun) -> None:
    """It ends by itself: it has no guardian, and sees that its agent is gone."""
    begun.control.close()
    begun.process.wait()
