"""prouter_proxy_finished where the agent is an original: requests and websockets go another way, and are told alike."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from scenarios import job_server
from test_original_agent import place

from prouter.testing import Fleet, eventually

PLUGIN = """
import json, pathlib
from prouter import hookimpl

class Ends:
    @hookimpl
    def prouter_proxy_finished(self, finished):
        told = [finished.target.request_id, finished.method, finished.status, finished.request_bytes,
                finished.response_bytes, finished.wait_seconds is not None, finished.cut]
        with pathlib.Path(__file__).with_suffix(".heard").open("a") as file:
            file.write(json.dumps(told) + "\\n")
"""
GONE = "the client closed the connection"


async def test_requests_streams_and_websockets_of_an_original(fleet: Fleet, originals, tmp_path: Path) -> None:
    plugin = tmp_path / "ends.py"
    plugin.write_text(PLUGIN)

    def told() -> dict[str, list[object]]:
        heard = plugin.with_suffix(".heard")
        lines = heard.read_text().splitlines() if heard.exists() else []
        return {name: rest for name, *rest in map(json.loads, lines)}

    async def one(name: str) -> list[object]:
        await eventually(lambda: name in told(), what=name)
        return told()[name]

    async with place(fleet, originals, settings=(f"plugins.load=[{str(plugin)!r}]",)) as here:
        path = await here.serving()
        await here.ask("GET", f"{path}/http/x", headers={"X-Request-Id": "get"})
        whole_in_chunks = len(b"2\r\nok\r\n0\r\n\r\n")
        assert await one("get") == ["GET", 200, 0, whole_in_chunks, True, ""]
        await here.ask("POST", f"{path}/http/x", data=io.BytesIO(b"p" * 500), headers={"X-Request-Id": "post"})
        method, status, came, *_ = await one("post")
        assert (method, status) == ("POST", 200)
        assert isinstance(came, int)
        assert came >= 500
        async with here.session.get(here.url(f"{path}/http/events"), headers={"X-Request-Id": "events"}) as answer:
            assert await answer.content.readexactly(11) == b"data: one\n\n"
            answer.close()
        assert (await one("events"))[:2] == ["GET", 200]
        assert (await one("events"))[-1] == GONE

        talking = await here.job()
        await here.ask("POST", f"{talking}/file/server.py", data=io.BytesIO(job_server()))
        await here.ask("POST", f"{talking}/start", json={"args": [sys.executable, "server.py"]})
        url, named = here.url(f"{talking}/http/ws_echo"), {"X-Request-Id": "websocket"}
        async with here.session.ws_connect(url, headers=named) as websocket:
            await websocket.send_str("x" * 100)
            assert await websocket.receive_str(timeout=20) == "x" * 100
        method, status, came, went, answered, cut = await one("websocket")
        assert (method, status, answered, cut) == ("GET", 101, True, "")
        head, masked, close = 2, 4, 2
        assert came == (head + masked + 100) + (head + masked + close)
        assert went == (head + 100) + (head + close)
