"""docs/plugins/index.md tells the truth: its commands start routers, its example works, its tables are complete."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from switching import built_in

from prouter.client import Client
from prouter.testing import ECHO, Fleet
from prouter.testing.fleet import serving_job

TEXT = (Path(__file__).parents[2] / "docs" / "plugins" / "index.md").read_text()
BLOCKS = [re.sub(r"(?m)^ {4}", "", block) for block in re.findall(r"(?:^ {4}.*\n|^\n(?=\n* {4}))+", TEXT, re.MULTILINE)]
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.startswith("prouter ")]
SELECTOR = next(block.lstrip("\n") for block in BLOCKS if "class MyPlugin" in block)


def installed(site: Path) -> None:
    """A package with the entry point that the page shows."""
    block = next(block for block in BLOCKS if "[project.entry-points" in block)
    points = tomllib.loads(block)["project"]["entry-points"]["prouter.plugins"]
    info = site / "my_package-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1\n")
    lines = "\n".join(f"{name} = {place}" for name, place in points.items())
    (info / "entry_points.txt").write_text(f"[prouter.plugins]\n{lines}\n")
    (site / "my_package.py").write_text(SELECTOR)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_the_page_starts_a_router(fleet: Fleet, tmp_path: Path, command: str) -> None:
    site = tmp_path / "site"
    site.mkdir()
    if "required" in command:
        installed(site)
    (site / "my_plugin.py").write_text("from prouter import hookimpl\n@hookimpl\ndef prouter_guards(): ...\n")
    place = fleet.place / f"daemon-{len(fleet.daemons)}"
    place.mkdir()
    (place / "selector.py").write_text(SELECTOR)
    router = fleet.daemon(*shlex.split(command, comments=True)[1:], environ={"PYTHONPATH": str(site)})
    assert "Listening on" in router.log


async def test_the_example_of_the_page_works(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "selector.py").write_text(SELECTOR)
    router = fleet.router(f"plugins.load=[{str(tmp_path / 'selector.py')!r}]")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with Client(router.url()) as client:
        assert (await client.create({"type": "first"}, "")).info["agent"]["uid"] == agent.uid
        job = await serving_job(client, agent, ECHO)
        async with client.session.get(job.url()) as answer:
            assert json.loads(await answer.read())["X-Client"] == "anonymous"


def test_the_page_names_every_plugin_and_no_other() -> None:
    table = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    assert table == built_in() | built_in("prouter.agent_plugins")
