"""The test kit: real routers, agents and jobs as processes, for plugin authors and for prouter's own tests.

A pytest plugin (found by itself once prouter is installed) gives the fixture `fleet`::

    async def test_my_selector(fleet):
        router = fleet.router("plugins.load=['my_plugin.py']")
        agent = fleet.agent(router)
        async with router.client() as client:
            job = await client.create({"type": "uid", "uid": agent.uid}, "a job")

processes.py has the daemons, fleet.py the fixture's value, plugin.py the fixtures.
"""

from prouter.testing.fleet import AgentDaemon, Fleet, RouterDaemon
from prouter.testing.processes import Daemon, eventually

__all__ = ["AgentDaemon", "Daemon", "Fleet", "RouterDaemon", "eventually"]
