"""An original agent has no plugins: a plugin of the router that asks for its other half there is told so."""

from __future__ import annotations

from pathlib import Path

from imitations import Originals

from prouter.testing import Fleet, eventually

ASKING = """
from prouter import hookimpl
from prouter.errors import NotPossible
from prouter.model.http import Reply, RequestHead
from prouter.model.plugin import Route

class Asking:
    @hookimpl
    def prouter_startup(self, router):
        self.agents = router.agents

    @hookimpl
    def prouter_routes(self):
        return [Route(("GET",), "/asked/{agent}", "notes.read", "Ask.", self.ask)]

    async def ask(self, call):
        told = []
        for question in (
            self.agents.call(call.params["agent"], "notes_add"),
            self.agents.http(call.params["agent"], RequestHead("GET", "/notes", ())),
        ):
            try:
                await question
            except NotPossible as error:
                told.append(error.detail)
        return Reply.json(told)
"""


async def test_a_plugin_that_asks_an_original_is_told_that_it_has_none(
    fleet: Fleet, originals: Originals, tmp_path: Path
) -> None:
    (tmp_path / "asking.py").write_text(ASKING)
    router = fleet.router(f"plugins.load=[{str(tmp_path / 'asking.py')!r}]")
    host, port = router.address("server")
    agent = originals.agent(router=f"{host}:{port}", token=router.agent_token)
    async with router.client() as client:
        await eventually(client.agents)
        told = await client.request("GET", f"/asked/{agent.uid}")
    assert told == [f"agent {agent.uid!r} is an original one, which has no plugins"] * 2
