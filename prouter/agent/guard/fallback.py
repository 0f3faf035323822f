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
from collections.abc import Mapping, Sequence

from prouter.agent.guard.failing import not_executed
from prouter.agent.guard.plain_output import PlainOutput
from prouter.errors import StartFailed
from prouter.model.drivers import LaunchRequest, Running
from prouter.model.ids import JobUid
from prouter.model.process import Command, Exit


class PlainKeeper:
    """Implements model.agent_services.Guarded."""

    def __init__(self) -> None:
        self._running: set[PlainProcess] = set()

    def enforced(self) -> Mapping[str, str]:
        """Nobody could see a whole tree here."""
        return {"output_bytes": "truncated"}

    async def start(self) -> None:
        """Nothing has to be prepared."""

    async def close(self) -> None:
        """The agent ends, and so do all trees."""
        for running in list(self._running):
            await running.kill("agent-lost")

    async def launch(self, request: LaunchRequest) -> Running:
        """Raises ProgramMissing, StartFailed."""
        command = request.command
        try:
            output = PlainOutput(request.job_directory, command)
        except OSError as error:
            raise StartFailed(f"the job's output can not be written: {error.strerror}") from None
        try:
            process = await _spawn(command, output.writers)
        except BaseException:
            output.abandon()
            raise
        output.begin()
        running = PlainProcess(process, command, output)
        self._running.add(running)
        running.on_end(lambda: self._running.discard(running))
        return running

    async def recover(self, job: JobUid, job_directory: str) -> Exit | None:
        """Nobody was left who could know."""
        return None

    async def destroy(self, job: JobUid, job_directory: str) -> None:
        """What left its group can not be found."""


class PlainProcess:
    """A Running."""

    def __init__(self, process: asyncio.subprocess.Process, command: Command, output: PlainOutput) -> None:
        self._process = process
        self._output = output
        self._ending = asyncio.Lock()
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
        async with self._ending:
            if self._exit is None:
                _signal_group(self.pid, _KILL)
                await self._output.ended()
                natural = "signaled" if code < 0 else "exited"
                self._exit = Exit(code, self._reason or natural, time.time())
                if self._timer is not None:
                    self._timer.cancel()
                for callback in self._callbacks:
                    assert callable(callback)
                    callback()
        return self._exit

    async def ports(self, only: int | None = None) -> Mapping[int, Sequence[str]]:
        """Whether somebody listens there: whose it is can not be told here, and not which there are."""
        if only is None:
            return {}
        found = []
        for host in ("127.0.0.1", "::1"):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, only)
                writer.transport.abort()
                found.append(host)
        return {only: found} if found else {}

    async def cpu_seconds(self) -> float | None:
        """That can not be told here."""
        return None

    async def last_output(self, lines: int) -> str:
        return "\n".join(self._output.tail().splitlines()[-lines:])

    async def exiting(self) -> bool:
        return self._process.returncode is not None

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        _signal_group(self.pid, _KILL)


_KILL = signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL


async def _spawn(command: Command, outputs: Sequence[int]) -> asyncio.subprocess.Process:
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
    except OSError as error:
        raise not_executed(command, error.errno or 0, error.strerror or "no reason given") from None


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            os.kill(pid, number)
        else:
            os.killpg(pid, number)
