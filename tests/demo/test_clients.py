"""The small clients of the examples do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from chromium import opened
from prouter.testing import eventually

CLIENTS = Path(__file__).parents[2] / "examples" / "clients"


def said(*command: str) -> str:
    found = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


async def test_curl(fleet) -> None:
    router, _ = await fleet.pair()
    told = said("bash", str(CLIENTS / "job.sh"), router.url())
    assert "the job serves: <h1>hello</h1>" in told
    assert "it ended: stopped" in told
    async with router.client() as client:
        assert not await client.jobs()


async def test_pythons_standard_library(fleet) -> None:
    router, _ = await fleet.pair()
    told = said(sys.executable, str(CLIENTS / "job.py"), router.url())
    assert "it ended: exited 0" in told
    assert "it said: adding 100 numbers" in told
    assert "the sum: 4950" in told


async def test_a_page_in_a_browser(fleet, tmp_path: Path) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "serves the page")
        await job.upload(CLIENTS / "page.html", "index.html")
        serve = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
        await job.start(serve, port={"mode": "assign"})
        async with opened(tmp_path / "profile", job.url("index.html")) as page:

            async def is_loaded() -> bool:
                return (
                    await page.value("document.readyState === 'complete' && !!document.getElementById('run')") is True
                )

            async def has_ended() -> bool:
                return await page.value("document.getElementById('state').textContent") == "exited, status 0"

            await eventually(is_loaded)
            await page.value("document.getElementById('run').click()")
            await eventually(has_ended, seconds=40)
            assert "line 4" in str(await page.value("document.getElementById('output').textContent"))

            async def is_alone() -> bool:
                return [left.info["name"] for left in await client.jobs()] == ["serves the page"]

            await eventually(is_alone, what="the page's removal of its job")
