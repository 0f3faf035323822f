"""What prouter expects of any plugin: nothing is wrong with it to look at, it starts, works beside a job, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.errors import ProuterError
from prouter.pluginkit.inspecting import examine, fits, loaded
from prouter.testing.contracts.hooks import OF_AGENT, OF_ROUTER
from prouter.testing.contracts.watching import broken, no_task_left
from prouter.testing.fake_agent import FakeAgent
from prouter.testing.here import InProcess
from prouter.testing.wanted import Given, Plugins

LIVES = 2
"""How often it is started and ended."""
OF_THE_LOOP = "asyncio_"
"""How the threads are called in which a loop does what blocks; they stay until the loop ends."""


async def assert_plugin(plugin: Any, *, name: str = "", settings: Sequence[str] = (), token: str | None = None) -> None:
    """Raises ContractBroken. `plugin` is its class; `settings` are those of its router or agent, as for `--set`.

    `name` is that under which settings know it, where it is not installed; `token` what a client needs of such a
    router.
    """
    who = plugin.__name__ if isinstance(plugin, type) else type(plugin).__name__
    instance, findings = loaded(who, lambda: plugin)
    of_agent = instance is not None and fits(instance, OF_AGENT) > fits(instance, OF_ROUTER)
    if instance is not None:
        findings += examine(who, instance, OF_AGENT if of_agent else OF_ROUTER)
    if findings:
        broken(who, "; ".join(f"{finding.what}; {finding.todo}" for finding in findings))
    for _ in range(LIVES):
        tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
        try:
            await _live([Given(plugin, name)], settings, token, of_agent=of_agent)
        except AssertionError as error:
            broken(who, f"it left something or failed: {error}")
        except ProuterError as error:
            broken(who, f"it does not start: {error.detail}")
        await no_task_left(who, tasks, "its life")
        _no_thread_left(who, threads)


async def _live(plugins: Plugins, settings: Sequence[str], token: str | None, *, of_agent: bool) -> None:
    """From its start to its end, with a job in between; what it refuses of that is its own decision."""
    with tempfile.TemporaryDirectory() as place:
        async with InProcess(Path(place)) as house:
            router = await house.router(*([] if of_agent else settings), plugins=() if of_agent else plugins)
            async with router.client(token) as client, contextlib.AsyncExitStack() as agents:
                if of_agent:
                    agent: Any = await house.agent(router, *settings, plugins=plugins)
                else:
                    agent = await agents.enter_async_context(FakeAgent(router))
                with contextlib.suppress(RequestFailed):
                    await _job(client, agent.uid)


async def _job(client: Client, agent: str) -> None:
    job = await client.create({"type": "uid", "uid": agent}, "a job", labels={"team": "lab"})
    with contextlib.suppress(RequestFailed):
        await job.start([sys.executable, "-c", "pass"], port_expected_count=0)
        await job.stop(grace_seconds=1)
    await job.remove()


def _no_thread_left(who: str, before: set[threading.Thread]) -> None:
    left = [t.name for t in set(threading.enumerate()) - before if t.is_alive() and not t.name.startswith(OF_THE_LOOP)]
    if left:
        broken(who, f"after its end there are threads of it ({', '.join(sorted(left))}); end them in prouter_shutdown")
