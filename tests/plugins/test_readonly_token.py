"""examples/plugins/readonly_token, installed by the entry point that its pyproject names."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import aiohttp
import pytest

from prouter.client import Client, Job
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugins" / "readonly_token"
READER, WRITER = "reader-token-5f0c", "writer-token-91ab"


@pytest.fixture
def router(fleet: Fleet, tmp_path: Path) -> RouterDaemon:
    """With the example as its README says, and a token of each kind."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    environ = {
        "PYTHONPATH": f"{EXAMPLE / 'src'}:{tmp_path / 'site'}",
        "PROUTER_READONLY_TOKEN__TOKENS": json.dumps([READER]),
        "PROUTER_CONTROL__TOKENS": json.dumps([WRITER]),
    }
    return fleet.router('access.authenticators=["readonly_token","token_auth"]', environ=environ)


ASKED = [
    (READER, "GET", "/jobs", 200),
    (READER, "GET", "/agents", 200),
    (READER, "POST", "/jobs/create", 403),
    (READER, "POST", "/shutdown", 403),
    ("unknown", "GET", "/jobs", 401),
    (None, "GET", "/jobs", 401),
    (WRITER, "GET", "/jobs", 200),
    (WRITER, "POST", "/shutdown", 200),
]


async def test_a_reader_looks_and_a_writer_changes(router: RouterDaemon) -> None:
    async with aiohttp.ClientSession() as session:
        for token, verb, path, status in ASKED:
            headers = {"X-Prouter-Token": token} if token else {}
            async with session.request(verb, router.url() + path, headers=headers) as answer:
                assert answer.status == status, (token, verb, path)
                if status == 403:
                    assert "this token may only read" in (await answer.json())["detail"]


async def test_a_reader_may_not_remove_by_reading(fleet: Fleet, router: RouterDaemon) -> None:
    agent = fleet.agent(router)
    async with router.client(WRITER) as writer:
        job = await _made(writer, agent)
        (agent.sandbox(job) / "kept").write_text("kept")
        async with router.client(READER) as reader:
            url = f"{router.url()}{job.path}/file/kept"
            async with reader.session.get(url) as answer:
                assert (answer.status, await answer.text()) == (200, "kept")
            async with reader.session.get(url, params={"remove": "1"}) as answer:
                assert answer.status == 403
        assert (agent.sandbox(job) / "kept").exists()
        async with writer.session.get(url, params={"remove": "1"}) as answer:
            assert answer.status == 200
            await answer.read()
        await eventually(lambda: not (agent.sandbox(job) / "kept").exists())


async def _made(writer: Client, agent: AgentDaemon) -> Job:
    async def there() -> bool:
        return any(found["uid"] == agent.uid for found in await writer.agents())

    await eventually(there)
    return await writer.create({"type": "uid", "uid": agent.uid}, "job")
