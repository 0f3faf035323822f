"""What prouter expects of a driver: it starts programs, and of a tree that it ends nothing is left.

Looks at processes in /proc where there is one; a driver that runs them elsewhere is believed there.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prouter.errors import ProgramMissing, StartFailed
from prouter.model.drivers import Driver, LaunchRequest, Running
from prouter.model.ids import JobUid, new_uid
from prouter.model.process import Command, Exit
from prouter.testing.contracts.watching import answer_of, broken
from prouter.testing.processes import eventually

START_SECONDS = 60.0
END_SECONDS = 20.0
MAX_OUTPUT_BYTES = 8 * 1024
MISSING = "a-program-that-is-nowhere"
TREE = """
import os, signal, socket, subprocess, sys, time
child = "import os, signal, time; os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child, sys.argv[1]])
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
listener = socket.create_server(("127.0.0.1", 0))
print("serving in", os.environ["CONTRACT"], os.getcwd(), flush=True)
open("port", "w").write(str(listener.getsockname()[1]))
while True:
    listener.accept()[0].close()
"""
"""A program with a child that hears no signal and has a session of its own; it serves, and ends with 7 when asked."""


async def assert_driver(
    driver: Driver,
    directory: Path,
    *,
    python: str = sys.executable,
    env: Mapping[str, str] | None = None,
    sees_ports: bool = True,
) -> None:
    """Raises ContractBroken. `directory` gets a directory for each job; `python` is a Python that jobs can start.

    `env` are variables that they need. Not `sees_ports`: it can not tell which ports a tree serves.
    """
    who = f"driver {getattr(driver, 'name', None)!r}"
    name: Any = driver.name
    if not isinstance(name, str) or not name:
        broken(f"driver {type(driver).__name__}", f"its name is {name!r}; `jobs.driver` names it, as a text")
    jobs = _Jobs(who, driver, directory, python, {**_least_environment(), **(env or {})})
    await _ends_as_its_program_does(jobs)
    await _runs_and_is_asked_to_end(jobs, sees_ports=sees_ports)
    await _kills_whole_trees(jobs)
    await _refuses_what_can_not_start(jobs)
    await _recovers(jobs)


class _Jobs:
    """Starts programs for the contract."""

    def __init__(self, who: str, driver: Driver, directory: Path, python: str, env: Mapping[str, str]) -> None:
        self.who = who
        self.driver = driver
        self._directory = directory
        self._python = python
        self._env = env

    def request(self, *args: str) -> LaunchRequest:
        uid = JobUid(new_uid())
        place = self._directory / uid
        sandbox = place / "sandbox"
        sandbox.mkdir(parents=True, mode=0o700)
        return LaunchRequest(uid, str(place), Command(args, self._env, str(sandbox)))

    def python(self, text: str, *args: str) -> LaunchRequest:
        return self.request(self._python, "-c", text, *args)

    async def start(self, request: LaunchRequest) -> Running:
        outcome = await answer_of(self.who, lambda: self.driver.start(request), START_SECONDS)
        if outcome.error is not None:
            kind = type(outcome.error).__name__
            broken(self.who, f"it did not start {request.command.args[0]}: {kind}: {outcome.error}")
        running: Running = outcome.value
        pid: Any = running.pid
        if not isinstance(pid, int) or pid <= 0:
            broken(self.who, f"the pid of what it started is {pid!r}")
        return running


async def _ends_as_its_program_does(jobs: _Jobs) -> None:
    running = await jobs.start(jobs.python("import sys; print('last words'); sys.exit(3)"))
    waits = [asyncio.ensure_future(running.wait()) for _ in range(3)]
    waits[0].cancel()
    done, late = await asyncio.wait(waits[1:], timeout=END_SECONDS)
    for wait in late:
        wait.cancel()
    if late or len({wait.result() for wait in done}) != 1:
        broken(jobs.who, "wait() is awaited by several: each gets the same Exit, whoever stops to wait")
    exit_: Any = done.pop().result()
    if not isinstance(exit_, Exit) or exit_.exit_code != 3 or exit_.reason != "exited":
        broken(jobs.who, f"of a program that ends with 3 it says {exit_}; wanted: exit_code 3, reason 'exited'")
    if await running.kill("stopped") != exit_:
        broken(jobs.who, "kill() of what has ended gives another Exit than wait() did")
    await running.signal(signal.SIGTERM)
    output = await running.last_output(10)
    if "last words" not in output or len(output.encode()) > MAX_OUTPUT_BYTES:
        broken(jobs.who, f"last_output() of a program that wrote 'last words' is {output[:200]!r}")


async def _runs_and_is_asked_to_end(jobs: _Jobs, *, sees_ports: bool) -> None:
    mark = f"contract-{secrets.token_hex(8)}"
    request = jobs.python(TREE, mark)
    running = await jobs.start(request)
    try:
        port = await _served(jobs, request, running)
        if sees_ports:
            await _shows_port(jobs, running, port)
        cpu = await running.cpu_seconds()
        if cpu is not None and cpu < 0:
            broken(jobs.who, f"cpu_seconds() is {cpu}")
        if await running.exiting():
            broken(jobs.who, "exiting() says that a program ends which does not")
        await running.signal(signal.SIGTERM)
        exit_ = await _exit(jobs, running, "of SIGTERM")
        if exit_.exit_code != 7:
            broken(jobs.who, f"a program that ends with 7 on SIGTERM ended as {exit_}; signal() goes to the program")
        await _all_gone(jobs, mark, "its main process ended")
    finally:
        await running.kill("stopped")


async def _kills_whole_trees(jobs: _Jobs) -> None:
    mark, other = (f"contract-{secrets.token_hex(8)}" for _ in range(2))
    first, second = jobs.python(TREE, mark), jobs.python(TREE, other)
    running, beside = await jobs.start(first), await jobs.start(second)
    try:
        await _served(jobs, first, running)
        await _served(jobs, second, beside)
        exit_ = await asyncio.wait_for(running.kill("stopped"), END_SECONDS)
        if _marked(mark):
            broken(jobs.who, f"after kill() there still is {_marked(mark)}; it returns when the whole tree is gone")
        if exit_.exit_code != -signal.SIGKILL or await running.kill("timeout") != exit_:
            broken(jobs.who, f"kill() says {exit_}; wanted: exit_code -9, the same each time it is called")
        if await running.wait() != exit_ or exit_.reason != "stopped":
            broken(jobs.who, f"the reason of a job that was killed is what kill() was told, not {exit_.reason!r}")
        if await beside.exiting() or (sys.platform == "linux" and not _marked(other)):
            broken(jobs.who, "the end of one tree ended another")
    finally:
        for each in (running, beside):
            await asyncio.wait_for(each.kill("stopped"), END_SECONDS)
    await _all_gone(jobs, other, "kill() returned")


async def _refuses_what_can_not_start(jobs: _Jobs) -> None:
    outcome = await answer_of(jobs.who, lambda: jobs.driver.start(jobs.request(MISSING)), START_SECONDS)
    if not isinstance(outcome.error, ProgramMissing) or MISSING not in outcome.error.detail:
        said = repr(outcome.error) if outcome.error is not None else "that it runs"
        broken(jobs.who, f"of a program that is not there it says {said}; wanted: ProgramMissing with its name")
    request = jobs.python("pass")
    os.rmdir(request.command.cwd)  # noqa: PTH106 -- nobody waits long for that
    outcome = await answer_of(jobs.who, lambda: jobs.driver.start(request), START_SECONDS)
    if outcome.error is None:
        await outcome.value.kill("stopped")
    elif not isinstance(outcome.error, StartFailed):
        broken(jobs.who, f"what can not start is StartFailed with a reason, not {outcome.error!r}")


async def _recovers(jobs: _Jobs) -> None:
    """Of a job that is over, and of one that never was; asked twice, as after an agent that was killed twice."""
    over = jobs.python("pass")
    await (await jobs.start(over)).wait()
    unknown = jobs.python("pass")
    for request in (over, over, unknown, unknown):
        recover = partial(jobs.driver.recover, request.job, request.job_directory)
        outcome = await answer_of(jobs.who, recover, START_SECONDS)
        found: Any = outcome.value
        if outcome.error is not None:
            broken(jobs.who, f"recover() raised {outcome.error!r}; it says None where nothing is known")
        if found is not None and not isinstance(found, Exit):
            broken(jobs.who, f"recover() of a job that does not run gives {found!r}")
    for request in (over, over, unknown):
        destroy = partial(jobs.driver.destroy, request.job, request.job_directory)
        outcome = await answer_of(jobs.who, destroy, START_SECONDS)
        if outcome.error is not None:
            broken(jobs.who, f"destroy() raised {outcome.error!r}; twice, and of what is not there, it does nothing")


async def _served(jobs: _Jobs, request: LaunchRequest, running: Running) -> int:
    """The port, once the program has said it in its directory."""
    told = Path(request.command.cwd) / "port"
    over = asyncio.ensure_future(running.wait())
    try:
        await eventually(lambda: over.done() or (told.exists() and told.read_text()), seconds=END_SECONDS)
        return int(told.read_text())
    except (AssertionError, OSError):
        output = await running.last_output(10)
        broken(jobs.who, f"the program did not come up in its directory with its environment; it wrote: {output!r}")
    finally:
        over.cancel()


async def _shows_port(jobs: _Jobs, running: Running, port: int) -> None:
    async def shown() -> bool:
        return bool((await running.ports()).get(port))

    try:
        await eventually(shown, seconds=END_SECONDS)
    except AssertionError:
        broken(jobs.who, f"ports() does not show port {port}, which the tree serves: {await running.ports()}")
    (address, *_) = (await running.ports(port))[port]
    try:
        _, writer = await asyncio.open_connection(address, port)
        writer.transport.abort()
    except OSError as error:
        broken(jobs.who, f"nothing can be reached at {address}:{port}, which ports() shows: {error}")


async def _exit(jobs: _Jobs, running: Running, what: str) -> Exit:
    try:
        return await asyncio.wait_for(running.wait(), END_SECONDS)
    except TimeoutError:
        broken(jobs.who, f"{what} nothing came: the program runs {END_SECONDS:g} s later")


async def _all_gone(jobs: _Jobs, mark: str, when: str) -> None:
    if left := _marked(mark):
        broken(jobs.who, f"when {when}, {left} of its tree was left; wait() and kill() return when all is gone")


def _marked(mark: str) -> list[int]:
    """Processes with the mark among their arguments that are not ending."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if mark.encode() in words and (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _least_environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "CONTRACT": "the environment"}
