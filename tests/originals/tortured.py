"""The jobs that torture a proxy, on an original agent behind our router."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imitations import Imitation, Originals
from proxied import APPS, Proxied, call

from prouter.testing import Fleet, RouterDaemon

LINK_SECONDS = 20.0


class OnV1(Proxied):
    """Its job's port is not known, and its sandbox is where an original has it."""

    def __init__(self, router: RouterDaemon, agent: Imitation, info: Any) -> None:
        self.router, self.info = router, info
        self.prefix = f"{info['path']}/http"
        (self.sandbox,) = agent.place.parent.glob(f"pagent-*/{info['uid']}")


@contextmanager
def jobs_on_v1(place: Path) -> Iterator[Callable[..., OnV1]]:
    """Makes jobs; after it all are gone, and nobody complained."""
    fleet, originals = Fleet(place / "ours"), Originals(place / "theirs")
    try:
        router = fleet.router()
        agent = originals.agent(router="{}:{}".format(*router.address("server")), token=router.agent_token)
        deadline = time.monotonic() + LINK_SECONDS
        while not any(found["connected"] for found in call(router, "GET", "/agents")["agents"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)

        def made(app: str = "torture.py") -> OnV1:
            locator = {"type": "uid", "uid": agent.uid}
            path = call(router, "POST", "/jobs/create", {"agent": locator, "name": app})["path"]
            return OnV1(
                router, agent, call(router, "POST", f"{path}/start", {"args": [sys.executable, str(APPS / app)]})
            )

        yield made
    finally:
        originals.close()
        fleet.close()
    assert not fleet.error_lines()
    assert not originals.complaints()
