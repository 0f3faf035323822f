"""The test kit: routers, agents and jobs for plugin authors and for prouter's own tests.

A pytest plugin (found by itself once prouter is installed) gives fixtures. `router`, `agent` and `job` run in the
test's own process and event loop, from plugins and settings that a mark names::

    @pytest.mark.prouter(plugins=[MySelector])
    async def test_my_selector(router, agent):
        async with router.client() as client:
            job = await client.create({"type": "mine"}, "a job")
        assert job.info["agent"]["uid"] == agent.uid

`fleet` gives real processes, as many as a test likes; `in_process` the same without processes.

plugin.py and fixtures.py have the fixtures, wanted.py what a mark says, here.py routers and agents of this process,
fleet.py and processes.py those that are processes, fake_agent.py and network.py what real ones never do,
contracts/ what prouter expects of what plugins hand over. Nothing is imported before somebody asks for it: the plugin
is loaded by every run of pytest on a machine that has prouter.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prouter.testing.contracts import ContractBroken, assert_contract
    from prouter.testing.fake_agent import FakeAgent
    from prouter.testing.fleet import AgentDaemon, Fleet, RouterDaemon, serving_job
    from prouter.testing.here import AgentHere, InProcess, RouterHere
    from prouter.testing.network import BrokenNetwork
    from prouter.testing.processes import Daemon, eventually
    from prouter.testing.programs import ECHO
    from prouter.testing.talking import AnyAgent, AnyRouter
    from prouter.testing.wanted import Setup

_PLACES = {
    "ECHO": "programs",
    "AgentDaemon": "fleet",
    "AgentHere": "here",
    "AnyAgent": "talking",
    "AnyRouter": "talking",
    "BrokenNetwork": "network",
    "ContractBroken": "contracts",
    "Daemon": "processes",
    "FakeAgent": "fake_agent",
    "Fleet": "fleet",
    "InProcess": "here",
    "RouterDaemon": "fleet",
    "RouterHere": "here",
    "Setup": "wanted",
    "assert_contract": "contracts",
    "eventually": "processes",
    "serving_job": "fleet",
}

__all__ = [
    "ECHO",
    "AgentDaemon",
    "AgentHere",
    "AnyAgent",
    "AnyRouter",
    "BrokenNetwork",
    "ContractBroken",
    "Daemon",
    "FakeAgent",
    "Fleet",
    "InProcess",
    "RouterDaemon",
    "RouterHere",
    "Setup",
    "assert_contract",
    "eventually",
    "serving_job",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
