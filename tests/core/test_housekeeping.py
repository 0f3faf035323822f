"""Who is known is on disk as soon as it is known: a job that was acknowledged a moment ago is on an agent of the next
run, too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from prouter.core.agents import housekeeping
from prouter.core.agents.directory import AgentDirectory
from prouter.core.agents.memory import AgentMemory
from prouter.testing import eventually


class Known(AgentDirectory):
    """Agents without links."""

    def __init__(self) -> None:
        super().__init__(lambda event: None, orphan_seconds=10, takeover_seconds=1)
        self.known_uids: list[str] = []

    def uids(self) -> list[str]:
        return self.known_uids

    def come(self, uid: str) -> None:
        self.known_uids.append(uid)
        self._tell_registered()


async def test_an_agent_is_remembered_when_it_comes_and_not_a_while_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "PERIOD_SECONDS", 3600.0)
    memory, directory = AgentMemory(tmp_path / "agents.json"), Known()
    running = asyncio.create_task(housekeeping.Housekeeping(memory, directory).run())
    for count in (1, 2, 3):
        directory.come(f"agent {count}")
        await eventually(lambda count=count: len(memory.read().uids) == count, what=f"{count} agents on disk")
    running.cancel()
    await asyncio.wait([running])
