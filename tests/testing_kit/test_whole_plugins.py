"""The contract of any plugin: who does not start, leaves something, or looks wrong, and what the author is told."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from prouter import agent_hookspecs, hookimpl, hookspecs, implements
from prouter.model.plugin import ConfigSection
from prouter.model.services import AgentHost, Router
from prouter.plugins.idle_culling import IdleCulling
from prouter.plugins.jobs_api import JobsApi
from prouter.testing import ContractBroken, assert_contract


class Good:
    """Has a section, a task of its own and a thread that it ends."""

    @implements(hookspecs.prouter_config_sections)
    def sections(self) -> Sequence[ConfigSection]:
        limit = {"type": "integer", "minimum": 1, "default": 3, "description": "Jobs."}
        return [ConfigSection("good", {"limit": limit})]

    @implements(hookspecs.prouter_startup)
    def startup(self, router: Router) -> None:
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.end.wait, name="good")
        self.thread.start()
        router.tasks.start("waits", self.wait())

    async def wait(self) -> None:
        await asyncio.Event().wait()

    @implements(hookspecs.prouter_shutdown)
    async def shutdown(self) -> None:
        self.end.set()
        await asyncio.to_thread(self.thread.join)


class OfAgent:
    @implements(agent_hookspecs.prouter_startup)
    def startup(self, agent: AgentHost) -> None:
        self.agent = agent

    @hookimpl
    def prouter_job_ended(self, record: Any) -> None:
        """Is told."""


KEPT: list[Good] = []


class Thread(Good):
    def __init__(self) -> None:
        KEPT.append(self)

    @implements(hookspecs.prouter_shutdown)
    def shutdown(self) -> None:
        """Forgets its thread."""


class Task:
    @hookimpl
    def prouter_startup(self) -> None:
        self.task = asyncio.get_running_loop().create_task(asyncio.sleep(600), name="forgotten")


class NoStart:
    @hookimpl
    def prouter_startup(self) -> None:
        raise RuntimeError("not today")


class Complains:
    @hookimpl
    def prouter_agent_connected(self, agent: Any) -> None:
        logging.getLogger("a.plugin").error("this agent is odd")


class Misspelt:
    @hookimpl
    def prouter_start_up(self, router: Any) -> None: ...


BROKEN: dict[type[Any], str] = {
    Thread: r"there are threads of it \(good\)",
    Task: r"its life left tasks behind \(forgotten of sleep\)",
    NoStart: "it does not start: .*RuntimeError",
    Complains: "it left something or failed: ERROR lines in the log",
    Misspelt: "prouter_start_up",
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_plugins_that_break_it(kind: type[Any]) -> None:
    before = asyncio.all_tasks()
    with pytest.raises(ContractBroken, match=BROKEN[kind]):
        await assert_contract(kind, "plugin")
    for task in asyncio.all_tasks() - before:
        task.cancel()
    if kind is Thread:
        for found in KEPT:
            if hasattr(found, "end"):
                found.end.set()
                found.thread.join()


@pytest.mark.parametrize("kind", [Good, OfAgent, JobsApi, IdleCulling])
async def test_plugins_that_keep_it(kind: type[Any]) -> None:
    await assert_contract(kind, "plugin", settings=["good.limit=7"] if kind is Good else [])


async def test_settings_that_it_refuses() -> None:
    with pytest.raises(ContractBroken, match=r"it does not start: good\.limit"):
        await assert_contract(Good, "plugin", settings=["good.limit=0"])
