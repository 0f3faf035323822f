"""The agent's side of the keeper: starts it, asks it for guardians, starts another when it dies.

Implements model.agent_services.Guarded on Linux. A tree is held by its guardian (held/guardian.py) from the beginning.
Where jobs survive their agent, guardians of an earlier one are found at their doors (adoption.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prouter.agent.guard import adoption, sweep
from prouter.agent.guard.adoption import Survival
from prouter.agent.guard.beginning import begin
from prouter.agent.guard.carried import carried
from prouter.agent.guard.failing import not_executed, shown
from prouter.agent.guard.held import controllers
from prouter.agent.guard.held.launch import DIRECTORY, PROGRAM
from prouter.agent.guard.running import GuardedTree
from prouter.errors import StartFailed, Unavailable
from prouter.model.drivers import LaunchRequest, Running
from prouter.model.ids import JobUid
from prouter.model.process import Exit
from prouter.model.services import Tasks

log = logging.getLogger(__name__)

KEEPER_SECONDS = 5.0
"""For a keeper to take what it is told; one that takes longer hangs, and another is started."""
LAUNCH_SECONDS = 15.0
"""For a keeper to fork and a program to be executed; a slow disk may have to page the program in."""
GIVE_UP_SECONDS = 3.0
"""For a guardian to end a launch that is given up."""
LAUNCHES = 2
"""Tries, when nobody was there to begin."""
CLOSE_SECONDS = 5.0
LINE_BYTES = 64 * 1024
"""A guardian's longest line has 8 KiB of output."""
HOME = Path(__file__).parent


class GuardKeeper:
    """One keeper at a time; guardians of an earlier one go on."""

    def __init__(self, tasks: Tasks, *, cgroups: bool, survival: Survival | None = None, patience: float = 1.0) -> None:
        """`patience` is the part of all times that a keeper or a guardian is given to answer."""
        self._patience = patience
        self._tasks = tasks
        self._cgroups = cgroups
        self._survival = survival
        self._program = carried(HOME)
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._trees: set[GuardedTree] = set()
        self._closing = False
        self._starting = asyncio.Lock()
        self._hung_up = asyncio.Event()

    def enforced(self) -> Mapping[str, str]:
        """How each limit is kept here, by its name; what is not named can not be."""
        kinds = dict.fromkeys(("memory_bytes", "processes", "cpu_seconds", "sandbox_bytes"), "watched")
        kinds |= {"file_bytes": "rlimit", "output_bytes": "truncated"}
        return kinds | (controllers.kinds() if self._cgroups else {})

    async def start(self) -> None:
        """Until the keeper runs."""
        async with self._starting:
            await self._start_keeper()

    async def close(self) -> None:
        """All trees are gone and the keeper has ended on return; where jobs survive, they go on, and it with them."""
        self._closing = True
        if self._survival is not None:
            self._leave()
            return
        await asyncio.gather(*(tree.kill("agent-lost") for tree in list(self._trees)), return_exceptions=True)
        self._hang_up()
        process = self._process
        if process is not None:
            try:
                await asyncio.to_thread(process.wait, CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                log.error("the keeper did not end within %g s", CLOSE_SECONDS)
                process.kill()
                await asyncio.to_thread(process.wait)

    def _leave(self) -> None:
        for tree in list(self._trees):
            tree.leave()
        self._hang_up()
        if self._process is not None and self._process.poll() is None:
            self._process.returncode = 0  # it is not ours to wait for any more

    async def launch(self, request: LaunchRequest) -> Running:
        """Raises ProgramMissing, StartFailed, Unavailable."""
        for _ in range(LAUNCHES):
            with contextlib.suppress(ConnectionError):  # nobody took the whole command, so nothing began
                return await self._launch(request)
        raise StartFailed("the keeper of processes is gone")

    async def _launch(self, request: LaunchRequest) -> Running:
        """Raises ProgramMissing, StartFailed, Unavailable, ConnectionError."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise Unavailable(f"the agent has no means to start a job now: {error.strerror}") from error
        with theirs:
            try:
                await self._ask_for_guardian(request, theirs)
                reader, writer = await asyncio.open_unix_connection(sock=ours, limit=LINE_BYTES)
            except BaseException:
                ours.close()
                raise
        try:
            async with asyncio.timeout(LAUNCH_SECONDS * self._patience):
                writer.write(json.dumps(self._command(request)).encode() + b"\n")
                line = await self._answer(reader)
        except ConnectionError:
            writer.transport.abort()
            raise
        except BaseException as error:
            late = isinstance(error, TimeoutError)
            if not await _ended(reader, writer, GIVE_UP_SECONDS * self._patience) or late:
                self._tell_keeper({"op": "end", "job": str(request.job)})
                await self._sweep(request)
            if late:
                seconds = LAUNCH_SECONDS * self._patience
                raise StartFailed(f"the program was not started within {seconds:g} s") from None
            raise
        if not line:
            await self._sweep(request)
        return self._begun(request, line, reader, writer)

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        """Of the guardian. A keeper that hangs is replaced; then what it was asked for did not begin.

        Raises ConnectionError for that.
        """
        line = asyncio.ensure_future(reader.readline())
        try:
            await asyncio.wait((line,), timeout=KEEPER_SECONDS * self._patience)
            if not line.done() and self._process is not None and self._control is not None and _unheard(self._control):
                log.error("the keeper of processes hangs; it is ended")
                self._process.kill()
            return await line
        finally:
            line.cancel()
            await asyncio.wait((line,))  # nobody else can read before it has let go

    async def _sweep(self, request: LaunchRequest) -> None:
        """What a guardian left that ended, or was given up, before it had told what it began."""
        await asyncio.to_thread(sweep.end_begun, str(request.job), Path(request.job_directory))

    async def recover(self, job: JobUid, job_directory: str) -> Running | Exit | None:
        """After a restart of the agent: the tree, when its guardian waited for us or nobody can end it; else how the
        job ended, if the guardian could say, and nothing of its tree is left."""
        found = await adoption.adopt(job, Path(job_directory), self._survival, self._patience)
        if found is not None:
            return self._hold(job, job_directory, found.answer, found.reader, found.writer, adoption.end_hard)
        over = await asyncio.to_thread(sweep.recover, str(job), Path(job_directory), self._patience)
        return await self._without_guardian(job, job_directory, over) if isinstance(over, sweep.Rest) else over

    async def _without_guardian(self, job: JobUid, directory: str, rest: sweep.Rest) -> Running:
        """A tree like one whose guardian has just died: it ends once nothing of it is left."""
        ours, theirs = socket.socketpair()
        theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        answer = {"started": rest.pid, "guardian": rest.pid, "cgroup": rest.cgroup, "controllers": rest.controllers}
        return self._hold(job, directory, answer, reader, writer, adoption.end_hard)

    async def destroy(self, job: JobUid, job_directory: str) -> None:
        """A tree that its guardian ended leaves nothing; this finds what a guardian that died itself left."""
        await asyncio.to_thread(sweep.destroy, str(job), Path(job_directory))

    # --- one launch ---

    def _command(self, request: LaunchRequest) -> dict[str, Any]:
        command = request.command
        return {
            "args": list(command.args),
            "env": dict(command.env),
            "cwd": command.cwd,
            "timeout": command.timeout_seconds,
            "limits": dict(command.limits),
            "forward_stdout": command.forward_stdout,
            "output_files": command.output_files,
            "cgroups": self._cgroups,
        } | ({} if self._survival is None else {"survive": self._survival.to_wire()})

    async def _ask_for_guardian(self, request: LaunchRequest, theirs: socket.socket) -> None:
        """A keeper that died is replaced once."""
        message: dict[str, Any] = {"op": "guard", "job": str(request.job), "directory": request.job_directory}
        message |= {"survive": self._survival is not None}
        for attempt in (1, 2):
            control = self._control
            try:
                if control is None:
                    raise BrokenPipeError
                socket.send_fds(control, [json.dumps(message).encode()], [theirs.fileno()])
            except OSError as error:
                if attempt == 2 or self._closing:
                    raise StartFailed("the keeper of processes is gone") from error
                self._give_up_keeper(control)
                await self._start_again()
            else:
                return

    def _begun(
        self, request: LaunchRequest, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> GuardedTree:
        try:
            answer = json.loads(line)
        except ValueError:
            writer.transport.abort()
            raise StartFailed("the job's guardian ended before it had started the program") from None
        if "started" not in answer:
            writer.transport.abort()
            raise _failure(request, answer)
        return self._hold(request.job, request.job_directory, answer, reader, writer, self._end_hard)

    def _hold(
        self,
        job: JobUid,
        directory: str,
        answer: Mapping[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        end_hard: Callable[[int, int], None],
    ) -> GuardedTree:
        tree = GuardedTree(
            int(answer["started"]),
            int(answer["guardian"]),
            str(answer["cgroup"]),
            writer,
            end_hard=end_hard,
            end_rest=lambda: asyncio.to_thread(
                sweep.end_tagged, str(job), str(answer["cgroup"]), answer["controllers"]
            ),
            account=lambda: asyncio.to_thread(sweep.account_of, Path(directory)),
            patience=self._patience,
        )
        self._trees.add(tree)
        self._tasks.start(f"guardian of {job}", self._follow(tree, reader))
        return tree

    async def _follow(self, tree: GuardedTree, reader: asyncio.StreamReader) -> None:
        try:
            await tree.follow(reader)
        finally:
            self._trees.discard(tree)

    def _end_hard(self, guardian: int, start: int) -> None:
        """A guardian that hangs, and all below it: by the keeper, which most often is its parent."""
        log.error("guardian %d does not end its tree; the keeper is asked to", guardian)
        self._tell_keeper({"op": "kill-below", "pid": guardian, "start": start})

    # --- the keeper ---

    def _tell_keeper(self, message: dict[str, Any]) -> None:
        """Where there is one that listens."""
        with contextlib.suppress(OSError):
            if self._control is not None:
                self._control.send(json.dumps(message).encode())

    def _give_up_keeper(self, control: socket.socket | None) -> None:
        """It does not listen there any more: it died, although that may not have been told yet, or hangs."""
        if control is None or self._control is not control:
            return
        if self._process is not None:
            self._process.kill()
        self._hang_up()

    async def _start_keeper(self) -> None:
        if self._process is not None and self._process.poll() is None and self._control is not None:
            return
        self._hang_up()
        begun = await begin(self._program)
        self._process, self._control = begun.process, begun.control
        self._tasks.start("keeper", self._watch(begun.process, begun.control))

    def _hang_up(self) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._control = None
            self._hung_up.set()

    async def _watch(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        """The keeper died: guardians go on, another keeper is started."""
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        self._hung_up = ended
        loop.add_reader(control, ended.set)  # it says nothing: what comes is its end
        try:
            await ended.wait()
        finally:
            if control.fileno() >= 0:
                loop.remove_reader(control)
        status = await asyncio.to_thread(process.wait)
        if not self._closing and self._process is process:
            log.error("the keeper of processes ended with status %s; another is started", status)
            with contextlib.suppress(StartFailed):  # the next job to start tries again
                await self._start_again()

    async def _start_again(self) -> None:
        """Raises StartFailed."""
        try:
            await self.start()
        except OSError as error:
            log.error("no keeper of processes can be started: %s", error)
            raise StartFailed(f"the keeper of processes can not be started: {error.strerror}") from None


def _unheard(control: socket.socket) -> bool:
    """Whether something that was sent there was not taken yet."""
    try:
        left = fcntl.ioctl(control, termios.TIOCOUTQ, bytes(4))
    except OSError:
        return False
    return int.from_bytes(left, sys.byteorder) > 0


async def _ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> bool:
    """Until a guardian that sees us go has ended what it began: it may have written its last words by then. False: it
    takes longer."""
    try:
        async with asyncio.timeout(seconds):
            with contextlib.suppress(RuntimeError):  # of uvloop, when it has ended
                writer.write(json.dumps({"op": "kill", "reason": "start-failed"}).encode() + b"\n")
                writer.write_eof()
            while await reader.read(LINE_BYTES):
                pass
    except TimeoutError:
        log.error("a guardian whose launch was broken off takes longer than %g s to end", seconds)
        return False
    except OSError:  # it has ended
        pass
    finally:
        writer.transport.abort()
    return True


def _failure(request: LaunchRequest, answer: dict[str, Any]) -> StartFailed:
    command, why = request.command, str(answer.get("what") or "no reason given")
    if answer.get("step") == PROGRAM:
        return not_executed(command, int(answer.get("failed") or 0), why)
    where = " in its working directory" if answer.get("step") == DIRECTORY else ""
    return StartFailed(f"the program {shown(command.args[0])} can not be started{where}: {why}")
