"""Agents that the router dials: the next run of the router dials them again, and a link that is over ends nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from prouter.core.agents.dialer import Dialer, _IdleWatch
from prouter.core.agents.directory import AgentDirectory
from prouter.core.agents.housekeeping import Housekeeping
from prouter.core.agents.memory import AgentMemory, DialedAgent
from prouter.model.access import Secret
from prouter.pluginkit.tasks import TaskOwner
from prouter.testing import eventually
from prouter.testing.network import reserved_port

NO_HOOKS: Any = SimpleNamespace(implemented=lambda hook: False)


def a_directory() -> AgentDirectory:
    return AgentDirectory(lambda event: None, orphan_seconds=60, takeover_seconds=1)


def a_fleet(tasks: TaskOwner, directory: AgentDirectory, **settings: Any) -> Any:
    given = {"ping_interval_seconds": 5, "orphan_seconds": 60, "polling_delay_seconds": 0.1} | settings
    return SimpleNamespace(tasks=tasks, directory=directory, settings=SimpleNamespace(**given))


async def test_who_is_dialed_at_the_end_is_dialed_by_the_next_run(tmp_path: Path) -> None:
    memory, directory = AgentMemory(tmp_path / "agents.json"), a_directory()
    links, keeps = TaskOwner("links"), TaskOwner("keeps")
    housekeeping = Housekeeping(memory, directory)
    dialer = Dialer(a_fleet(links, directory), housekeeping.changed, NO_HOOKS)
    housekeeping.watch(dialer)
    keeps.start("housekeeping", housekeeping.run())

    def written() -> list[tuple[str, str]]:
        return [(agent.address, agent.token.reveal() if agent.token else "") for agent in memory.read().dialed]

    with reserved_port() as port:
        address = f"127.0.0.1:{port}"
        dialer.resume([DialedAgent(address, Secret("of the agent"))])
        await eventually(lambda: written() == [(address, "of the agent")], what="the agent on disk")
        await links.close()
        await keeps.close()
    assert written() == [(address, "of the agent")]


class Slow(AgentMemory):
    """Takes its time, and counts who writes at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.writers = self.most = self.writes = 0

    def write(self, uids: Iterable[str], dialed: Iterable[DialedAgent]) -> bool:
        self.writers += 1
        self.most = max(self.most, self.writers)
        time.sleep(0.2)
        written = super().write(uids, dialed)
        self.writers -= 1
        self.writes += 1
        return written


async def test_the_last_word_is_written_by_nobody_else_at_the_same_time(tmp_path: Path) -> None:
    memory, tasks = Slow(tmp_path / "agents.json"), TaskOwner("keeps")
    tasks.start("housekeeping", Housekeeping(memory, a_directory()).run())
    await eventually(lambda: memory.writers == 1, what="a write that is under way")
    await tasks.close()
    assert (memory.most, memory.writes) == (1, 2)


@pytest.mark.parametrize("has", ["a newer link", "no link", "another entry"])
async def test_an_agent_that_was_idle_over_a_link_of_before_is_not_forgotten(has: str) -> None:
    tasks, forgotten = TaskOwner("links"), []
    rpc = SimpleNamespace(closed=False, close=asyncio.Event().wait)
    entry: Any = SimpleNamespace(uid="a", mirror=[], link=SimpleNamespace(rpc=rpc))
    known = [entry]
    directory = SimpleNamespace(
        forget=forgotten.append, known=lambda uid: known[0], waited_for=lambda uid: False, linked=lambda uid: None
    )
    fleet = a_fleet(tasks, cast("AgentDirectory", directory))
    kept: Any = SimpleNamespace(address="here", wanted_until=0.0, is_up=lambda entry: None, _fleet=fleet)
    watch = _IdleWatch(kept, cast("Any", rpc))
    watch.start(entry)
    if has == "another entry":
        known[0] = SimpleNamespace()
    else:
        entry.link = SimpleNamespace(rpc=SimpleNamespace(closed=False)) if has == "a newer link" else None
    await eventually(lambda: len(tasks) == 0, what="the end of the watch")
    assert not forgotten
    assert not watch.dropped
