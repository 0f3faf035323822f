"""A second agent on another machine (a network namespace) joins with the README's words only."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from readme import URL, Machine, commands, section

from prouter.testing import eventually

TITLE = "On two machines"
FIRST, SECOND = "10.77.0.1", "10.77.0.2"
"""As the README has them; in these namespaces they are nobody else's."""

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and iproute2"),
    pytest.mark.skipif(not shutil.which("curl"), reason="needs curl"),
]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two network namespaces with a line between them."""
    tag = secrets.token_hex(3)
    names = (f"prt{tag}a", f"prt{tag}b")
    made = [Machine(tmp_path / name, ["ip", "netns", "exec", name]) for name in names]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", f"{names[0]}0", "netns", names[0], "type", "veth", "peer", f"{names[1]}0", "netns", names[1])
        for name, address in zip(names, (FIRST, SECOND), strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", f"{name}0")
            ip("-n", name, "link", "set", f"{name}0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield made[0], made[1]
    finally:
        try:
            for machine in reversed(made):
                machine.end()
        finally:
            for name in names:
                subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr}")


async def a_router(first: Machine, second: Machine) -> None:
    """The README's first block on the first machine; both have the file with the token then."""
    (make_token, router), *_ = commands(TITLE)
    first.run(make_token)
    shutil.copy(first.place / "agents.token", second.place / "agents.token")
    first.begin(router)
    await eventually(lambda: "control endpoint" in first.log, what="the router")


async def the_agent_listed(first: Machine) -> str:
    """Its uid, by the command in the text."""
    found = re.search(r"The agent appears in `(curl [^`]+)`", section(TITLE))
    assert found
    (agent,) = await eventually(lambda: first.ask(found[1])["agents"], what="the agent in the list")
    assert agent["connected"]
    return str(agent["uid"])


def a_job_runs(first: Machine, uid: str, agent: str) -> None:
    """On the second machine, through the first one's API."""
    start = """'{"args": ["python3", "-m", "http.server", "{port}"], "port": {"mode": "assign"}}'"""
    info = first.ask(f"curl -X POST {URL}/jobs/{uid}/start -d {start}")
    assert (info["state"], info["agent"]["uid"]) == ("RUNNING", agent)
    assert "Directory listing" in first.run(f"curl {URL}/jobs/{uid}/http/")
    first.run(f"curl -X POST {URL}/jobs/{uid}/remove")


async def test_an_agent_that_dials_out_joins(machines: tuple[Machine, Machine]) -> None:
    first, second = machines
    await a_router(first, second)
    second.begin(commands(TITLE)[1][0])
    agent = await the_agent_listed(first)
    body = f"""'{{"agent": {{"type": "uid", "uid": "{agent}"}}}}'"""
    made = first.ask(f"curl -X POST {URL}/jobs/create -d {body}")
    a_job_runs(first, made["uid"], agent)


async def test_an_agent_that_listens_is_dialed(machines: tuple[Machine, Machine]) -> None:
    first, second = machines
    await a_router(first, second)
    listen, create = commands(TITLE)[2]
    second.begin(listen)
    await eventually(lambda: "agent endpoint" in second.log, what="the agent")
    token = (first.place / "agents.token").read_text().strip()
    made = first.ask(f"R={URL}; {create.replace('...', token)}")
    assert made["agent"]["uid"] == await the_agent_listed(first)
    a_job_runs(first, made["uid"], made["agent"]["uid"])
