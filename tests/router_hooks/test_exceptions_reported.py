"""prouter_handle_exception: what nobody expected is told once, from wherever it was caught in the router."""

from __future__ import annotations

from pathlib import Path

import aiohttp
from hearing import Heard

from prouter.testing import Fleet

BROKEN = """
from prouter import hookimpl
from prouter.errors import Conflict
from prouter.model.plugin import Route

class Broken:
    name, schema = "broken", {"type": "object"}

    @hookimpl
    def prouter_startup(self, router):
        self.tasks = router.tasks

    @hookimpl
    def prouter_selectors(self):
        return [self]

    async def choose(self, locator, candidates):
        raise ValueError("a selector's")

    @hookimpl
    def prouter_authorize(self, principal, action):
        if action == "hook.read":
            self.raising_in_a_hook()

    def raising_in_a_hook(self):
        raise KeyError("a hook's")

    @hookimpl
    def prouter_routes(self):
        routes = [Route(("GET",), "/" + name, name + ".read", "Fails.", getattr(self, name)) for name in
                  ("hook", "handler", "task", "expected")]
        return [*routes, Route(("GET",), "/relay", "relay.read", "Fails.", relay=self.relay)]

    async def hook(self, call): ...

    async def handler(self, call):
        raise LookupError("a handler's")

    async def task(self, call):
        async def work():
            raise ArithmeticError("a task's")
        self.tasks.start("a sum", work())
        from prouter.model.http import Reply
        return Reply.text("begun")

    async def expected(self, call):
        raise Conflict("this is how it is")

    async def relay(self, call):
        raise OSError("a relay's")
"""


async def test_each_is_told_once_with_its_traceback_and_what_it_was_about(fleet: Fleet, tmp_path: Path) -> None:
    heard, broken = Heard(tmp_path, "handle_exception"), tmp_path / "broken.py"
    broken.write_text(BROKEN)
    fleet.expected_errors += ["plugin broken failed", "failed", "Traceback"]
    router = fleet.router(f"plugins.load={[str(heard.plugin), str(broken)]!r}")
    async with aiohttp.ClientSession(router.url()) as session:
        for path, status in (
            ("/hook", 500),
            ("/handler", 500),
            ("/relay", 500),
            ("/task", 200),
            ("/expected", 409),
            ("/nowhere", 404),
        ):
            async with session.get(path, headers={"X-Request-Id": path.strip("/")}) as answer:
                assert answer.status == status, path
                assert "'s" not in await answer.text()
        async with session.post("/jobs/create", json={"agent": {"type": "broken"}}) as answer:
            assert answer.status == 500
    wanted = {
        """KeyError("a hook's")""": ("prouter_authorize of plugin broken", "raising_in_a_hook"),
        """LookupError("a handler's")""": ("GET /handler", "handler"),
        """OSError("a relay's")""": ("GET /relay", "relay"),
        """ArithmeticError("a task's")""": ("plugin broken: a sum", "work"),
        """ValueError("a selector's")""": ("selector broken of plugin broken", "choose"),
    }
    for error, (about, frame) in wanted.items():
        told = await heard.one("exception", error=error)
        assert told["about"] == about
        assert told["frames"][-1] == frame
    assert len(heard.all("exception")) == len(wanted)
