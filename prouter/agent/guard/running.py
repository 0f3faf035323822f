"""A job's tree as the agent sees it: a guardian at the other end of a socket. Implements model.drivers.Running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from prouter.agent.guard import ports
from prouter.agent.guard.account import exit_in
from prouter.agent.guard.held import cgroup, trees
from prouter.errors import NotPossible
from prouter.model.process import Exit

log = logging.getLogger(__name__)

KILL_SECONDS = 10.0
"""For a guardian to end its tree; one that takes longer hangs, and the keeper is asked to end both."""
HARD_SECONDS = 2.0
"""For the keeper to do so; then it hangs, too, and we try ourselves, and then once more for the kernel."""

LOOK_SECONDS, LOOKS = 0.5, 120
"""How often those are looked at that could not be ended, before all that there is of the job is looked for again."""


class GuardedTree:
    """`guardian` is the guardian's pid; `pid` that of the job's main process."""

    def __init__(
        self,
        pid: int,
        guardian: int,
        group: str,
        writer: asyncio.StreamWriter,
        *,
        end_hard: Callable[[int, int], None],
        end_rest: Callable[[], Awaitable[Collection[int] | None]],
        account: Callable[[], Awaitable[Exit | None]] | None = None,
        patience: float = 1.0,
    ) -> None:
        """`patience`: the part of the times above that a guardian is given. `end_rest` returns whom nobody can end;
        `account`, how the guardian wrote that the tree ended."""
        self.guardian = guardian
        self._patience = patience
        self._start_time = trees.start_time(guardian)
        self._pid = pid
        self._group = group
        self._writer = writer
        self._end_hard = end_hard
        self._end_rest = end_rest
        self._account = account
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._tails: list[asyncio.Future[str]] = []
        self._left = False

    @property
    def pid(self) -> int:
        return self._pid

    async def follow(self, reader: asyncio.StreamReader) -> None:
        """Until the guardian's last word, or its end without one: then the tree is swept and the job lost."""
        try:
            while line := await reader.readline():
                self._take(json.loads(line))
        except (OSError, ValueError, TypeError, RecursionError):  # what it says may be none of its words
            pass
        finally:
            self._writer.transport.abort()
            for tail in self._tails:
                if not tail.done():
                    tail.set_result("")
            if not self._exit.done() and not self._left:
                await self._until_none_is_left()
                ended = await self._written()
                if not self._exit.done():
                    self._exit.set_result(ended or Exit(None, "agent-lost", time.time()))

    async def _written(self) -> Exit | None:
        """A guardian writes how a tree ended before it says so, and may die between the two."""
        try:
            async with asyncio.timeout(HARD_SECONDS * self._patience):
                return await self._account() if self._account is not None else None
        except Exception as error:  # noqa: BLE001 -- whatever is there, the job has ended
            log.error("how a tree of guardian %d ended can not be read: %s", self.guardian, str(error) or "no answer")
            return None

    async def _until_none_is_left(self) -> None:
        """A disk or a freezer may hold them, and we may have no means to find them just now: then the job has not
        ended."""
        while True:
            try:
                left = await self._end_rest()
            except (OSError, RuntimeError, MemoryError) as error:
                log.error("what guardian %d left can not be looked for now: %s", self.guardian, error)
                await asyncio.sleep(LOOK_SECONDS)
            else:
                if not left:
                    return
                await _until_dead(left)

    def leave(self) -> None:
        """The agent ends and the tree goes on: nothing is done to it any more."""
        self._left = True
        self._writer.transport.abort()

    async def signal(self, number: int) -> None:
        self._say({"op": "signal", "number": number})

    async def kill(self, reason: str) -> Exit:
        if self._left:
            raise NotPossible("the agent is ending, and leaves its jobs to the next one")
        self._say({"op": "kill", "reason": reason})
        try:
            async with asyncio.timeout(KILL_SECONDS * self._patience):
                return await self.wait()
        except TimeoutError:
            return await self._kill_hard()

    async def _kill_hard(self) -> Exit:
        """The guardian hangs. It can not even be killed while the kernel holds it, as on a disk that does not answer:
        then the job is over once nothing of it runs. Raises TimeoutError when something does."""
        self._end_hard(self.guardian, self._start_time)
        for ask in (None, lambda: trees.end_guardian(self.guardian, self._start_time)):
            if ask is not None:
                await asyncio.to_thread(ask)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HARD_SECONDS * self._patience):
                    return await self.wait()
        if await self._end_rest() or any(not trees.is_dead(pid) for pid in await asyncio.to_thread(self._tree)):
            raise TimeoutError(f"guardian {self.guardian} hangs, and so does something below it")
        if not self._exit.done():
            self._exit.set_result(Exit(None, "agent-lost", time.time(), "its guardian hangs"))
        return await self.wait()

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def ports(self, only: int | None = None) -> Mapping[int, Sequence[str]]:
        return await asyncio.to_thread(self._ports, only)

    async def cpu_seconds(self) -> float:
        return await asyncio.to_thread(self._cpu_seconds)

    async def last_output(self, lines: int) -> str:
        if self._exit.done() or self._writer.is_closing():
            return _last(self.final_output, lines)
        tail: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._tails.append(tail)
        self._say({"op": "tail"})
        return _last(await tail or self.final_output, lines)

    async def exiting(self) -> bool:
        return self._exit.done() or trees.is_exiting(self._pid)

    final_output = ""
    """What the newest output was at the end."""

    def _take(self, message: dict[str, Any]) -> None:
        if "tail" in message and "finished_at" not in message:
            while self._tails:
                tail = self._tails.pop()
                if not tail.done():
                    tail.set_result(str(message["tail"]))
        elif "finished_at" in message:
            self.final_output = str(message.get("tail", ""))
            ended = exit_in(message)
            if not self._exit.done():
                self._exit.set_result(ended)

    def _ports(self, only: int | None) -> Mapping[int, Sequence[str]]:
        listeners = {inode: there for inode, there in ports.listening().items() if only in (None, there.port)}
        return ports.on_loopback(listeners, ports.owned(self._tree(), set(listeners)) if listeners else set())

    def _cpu_seconds(self) -> float:
        """The guardian's own work is not the job's, but what it waited for is: orphans end as its children."""
        _, orphans = trees.cpu_ticks(self.guardian)
        return (orphans + sum(sum(trees.cpu_ticks(pid)) for pid in self._tree())) / os.sysconf("SC_CLK_TCK")

    def _tree(self) -> set[int]:
        tree = set(cgroup.pids(self._group)) if self._group else set()
        return tree | set(trees.descendants(self.guardian))

    def _say(self, message: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")


async def _until_dead(pids: Collection[int]) -> None:
    """Or for a while: a number may be another process's by then."""
    for _ in range(LOOKS):
        await asyncio.sleep(LOOK_SECONDS)
        if all(trees.is_dead(pid) for pid in pids):
            return


def _last(text: str, lines: int) -> str:
    return os.linesep.join(text.splitlines()[-lines:])
