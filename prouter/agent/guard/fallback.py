"""Process trees where there are no guardians (macOS, Windows): process groups, and no promise beyond them.

A job that leaves its group (setsid) can escape, and nothing outlives the agent in order. The docs say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

from prouter.agent.guard.output import tail_of
from prouter.errors import ProgramMissing, StartFailed
from prouter.model.ids import JobUid
from prouter.model.plugin import LaunchRequest, Running
from prouter.model.process import Command, Exit

STDOUT, STDERR = ".pagent.stdout", ".pagent.stderr"


class PlainKeeper:
    """Implements model.services.Guarded."""

    def __init__(self) -> None:
        self._running: set[PlainProcess] = set()

    async def start(self) -> None:
        """Nothing has to be prepared."""

    async def close(self) -> None:
        """The agent ends, and so do all trees."""
        for running in list(self._running):
            await running.kill("agent-lost")

    async def launch(self, request: LaunchRequest) -> Running:
        """Raises ProgramMissing, StartFailed."""
        sandbox = Path(request.job_directory) / "sandbox"
        command = request.command
        with contextlib.ExitStack() as held:
            outputs: list[BinaryIO | None] = [None, None]
            if not command.forward_stdout:
                outputs = [held.enter_context(_fresh(sandbox / name)) for name in (STDOUT, STDERR)]
            process = await _spawn(command, outputs)
        running = PlainProcess(process, command, sandbox)
        self._running.add(running)
        running.on_end(lambda: self._running.discard(running))
        return running

    async def recover(self, job: JobUid, job_directory: str) -> Exit | None:
        """Nobody was left who could know."""
        return None


class PlainProcess:
    """A Running."""

    def __init__(self, process: asyncio.subprocess.Process, command: Command, sandbox: Path) -> None:
        self._process = process
        self._sandbox = sandbox
        self._reason = ""
        self._timer: asyncio.TimerHandle | None = None
        self._callbacks: list[object] = []
        self._exit: Exit | None = None
        if command.timeout_seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(command.timeout_seconds, self._end, "timeout")

    @property
    def pid(self) -> int:
        return self._process.pid

    def on_end(self, callback: object) -> None:
        self._callbacks.append(callback)

    async def signal(self, number: int) -> None:
        _signal_group(self.pid, number)

    async def kill(self, reason: str) -> Exit:
        self._end(reason)
        return await self.wait()

    async def wait(self) -> Exit:
        code = await self._process.wait()
        if self._exit is None:
            _signal_group(self.pid, _KILL)
            natural = "signaled" if code < 0 else "exited"
            self._exit = Exit(code, self._reason or natural, time.time())
            if self._timer is not None:
                self._timer.cancel()
            for callback in self._callbacks:
                assert callable(callback)
                callback()
        return self._exit

    async def owns_port(self, number: int) -> bool:
        """Whether somebody listens there: whose it is can not be told here."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", number)
        except OSError:
            return False
        writer.transport.abort()
        return True

    async def listening_ports(self) -> frozenset[int]:
        """That can not be told here."""
        return frozenset()

    async def last_output(self, lines: int) -> str:
        return await asyncio.to_thread(tail_of, [self._sandbox / STDOUT, self._sandbox / STDERR], lines)

    async def exiting(self) -> bool:
        return self._process.returncode is not None

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        _signal_group(self.pid, _KILL)


_KILL = signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL


async def _spawn(command: Command, outputs: list[BinaryIO | None]) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command.args,
            stdin=subprocess.DEVNULL,
            stdout=outputs[0],
            stderr=outputs[1],
            env=dict(command.env),
            cwd=command.cwd,
            start_new_session=sys.platform != "win32",
        )
    except FileNotFoundError:
        raise ProgramMissing(f"the program {command.args[0]!r} is not there") from None
    except OSError as error:
        raise StartFailed(f"the program {command.args[0]!r} can not be started: {error.strerror}") from None


def _fresh(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.fdopen(os.open(path, flags, 0o644), "wb")
    except OSError as error:
        raise StartFailed(f"{path.name} can not be written: {error.strerror}") from None


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            os.kill(pid, number)
        else:
            os.killpg(pid, number)
