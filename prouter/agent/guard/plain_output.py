"""A job's output where there are no guardians: two threads read its pipes into the same spool and copies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from pathlib import Path

from prouter.agent.guard.held.outlet import READ_BYTES, Copy, Forward, NewestFile, NoCopy
from prouter.agent.guard.held.segments import STDERR, STDOUT
from prouter.agent.guard.held.spool import NO_LIMIT, Spool
from prouter.model.process import Command

FILES = {STDOUT: ".pagent.stdout", STDERR: ".pagent.stderr"}
DRAIN_SECONDS = 1.0
"""For what is left in the pipes when the job is over; a process that escaped may hold them open for ever."""


def _copy(stream: int, path: str, command: Command, limit_bytes: int) -> Copy:
    if command.forward_stdout:
        return Forward(stream)
    return NewestFile(path, limit_bytes) if command.output_files else NoCopy()


class PlainOutput:
    """`writers` are the ends of the pipes for the job; they are closed by `begin`, or by `abandon`."""

    def __init__(self, job_directory: str, command: Command) -> None:
        """Raises OSError."""
        self.writers: list[int] = []
        self._readers: list[int] = []
        self._copies: list[Copy] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        """One writer of the spool at a time, and none after its end."""
        self._over = False
        self._spool = Spool(job_directory, command.limits.get("output_bytes", NO_LIMIT))
        try:
            for stream, name in FILES.items():
                path = str(Path(job_directory, "sandbox", name))
                self._copies.append(_copy(stream, path, command, self._spool.limit_bytes))
                reader, writer = os.pipe()
                self._readers.append(reader)
                self.writers.append(writer)
        except BaseException:
            self.abandon()
            raise

    def begin(self) -> None:
        """The job has its ends."""
        self._close_writers()
        for stream, reader, copy in zip(FILES, self._readers, self._copies, strict=True):
            thread = threading.Thread(
                target=self._pump, args=(stream, reader, copy), daemon=True, name="output of a job"
            )
            thread.start()
            self._threads.append(thread)

    def abandon(self) -> None:
        """No job came of it."""
        self._close_writers()
        for reader in self._readers:
            os.close(reader)
        for copy in self._copies:
            copy.close()
        self._spool.close()

    async def ended(self) -> None:
        """The job is over: on return, so is its output."""
        await asyncio.to_thread(self._end)

    def tail(self) -> str:
        """The newest output of both streams, at most 8 KiB."""
        with self._lock:
            return self._spool.kept.decode("utf-8", "replace")

    def _end(self) -> None:
        for thread in self._threads:
            thread.join(DRAIN_SECONDS)
        with self._lock:
            if not self._over:
                self._over = True
                self._spool.close()

    def _pump(self, stream: int, reader: int, copy: Copy) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(reader, READ_BYTES):
                with self._lock:
                    if not self._over:
                        self._spool.write(stream, memoryview(data))
                        copy.write(memoryview(data))
        os.close(reader)
        copy.close()

    def _close_writers(self) -> None:
        while self.writers:
            os.close(self.writers.pop())
