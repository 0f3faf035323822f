"""`make demo`: the main job told step by step, or left running for a person to see; Ctrl-C ends it all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from prouter.testing import eventually
from prouter.testing.processes import TAG, tagged_processes

ROOT = Path(__file__).parents[2]
MAKE = ["make", "-o", ".venv/bin/prouter", "demo"]
"""With the environment that there is: it is not made anew."""
STEPS = (
    "a job is made",
    "files are uploaded",
    "it runs",
    "HTTP through the proxy",
    "refused by the job itself",
    "Websocket through the proxy",
    "exit code 0",
    "results are here and right",
    "the job is removed",
    "All of it worked",
)

pytestmark = pytest.mark.skipif(
    not (shutil.which("make") and (ROOT / ".venv/bin/python").exists()), reason="needs make and the project's .venv"
)


def terminal_signals() -> None:
    """As a shell at a terminal starts a program; what runs the tests may ignore Ctrl-C, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Demo:
    """A run of the demo as in a terminal: a process group of its own."""

    def __init__(self, place: Path, **environ: str) -> None:
        self._tag = secrets.token_hex(8)
        self.place = place
        self._told = place.with_suffix(".told")
        place.mkdir()
        environment = {name: value for name, value in os.environ.items() if name != "KEEP"}
        with self._told.open("wb") as told:
            self.process = subprocess.Popen(
                MAKE,
                cwd=ROOT,
                env=environment | environ | {TAG: self._tag, "TMPDIR": str(place)},
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=terminal_signals,
            )

    @property
    def told(self) -> str:
        return self._told.read_text()

    async def until(self, words: str) -> re.Match[str]:
        found = await eventually(lambda: re.search(words, self.told), seconds=60, what=f"{words!r} in {self._told}")
        assert isinstance(found, re.Match)
        return found

    async def gone(self, seconds: float) -> None:
        await eventually(lambda: self.process.poll() is not None, seconds=seconds, what="the end of the demo")
        assert tagged_processes(self._tag) == {}

    def ctrl_c(self) -> None:
        """As a terminal does: to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        for pid in tagged_processes(self._tag):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path / "demo")
    yield running
    running.close()


@pytest.fixture
def kept_demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path / "kept", KEEP="1")
    yield running
    running.close()


async def test_it_does_the_main_job_and_tells_each_step(demo: Demo) -> None:
    await demo.gone(60)
    assert demo.process.returncode == 0, demo.told
    at = [demo.told.find(step) for step in STEPS]
    assert -1 not in at, demo.told
    assert at == sorted(at)
    lines = [line for line in demo.told.splitlines() if "held the event loop" not in line]  # a busy machine's
    assert not re.search("WARNING|ERROR|Traceback", "\n".join(lines)), demo.told
    assert os.listdir(demo.place) == [], "it leaves no files"


@pytest.mark.parametrize("moment", ["prouter: the main job", "prouter is up", "a job is made", "it runs"])
async def test_ctrl_c_ends_it_at_any_moment_and_leaves_nothing(demo: Demo, moment: str) -> None:
    await demo.until(moment)
    demo.ctrl_c()
    await demo.gone(20)
    assert demo.process.returncode != 0
    assert "Traceback" not in demo.told, demo.told
    assert os.listdir(demo.place) == []


async def test_two_at_once_do_not_want_the_same_port(demo: Demo, kept_demo: Demo) -> None:
    url = (await kept_demo.until(r"is up: (http://\S+)"))[1]
    assert (await demo.until(r"is up: (http://\S+)"))[1] != url


async def test_kept_it_shows_a_page_that_moves_and_can_be_changed_until_ctrl_c(kept_demo: Demo) -> None:
    url = (await kept_demo.until(r"Open (http://\S+)"))[1]
    async with aiohttp.ClientSession() as client:
        async with client.get(url) as page:
            assert page.content_type == "text/html"
            assert "<canvas" in await page.text()
        async with client.ws_connect(f"{url}ws/frames") as frames:
            assert (await frames.receive_json(timeout=10))["type"] == "hello"
            first, later = [await frames.receive_bytes(timeout=10) for _ in range(2)]
            assert step(later) > step(first)
        async with client.patch(f"{url}api/parameters", json={"frequency": 5}) as answer:
            assert answer.status == 200
        async with client.get(f"{url}api/state") as answer:
            assert (await answer.json())["parameters"]["frequency"] == 5
    kept_demo.ctrl_c()
    await kept_demo.gone(20)
    assert kept_demo.told.endswith("ended\n")
    assert "Traceback" not in kept_demo.told
    assert os.listdir(kept_demo.place) == []


def step(frame: bytes) -> int:
    magic, _, number = struct.unpack_from("<4sII", frame)
    assert magic == b"WAV1"
    return int(number)
