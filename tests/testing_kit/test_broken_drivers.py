"""Drivers that break each promise of their contract, and what the author is told."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from prouter.errors import ProgramMissing, StartFailed
from prouter.model.plugin import Running
from prouter.model.process import Exit
from prouter.testing import ContractBroken, InProcess, assert_contract
from prouter.testing.contracts import drivers
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


def around(**changed: Any) -> type[Passing]:
    """A driver whose trees have these methods instead; each gets the tree that runs."""

    class Changed(Passing):
        async def start(self, request: Any) -> Any:
            running = await super().start(request)
            tree = Around(running)
            for name, change in changed.items():
                setattr(tree, name, partial(change, running))
            return tree

    return Changed


async def no_exit(running: Running) -> None:
    """Ends without a word."""


async def another_exit(running: Running, reason: str) -> Exit:
    return replace(await running.kill(reason), finished_at=1.0)


async def no_output(running: Running, lines: int) -> str:
    return ""


async def less_than_nothing(running: Running) -> float:
    return -1.0


async def always_ends(running: Running) -> bool:
    return True


async def hears_nothing(running: Running, number: int) -> None:
    """A signal goes nowhere."""


async def no_ports(running: Running, only: int | None = None) -> dict[int, list[str]]:
    return {}


async def ports_elsewhere(running: Running, only: int | None = None) -> dict[int, list[str]]:
    return {port: ["127.0.0.99"] for port in await running.ports(only)}


class DriverNameless(Passing):
    name = ""


class DriverStartsNothing(Passing):
    async def start(self, request: Any) -> Any:
        raise StartFailed("not today")


class DriverRecoversTrees(Passing):
    async def recover(self, job: Any, job_directory: str) -> Any:
        return job


class DriverRaisesOsErrors(Passing):
    async def start(self, request: Any) -> Any:
        try:
            return await super().start(request)
        except ProgramMissing:
            raise
        except StartFailed as error:
            raise OSError(str(error)) from None


DRIVERS: dict[type[Passing], str] = {
    DriverNameless: "`jobs.driver` names it",
    DriverStartsNothing: "it did not start .*: StartFailed: not today",
    DriverRecoversTrees: "recover\\(\\) of a job that does not run gives",
    DriverRaisesOsErrors: "what can not start is StartFailed",
    around(kill=another_exit): "kill\\(\\) of what has ended gives another Exit",
    around(last_output=no_output): "wrote 'last words' is ''",
    around(cpu_seconds=less_than_nothing): "cpu_seconds\\(\\) is -1",
    around(exiting=always_ends): "exiting\\(\\) says that a program ends which does not",
    around(signal=hears_nothing): "of SIGTERM nothing came",
    around(ports=no_ports): "ports\\(\\) does not show port",
    around(ports=ports_elsewhere): "nothing can be reached at 127.0.0.99",
    around(wait=no_exit): "it says None; wanted: exit_code 3",
    DriverDestroysOnce: "destroy\\(\\) raised KeyError",
    DriverWithoutEnvironment: "in its directory with its environment",
    DriverHidesMissing: "wanted: ProgramMissing with its name",
    DriverForgetsCodes: "wanted: exit_code 3",
    DriverHearsNoSignal: "signal\\(\\) goes to the program",
    DriverForgetsReasons: "is what kill\\(\\) was told, not 'timeout'",
    DriverEndsMainOnly: "of its tree was left",
    DriverForgetsJobs: "it says None where nothing is known",
}


@pytest.mark.parametrize("kind", DRIVERS, ids=list(DRIVERS.values()))
async def test_drivers(
    in_process: InProcess, tmp_path: Path, kind: type[Passing], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await in_process.agent()
    (driver,) = agent.plugin("process_driver").prouter_drivers()
    if "SIGTERM nothing" in DRIVERS[kind] or "does not show" in DRIVERS[kind]:
        monkeypatch.setattr(drivers, "END_SECONDS", 1.5)
    with pytest.raises(ContractBroken, match=DRIVERS[kind]):
        await assert_contract(kind(driver), "driver", tmp_path / "jobs", sees_ports=kind is not DriverEndsMainOnly)
    for pid, line in tagged_processes(os.environ[TAG]).items():
        if "contract-" in line:  # what the driver left
            os.kill(pid, signal.SIGKILL)
