"""A browser for tests: Chromium without a window, its page asked by the debugging protocol.

Belongs here: starting, asking and ending it. Does not: what pages must do (demo/, proxy/test_in_a_browser.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from prouter.testing import eventually

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-port=0 --remote-allow-origins=*"
)


class Page:
    """A page in a browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._calls = 0

    async def value(self, expression: str) -> Any:
        """Of a JavaScript expression; what a promise becomes. What JSON can say only; an exception fails the test."""
        self._calls += 1
        params = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        await self._socket.send_json({"id": self._calls, "method": "Runtime.evaluate", "params": params})
        while (answer := await self._socket.receive_json(timeout=60)).get("id") != self._calls:
            pass
        result = answer["result"]
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")


@asynccontextmanager
async def opened(profile: Path, url: str) -> AsyncIterator[Page]:
    """A page, in a browser of its own with that profile; skips the test where there is none, but not in CI."""
    browser = shutil.which("chromium")
    if browser is None:
        assert "CI" not in os.environ, "chromium is not installed"
        pytest.skip("chromium is not installed")
    flags = [*FLAGS.split(), f"--user-data-dir={profile}"]
    with subprocess.Popen([browser, *flags, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
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
