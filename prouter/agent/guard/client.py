"""The agent's side of the keeper: starts it, asks it for guardians, starts another when it dies.

Implements model.services.Guarded on Linux. A tree is held by its guardian (held/guardian.py) from the beginning.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prouter.agent.guard import sweep
from prouter.agent.guard.failing import not_executed, shown
from prouter.agent.guard.held import controllers
from prouter.agent.guard.held.launch import DIRECTORY, PROGRAM
from prouter.agent.guard.running import GuardedTree
from prouter.errors import StartFailed
from prouter.model.ids import JobUid
from prouter.model.plugin import LaunchRequest, Running
from prouter.model.process import Exit
from prouter.model.services import Tasks

log = logging.getLogger(__name__)

LAUNCH_SECONDS = 20.0
"""For a keeper to fork and a program to be executed; a slow disk may have to page the program in."""
CLOSE_SECONDS = 5.0
LINE_BYTES = 64 * 1024
"""A guardian's longest line has 8 KiB of output."""
HOME = Path(__file__).parent
BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from held.keeper import main; main(int(sys.argv[2]))"


class GuardKeeper:
    """One keeper at a time; guardians of an earlier one go on."""

    def __init__(self, tasks: Tasks, *, cgroups: bool) -> None:
        self._tasks = tasks
        self._cgroups = cgroups
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._trees: set[GuardedTree] = set()
        self._closing = False
        self._starting = asyncio.Lock()

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
        """All trees are gone and the keeper has ended on return."""
        self._closing = True
        await asyncio.gather(*(tree.kill("agent-lost") for tree in list(self._trees)), return_exceptions=True)
        if self._control is not None:
            self._control.close()
        process = self._process
        if process is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await process.wait()
            except TimeoutError:
                log.error("the keeper did not end within %g s", CLOSE_SECONDS)
                process.kill()
                await process.wait()

    async def launch(self, request: LaunchRequest) -> Running:
        """Raises ProgramMissing, StartFailed."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                await self._ask_for_guardian(request, theirs)
                reader, writer = await asyncio.open_unix_connection(sock=ours, limit=LINE_BYTES)
            except BaseException:
                ours.close()
                raise
        try:
            async with asyncio.timeout(LAUNCH_SECONDS):
                writer.write(json.dumps(self._command(request)).encode() + b"\n")
                line = await reader.readline()
        except BaseException as error:
            await _ended(reader, writer)
            if isinstance(error, TimeoutError):
                raise StartFailed(f"the program was not started within {LAUNCH_SECONDS:g} s") from None
            raise
        return self._begun(request, line, reader, writer)

    async def recover(self, job: JobUid, job_directory: str) -> Exit | None:
        """After a restart of the agent: how the job ended, if its guardian could say; nothing of its tree is left."""
        return await asyncio.to_thread(sweep.recover, str(job), Path(job_directory))

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
        }

    async def _ask_for_guardian(self, request: LaunchRequest, theirs: socket.socket) -> None:
        """A keeper that died is replaced once."""
        message = {"op": "guard", "job": str(request.job), "directory": request.job_directory}
        for attempt in (1, 2):
            try:
                if self._control is None:
                    raise BrokenPipeError
                socket.send_fds(self._control, [json.dumps(message).encode()], [theirs.fileno()])
            except OSError as error:
                if attempt == 2 or self._closing:
                    raise StartFailed("the keeper of processes is gone") from error
                await self.start()
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
        tree = GuardedTree(
            int(answer["started"]),
            int(answer["guardian"]),
            str(answer["cgroup"]),
            writer,
            end_hard=self._end_hard,
            sweep=lambda: asyncio.to_thread(
                sweep.end_tagged, str(request.job), str(answer["cgroup"]), answer["controllers"]
            ),
        )
        self._trees.add(tree)
        self._tasks.start(f"guardian of {request.job}", self._follow(tree, reader))
        return tree

    async def _follow(self, tree: GuardedTree, reader: asyncio.StreamReader) -> None:
        try:
            await tree.follow(reader)
        finally:
            self._trees.discard(tree)

    def _end_hard(self, guardian: int) -> None:
        """A guardian that hangs, and all below it: by the keeper, which is its parent."""
        log.error("guardian %d does not end its tree; the keeper is asked to", guardian)
        with contextlib.suppress(OSError):
            if self._control is not None:
                self._control.send(json.dumps({"op": "kill-below", "pid": guardian}).encode())
                return
        with contextlib.suppress(OSError):
            os.kill(guardian, signal.SIGKILL)

    # --- the keeper ---

    async def _start_keeper(self) -> None:
        if self._process is not None and self._process.returncode is None and self._control is not None:
            return
        if self._control is not None:
            self._control.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", "-X", "utf8", "-c", BOOT, str(HOME), str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                cwd="/",
            )
        self._control = ours
        self._tasks.start("keeper", self._watch(self._process))

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """The keeper died: guardians go on, another keeper is started."""
        status = await process.wait()
        if not self._closing and self._process is process:
            log.error("the keeper of processes ended with status %s; another is started", status)
            await self.start()


async def _ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until a guardian that sees us go has ended what it began: it may have written its last words by then."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            writer.write_eof()
            while await reader.read(LINE_BYTES):
                pass
    except TimeoutError:
        log.error("a guardian whose launch was broken off takes longer than %g s to end", CLOSE_SECONDS)
    except OSError:  # it has ended
        pass
    finally:
        writer.transport.abort()


def _failure(request: LaunchRequest, answer: dict[str, Any]) -> StartFailed:
    command, why = request.command, str(answer.get("what") or "no reason given")
    if answer.get("step") == PROGRAM:
        return not_executed(command, int(answer.get("failed") or 0), why)
    where = " in its working directory" if answer.get("step") == DIRECTORY else ""
    return StartFailed(f"the program {shown(command.args[0])} can not be started{where}: {why}")
