"""Where nobody implements a hook about requests, nothing is recorded, built or told on their way."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from prouter.core.access import Access
from prouter.core.events import EventHub
from prouter.core.jobs.acting import Acting
from prouter.core.told import Told
from prouter.model.access import ANONYMOUS, Peer
from prouter.model.events import JobsActive
from prouter.model.http import RequestHead
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import JobRef
from prouter.model.plugin import JobTarget
from prouter.model.proxying import Bridge
from prouter.model.trail import current
from prouter.pluginkit.calling import Hooks
from prouter.web.outcomes import Incoming


class Nobody:
    """Hooks that nobody implements: asking for more than that is an error."""

    def implemented(self, hook: str) -> bool:
        return False


def nobody() -> Hooks:
    return cast("Hooks", Nobody())


async def test_a_request_carries_nothing_and_its_decisions_go_nowhere() -> None:
    told, incoming = Told(nobody()), Incoming(RequestHead("GET", "/", ()), Peer("127.0.0.1", 1), "an id")
    told.of_all(incoming)
    told.of_proxied(incoming, cast("JobTarget", None))
    assert (incoming.on_answer, incoming.on_end, current.get()) == (None, None, None)
    with told.of_agent(AgentUid("a"), incoming.peer) as found:
        found(ANONYMOUS)
        assert current.get() is None


async def test_activity_and_bridges_neither() -> None:
    def info() -> Any:
        raise AssertionError("nobody asked")

    EventHub(nobody(), asyncio.Event(), Acting()).tell(JobsActive(info, ()))
    bridge = Bridge(JobRef(AgentUid("a"), JobUid("j")), "/", "ws://here/")
    await Access.may_bridge(cast("Access", _Gate()), bridge, ANONYMOUS)


class _Gate:
    _hooks = nobody()
