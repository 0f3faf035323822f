"""One process of a job: started, watched by polling, killed without its children, as the original does it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

POLL_SECONDS = 0.02
"""The original's is 0.1; tests need not wait for that."""


class ProcessStartTimeoutError(Exception):
    pass


class ProcessExitedError(Exception):
    pass


class JobProcess:
    """`ended` is set once the process is gone, or never came to be."""

    def __init__(self) -> None:
        self.port: int | None = None
        self.ended = asyncio.Event()
        self._port_reported = asyncio.Event()
        self._popen: subprocess.Popen[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self._popen is not None and not self.ended.is_set()

    async def start(
        self,
        args: Sequence[str],
        env: Mapping[str, str],
        directory: Path,
        output: tuple[IO[bytes] | None, IO[bytes] | None],
        port_seconds: float | None,
    ) -> None:
        """Until it runs and, within `port_seconds`, said where it serves; None: it serves nowhere.

        Raises OSError, ProcessExitedError, ProcessStartTimeoutError; nothing runs then.
        """
        try:
            self._popen = subprocess.Popen(list(args), env=dict(env), stdout=output[0], stderr=output[1], cwd=directory)
            self._watch = asyncio.create_task(self._until_it_ends(self._popen))
            if port_seconds is not None:
                await self._until_port(port_seconds)
        except OSError as error:
            self.ended.set()
            raise _as_python_3_7_says(error) from None
        except BaseException:
            await self.kill()
            raise

    async def _until_port(self, seconds: float) -> None:
        reported = asyncio.create_task(self._port_reported.wait())
        ended = asyncio.create_task(self.ended.wait())
        try:
            await asyncio.wait((reported, ended), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reported.cancel()
            ended.cancel()
        if self.port is not None:
            return
        if self.ended.is_set():
            raise ProcessExitedError("process died before binding required ports")
        raise ProcessStartTimeoutError("process bootstrap timed out")

    def report(self, port: int) -> None:
        """The program said where it serves. Raises ValueError."""
        if not 0 < port <= 65535:
            raise ValueError("no such port")
        if self.port is not None:
            raise ValueError("invalid state")
        self.port = port
        self._port_reported.set()

    async def kill(self) -> None:
        if self._popen is not None and self._watch is not None and not self.ended.is_set():
            self._popen.kill()
            await asyncio.shield(self._watch)

    async def _until_it_ends(self, popen: subprocess.Popen[bytes]) -> None:
        while popen.poll() is None:
            await asyncio.sleep(POLL_SECONDS)
        self.ended.set()


def _as_python_3_7_says(error: OSError) -> OSError:
    """That Python named the file twice; clients may look at the text."""
    if error.filename is None or error.errno is None:
        return error
    filename = os.fspath(error.filename)
    return OSError(error.errno, f"{os.strerror(error.errno)}: {filename!r}", filename)
