"""Each configuration of docs/operations.md is one that a daemon comes up with, and those of a section fit together.

10.77.0.N of the page is 127.77.0.N here, which Linux has without being asked; ports are free ones.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from prouter.testing import Fleet, RouterDaemon

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="all of 127.0.0.0/8 is Linux's")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
TOKENS = {"agents.tokens": "a" * 32, "agent.token": "a" * 32, "clients.tokens": "c" * 32}
FIRST, SECOND = "10.77.0.1", "10.77.0.2"


def blocks(section: str, file: str = "") -> list[str]:
    """The section's YAML that says to be in this file."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [found for found in re.findall(r"(?s)```yaml\n(.*?)```", text) if found.startswith(f"# /etc/prouter/{file}")]


class Machines:
    """What the page has in /etc/prouter is in a directory of the test, with other addresses."""

    def __init__(self, fleet: Fleet, place: Path) -> None:
        self.fleet, self.place = fleet, place
        for name, token in TOKENS.items():
            (place / name).write_text(token)

    def router(self, text: str) -> RouterDaemon:
        """Its end is not what this is about: nobody waits for HAProxy."""
        return self.fleet.router("shutdown.notice=0", flags=self._written(re.sub(r"port: \d+", "port: 0", text)))

    async def agent(self, text: str, *routers: RouterDaemon) -> None:
        """Joins all these."""
        for router in routers:
            host, port = router.address("server")
            text = text.replace(f"{host.replace('127.', '10.')}:9100", f"{host}:{port}")
        agent = self.fleet.agent(flags=self._written(text), environ={"PAGENT_SERVER__ACCEPT_TOKENS": "[]"})
        for router in routers:
            await router.agent_is_there(agent, token=TOKENS["clients.tokens"])

    def _written(self, text: str) -> tuple[str, str]:
        file = self.place / f"{len(list(self.place.iterdir()))}.yaml"
        file.write_text(text.replace("/etc/prouter", str(self.place)).replace("10.77.", "127.77."))
        return "--config", str(file)


@pytest.fixture
def machines(fleet: Fleet, tmp_path: Path) -> Machines:
    place = tmp_path / "etc"
    place.mkdir()
    return Machines(fleet, place)


async def test_a_router_and_its_agents(machines: Machines) -> None:
    (router,) = [machines.router(text) for text in blocks("As a service", "router.yaml")]
    plain, rich = blocks("As a service", "agent.yaml") + blocks("A machine comes, and goes", "agent.yaml")
    (limits,) = re.findall(r"(?sm)^```yaml\n(jobs: .*?)```", PAGE)
    await machines.agent(plain + limits, router)
    await machines.agent(rich, router)


async def test_two_routers_where_haproxy_and_agents_look_for_them(machines: Machines) -> None:
    (text,) = blocks("Several routers", "router.yaml")
    assert text.count(FIRST) - text.partition("\n")[0].count(FIRST) == 2, "as the block itself says"
    routers = [machines.router(text), machines.router(text.replace(FIRST, SECOND))]
    proxy = (ROOT / "examples" / "operations" / "haproxy.cfg").read_text("utf-8")
    asked = re.findall(r"(?m)^    server \w+ 10\.([\d.]+):8080", proxy)
    assert [f"127.{rest}" for rest in asked] == [router.address("control")[0] for router in routers]
    (agent,) = blocks("Several routers", "agent.yaml")
    await machines.agent(agent, *routers)


def test_no_configuration_of_the_page_is_left_out() -> None:
    tried = blocks("As a service") + blocks("A machine comes, and goes") + blocks("Several routers")
    assert len(tried) + 1 == PAGE.count("```yaml\n")
