"""The small clients of the examples do what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from prouter.testing import eventually

CLIENTS = Path(__file__).parents[2] / "examples" / "clients"
BROWSER_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-port=0 --remote-allow-origins=*"
)


class Page:
    """A page in a browser, asked by its debugging protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._calls = 0

    async def value(self, expression: str) -> object:
        self._calls += 1
        await self._socket.send_json(
            {"id": self._calls, "method": "Runtime.evaluate", "params": {"expression": expression}}
        )
        while (answer := await self._socket.receive_json(timeout=30)).get("id") != self._calls:
            pass
        return answer["result"]["result"].get("value")


@asynccontextmanager
async def opened(browser: str, profile: Path, url: str) -> AsyncIterator[Page]:
    flags = [*BROWSER_FLAGS.split(), f"--user-data-dir={profile}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([browser, *flags, url], **quiet) as process:  # type: ignore[call-overload]
        try:
            port_file = profile / "DevToolsActivePort"
            port = (await eventually(lambda: port_file.exists() and port_file.read_text().split(), what="chromium"))[0]
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    pages = [page for page in await answer.json(content_type=None) if page["type"] == "page"]
                async with session.ws_connect(pages[0]["webSocketDebuggerUrl"]) as socket:
                    yield Page(socket)
        finally:
            process.kill()


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
    browser = shutil.which("chromium")
    if browser is None:
        assert "CI" not in os.environ, "chromium is not installed"
        pytest.skip("chromium is not installed")
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "serves the page")
        await job.upload(CLIENTS / "page.html", "index.html")
        serve = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
        await job.start(serve, port={"mode": "assign"})
        async with opened(browser, tmp_path / "profile", job.url("index.html")) as page:

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
