"""A job's page in Chromium: all that it asks its own server for, under the prefix, as if there were none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from proxied import Proxied

from chromium import Page, opened
from prouter.testing import eventually


async def is_loaded(page: Page) -> None:
    async def loaded() -> bool:
        return await page.value("document.readyState === 'complete' && typeof refused === 'function'") is True

    await eventually(loaded, what="the page")


async def test_a_page_of_a_job_has_all_of_its_server(make_job: Callable[..., Proxied], tmp_path: Path) -> None:
    job = make_job("browsed.py")
    origin = f"http://127.0.0.1:{job.port}"
    async with opened(tmp_path / "profile", job.router.url() + job.prefix + "/") as page:
        await is_loaded(page)
        assert await page.value("verbs()") == ["GET", "PUT", "DELETE", "PATCH", "PROPFIND"]
        assert await page.value("paths()") == ["/echo/a%2Fb;c@d//e?f=%00&g=%C3%BC", None, f"{job.prefix}/"]
        assert await page.value("upload(5000000)") == [True, "multipart/form-data"]
        assert await page.value("cookies()") == {
            "url": f"{job.prefix}/echo/landed?a=%2F&b=%C3%BC",
            "redirected": True,
            "path": "/echo/landed?a=%2F&b=%C3%BC",
            "sent": ["hidden=yes", "shown=yes"],
            "shown": "shown=yes",
            "elsewhere": None,
        }
        words = [[True, "GET", False]] * 3 + [[True, "POST", True]] * 2
        assert await page.value("redirects()") == words
        assert await page.value("streamed()") == ["first ", "second"]
        assert await page.value("left()") == "left"
        assert await page.value("events()") == [["1", "after nothing"], ["2", "two\nlines"], "after 2"]
        assert await page.value("cached()") == [["visit 1", "visit 1"], 2]
        assert await page.value("many(60)") is True
        socket = await page.value("socket(3000000)")
        compressed, came_from, *sent = socket.pop("greeting").replace(";", "").split()
        assert (compressed, came_from, sorted(sent)) == ("15", origin, ["hidden=yes", "shown=yes"])
        assert socket == {
            "protocol": "chosen",
            "extensions": "permessage-deflate",
            "text": "words and ü",
            "same": True,
            "closed": [4321, "enough of it", True],
            "none": "",
            "mine": [4000, "mine", True],
            "heard": [4000, "mine"],
        }
        assert await page.value("refused()") == [403, "not today", 1006]
