"""R12: while connections that came in time are still being taken, the time for what was begun is not used up."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

from prouter.testing import Fleet, RouterDaemon, eventually

DRAIN_SECONDS = 6.0
PLUGIN = """
import asyncio
from pathlib import Path
from prouter import hookimpl
from prouter.model.http import Reply
from prouter.model.plugin import Route
from prouter.web import acceptor

acceptor.at_most_waiting = lambda listener: 1_000_000
acceptor.has_waiting = lambda listener: True  # as where new ones come all the time, and no system tells how many

HERE = Path(__file__).parent

class Holds:
    @hookimpl
    def prouter_routes(self):
        return [Route(("GET",), "/held", "held.read", "Until it is let go.", self.answer)]

    async def answer(self, call):
        HERE.joinpath("begun").touch()
        while not HERE.joinpath("go").exists():
            await asyncio.sleep(0.01)
        return Reply(200)

    @hookimpl
    async def prouter_startup(self, router):
        pass

    @hookimpl
    async def prouter_shutdown(self):
        HERE.joinpath("shut_down").touch()
"""


def get(router: RouterDaemon, path: str) -> bytes:
    """What is answered on a connection of its own; nothing where it is cut."""
    with socket.create_connection(router.address("control"), 20) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := client.recv(65536):
            answer += data
        return answer


async def test_what_was_begun_has_its_time_however_long_others_are_taken(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "holds.py").write_text(PLUGIN)
    router = fleet.router(f"shutdown.drain_timeout={DRAIN_SECONDS}", plugins=[tmp_path / "holds.py"])
    held = asyncio.create_task(asyncio.to_thread(get, router, "/held"))
    await eventually(lambda: (tmp_path / "begun").exists())
    router.signal(signal.SIGTERM)

    async def refuses() -> bool:
        return (await asyncio.to_thread(get, router, "/jobs")).startswith(b"HTTP/1.1 503")

    await eventually(refuses, seconds=DRAIN_SECONDS)
    (tmp_path / "go").touch()
    assert (await held).startswith(b"HTTP/1.1 200")
    assert await asyncio.to_thread(router.ended, 20) == 0
    assert "the process ends" not in router.log
    assert (tmp_path / "shut_down").exists()
