"""Drivers that break each promise of their contract, and what the author is told."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prouter.errors import StartFailed
from prouter.model.plugin import Running
from prouter.model.process import Exit
from prouter.testing import AgentHere, ContractBroken, assert_contract
from prouter.testing.processes import TAG, tagged_processes


class Passing:
    """A driver by the one that ships, and what it gives changed."""

    name = "passing"

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    async def start(self, request: Any) -> Any:
        return await self._driver.start(request)

    async def recover(self, job: Any, job_directory: str) -> Any:
        return await self._driver.recover(job, job_directory)

    async def destroy(self, job: Any, job_directory: str) -> None:
        await self._driver.destroy(job, job_directory)


class Around:
    def __init__(self, running: Running) -> None:
        self._running = running

    def __getattr__(self, name: str) -> Any:
        return getattr(self._running, name)


class DriverWithoutEnvironment(Passing):
    async def start(self, request: Any) -> Any:
        return await super().start(replace(request, command=replace(request.command, env={})))


class DriverHidesMissing(Passing):
    async def start(self, request: Any) -> Any:
        try:
            return await super().start(request)
        except StartFailed:
            raise StartFailed("it did not work") from None


class DriverForgetsCodes(Passing):
    async def start(self, request: Any) -> Any:
        class Forgets(Around):
            async def wait(self) -> Exit:
                return replace(await self._running.wait(), exit_code=0)

        return Forgets(await super().start(request))


class DriverHearsNoSignal(Passing):
    async def start(self, request: Any) -> Any:
        class Deaf(Around):
            async def signal(self, number: int) -> None:
                await self._running.signal(9)

        return Deaf(await super().start(request))


class DriverForgetsReasons(Passing):
    async def start(self, request: Any) -> Any:
        class Forgets(Around):
            async def kill(self, reason: str) -> Exit:
                return await self._running.kill("timeout")

        return Forgets(await super().start(request))


class DriverEndsMainOnly(Passing):
    """As subprocess.Popen does: kills the process that it started and knows of no other."""

    async def start(self, request: Any) -> Any:
        command = request.command
        process = await asyncio.create_subprocess_exec(*command.args, cwd=command.cwd, env=command.env)

        class Main:
            pid = process.pid

            async def wait(self) -> Exit:
                code = await process.wait()
                return Exit(code, "exited" if code >= 0 else "stopped", 0.0)

            async def kill(self, reason: str) -> Exit:
                if process.returncode is None:
                    process.kill()
                return await self.wait()

            async def signal(self, number: int) -> None:
                if process.returncode is None:
                    process.send_signal(number)

            async def last_output(self, lines: int) -> str:
                return "last words"

            async def cpu_seconds(self) -> None:
                return None

            async def exiting(self) -> bool:
                return process.returncode is not None

        return Main()


class DriverForgetsJobs(Passing):
    async def recover(self, job: Any, job_directory: str) -> Any:
        raise KeyError(job)


class DriverDestroysOnce(Passing):
    def __init__(self, driver: Any) -> None:
        super().__init__(driver)
        self._left: set[Any] = set()

    async def start(self, request: Any) -> Any:
        self._left.add(request.job)
        return await super().start(request)

    async def destroy(self, job: Any, job_directory: str) -> None:
        self._left.remove(job)


DRIVERS = {
    DriverDestroysOnce: "destroy\\(\\) raised KeyError",
    DriverWithoutEnvironment: "in its directory with its environment",
    DriverHidesMissing: "wanted: ProgramMissing with its name",
    DriverForgetsCodes: "wanted: exit_code 3",
    DriverHearsNoSignal: "signal\\(\\) goes to the program",
    DriverForgetsReasons: "is what kill\\(\\) was told, not 'timeout'",
    DriverEndsMainOnly: "of its tree was left",
    DriverForgetsJobs: "it says None where nothing is known",
}


@pytest.mark.parametrize("kind", DRIVERS)
async def test_drivers(agent: AgentHere, tmp_path: Path, kind: type[Passing]) -> None:
    (driver,) = agent.plugin("process_driver").prouter_drivers()
    with pytest.raises(ContractBroken, match=DRIVERS[kind]):
        await assert_contract(kind(driver), "driver", tmp_path / "jobs", sees_ports=False)
    for pid, line in tagged_processes(os.environ[TAG]).items():
        if "contract-" in line:  # what the driver left
            os.kill(pid, signal.SIGKILL)
