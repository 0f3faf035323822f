"""Connections between simulated nodes: ordered, delayed, cut with what is under way, silent.

Belongs here: what happens to a link's messages between its two ends. Does not: what a message means; the ends are real
links (prouter.rpc.connection) on these channels.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from simulated_time import NODE, NOWHERE, Node, SimulatedLoop

from prouter.errors import LinkClosed

PING_SECONDS = 5.0
PINGS_MISSED = 3
LOOK_SECONDS = 0.02
"""Until who could not send tries again."""
SPACE_SECONDS = 1e-6
"""Between two messages: timers of the same time run in any order."""


class Channel:
    """One end of a wire: a MessageChannel of a link."""

    def __init__(self, wire: Wire, node: Node, there: bool) -> None:
        self.close_code: int | None = None
        self.fell_silent = False
        self.node = node
        self.there = there
        """Which way it sends."""
        self._wire = wire
        self._arrived: deque[bytes | None] = deque()
        self.ended = False
        self._changed = asyncio.Event()

    @property
    def far(self) -> Channel:
        return self._wire.ends[self.there]

    def feed(self, data: bytes | None) -> None:
        """None: the other side closed."""
        if not self.ended:
            self._arrived.append(data)
            self._changed.set()

    def reset(self) -> None:
        self._arrived.clear()
        self.ended = True
        self._changed.set()

    async def receive(self) -> bytes | None:
        while not self._arrived:
            if self.ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        data = self._arrived.popleft()
        if data is None:
            self.close_code = self.far.close_code
            self.ended = True
        return data

    async def send(self, data: bytes) -> None:
        while self._wire.full[self.there] and not self.ended:
            await asyncio.sleep(LOOK_SECONDS)
        if self.ended:
            raise LinkClosed("the peer is gone")
        self._wire.carry(self, data)

    async def ping(self) -> None:
        came = asyncio.get_running_loop().create_future()
        if self.ended:
            raise LinkClosed("the peer is gone")
        self._wire.after(self, 2 * self._wire.delay(self), lambda: came.done() or came.set_result(None))
        await came

    async def close(self, code: int) -> None:
        if not self.ended:
            self.close_code = code
            self._wire.carry(self, None)
            self.reset()

    async def keep_alive(self) -> None:
        missed = 0
        while not self.ended:
            await asyncio.sleep(PING_SECONDS)
            deaf = self._wire.silent or self.far.node.frozen
            missed = missed + 1 if deaf else 0
            if missed >= PINGS_MISSED or (self.far.ended and not deaf):
                self.fell_silent = deaf
                self.reset()

    def lift_limit(self) -> None:
        pass


class Wire:
    """One connection."""

    def __init__(self, loop: SimulatedLoop, delay_seconds: float, near: Node, far: Node) -> None:
        self._loop = loop
        self.delays = [delay_seconds, delay_seconds]
        """Seconds to the node that dialed, and from it."""
        self.full = [False, False]
        """Whether nothing more can be sent to the node that dialed, and from it: the other side takes nothing."""
        self.silent = False
        self.cut_at_all = False
        self._due_at = [0.0, 0.0]
        self._held: list[Callable[[], None]] = []
        self.ends = (Channel(self, near, True), Channel(self, far, False))

    def delay(self, sender: Channel) -> float:
        return self.delays[sender.there]

    def carry(self, sender: Channel, data: bytes | None) -> None:
        """In the order in which it was sent."""
        if not self.cut_at_all and sender.node.alive:
            far = sender.far
            self.after(sender, self.delay(sender), lambda: sender.reset() if far.ended else far.feed(data))

    def after(self, sender: Channel, seconds: float, what: Callable[[], object]) -> None:
        due_at = max(self._loop.time() + seconds, self._due_at[sender.there] + SPACE_SECONDS)
        self._due_at[sender.there] = due_at
        self._loop.call_at(due_at, self._arrive, what, context=NOWHERE)

    def _arrive(self, what: Callable[[], object]) -> None:
        if self.silent:
            self._held.append(lambda: what() and None)
        elif not self.cut_at_all:
            what()

    def fall_silent(self) -> None:
        self.silent = True

    def heal(self) -> None:
        """What was held back comes now, as a kernel sends it again."""
        self.silent = False
        self.full = [False, False]
        held, self._held = self._held, []
        for what in held:
            self._loop.call_soon(self._arrive, what, context=NOWHERE)

    def cut(self) -> None:
        """Reset: what is under way is lost, both ends know at once."""
        self.cut_at_all = True
        self._held.clear()
        for end in self.ends:
            end.reset()

    def forgotten(self, name: str) -> None:
        """Reset at that node alone: the other end is told nothing, and believes that it is linked."""
        self.fall_silent()
        for end in self.ends:
            if end.node.name == name:
                end.reset()

    def open_at(self, name: str) -> bool:
        """Whether that node holds it for open."""
        return any(end.node.name == name and end.node.alive and not end.ended for end in self.ends)

    def died(self, node: Node) -> None:
        """The kernel closes what a dead process had open: what it had sent arrives."""
        for end in self.ends:
            if end.node is node and not end.ended:
                far = end.far
                self.after(end, self.delay(end), lambda far=far: far.feed(None))  # type: ignore[misc]
                end.ended = True

    @property
    def over(self) -> bool:
        return self.cut_at_all or all(end.ended for end in self.ends)


class Network:
    """Who listens where, and all wires."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.delay_seconds = 0.01
        self.wires: list[Wire] = []
        self.listening: dict[int, tuple[Node, Callable[[Channel], None]]] = {}
        """By port: the node, and what takes a connection."""

    async def dial(self, host: str, port: int, *, ping_interval_seconds: float, **options: object) -> Channel:
        """Stands for prouter.rpc.websocket.dial."""
        near = NODE.get()
        assert near is not None
        await asyncio.sleep(self.delay_seconds)
        far, take = self.listening.get(port, (None, None))
        if far is None or take is None or not far.alive:
            raise LinkClosed(f"{host}:{port}: connection refused")
        wire = Wire(self._loop, self.delay_seconds, near, far)
        self.wires = [*(wire for wire in self.wires if not wire.over), wire]
        near_end, far_end = wire.ends
        wire.after(near_end, self.delay_seconds, lambda: take(far_end))
        return near_end

    def between(self, one: str, other: str) -> list[Wire]:
        return [wire for wire in self.wires if not wire.over and {end.node.name for end in wire.ends} == {one, other}]

    def died(self, node: Node) -> None:
        for wire in self.wires:
            wire.died(node)
