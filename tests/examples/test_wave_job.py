"""The wave tank: its physics against exact solutions, and the program as a real process, run without prouter."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import numpy as np
import pytest

WAVE = Path(__file__).parents[2] / "examples" / "jobs" / "wave"
HEADER = struct.Struct("<4sIIHHddf")
DEADLINE_SECONDS = 30.0
RESULTS = ["energy.csv", "field.npy", "final.png", "summary.json"]


# --- physics


@pytest.fixture(scope="module")
def physics() -> Iterator[ModuleType]:
    yield from _imported("membrane")


@pytest.fixture(scope="module")
def output(physics: ModuleType) -> Iterator[ModuleType]:
    yield from _imported("output")


def _imported(name: str) -> Iterator[ModuleType]:
    sys.path.insert(0, str(WAVE))
    try:
        yield __import__(name)
    finally:
        sys.path.remove(str(WAVE))
        sys.modules.pop(name, None)


def quiet(physics: ModuleType, **changes: object) -> Any:
    """Parameters without source, damping and walls."""
    return physics.Parameters().changed({"damping": 0, "amplitude": 0, "scene": "open", **changes})


def test_a_standing_wave_follows_the_exact_solution(physics: ModuleType) -> None:
    membrane = physics.Membrane(quiet(physics, boundary="fixed", speed=1.0), grid=100)
    axis = np.arange(1, 101) * membrane.spacing
    shape = np.outer(np.sin(2 * np.pi * axis), np.sin(3 * np.pi * axis))
    membrane.release(shape)
    worst = 0.0
    while membrane.time < 1.2:  # a bit more than two periods
        membrane.advance(5)
        exact = shape * np.cos(np.pi * np.sqrt(2**2 + 3**2) * membrane.time)
        worst = max(worst, float(np.abs(membrane.displacement - exact).max()))
    assert worst < 2e-3


def test_the_energy_of_a_standing_wave_is_the_exact_one(physics: ModuleType) -> None:
    membrane = physics.Membrane(quiet(physics, boundary="fixed", speed=1.0), grid=100)
    axis = np.arange(1, 101) * membrane.spacing
    membrane.release(np.outer(np.sin(2 * np.pi * axis), np.sin(3 * np.pi * axis)))
    assert membrane.energy() == pytest.approx(np.pi**2 * (2**2 + 3**2) / 8, rel=5e-3)


@pytest.mark.parametrize("boundary", ["fixed", "free"])
def test_reflecting_edges_and_walls_keep_the_energy(physics: ModuleType, boundary: str) -> None:
    membrane = physics.Membrane(quiet(physics, boundary=boundary, scene="slits"), grid=80)
    membrane.add(physics.Pulse(0.6, 0.4, radius=0.06))
    before = membrane.energy()
    for _ in range(20):
        membrane.advance(100)
        assert membrane.energy() == pytest.approx(before, rel=1e-10)


def test_an_absorbing_edge_swallows_a_pulse(physics: ModuleType) -> None:
    membrane = physics.Membrane(quiet(physics, boundary="absorbing"))
    membrane.add(physics.Pulse(0.5, 0.5))
    before = membrane.energy()
    while membrane.time < 3:
        membrane.advance(100)
    assert membrane.energy() < 1e-3 * before


def test_damping_takes_energy(physics: ModuleType) -> None:
    membrane = physics.Membrane(quiet(physics, boundary="free", damping=1.0), grid=80)
    membrane.add(physics.Pulse(0.6, 0.4, radius=0.06))
    energies = [membrane.energy()]
    for _ in range(10):
        membrane.advance(20)
        energies.append(membrane.energy())
    assert energies == sorted(energies, reverse=True)
    assert energies[-1] < 0.5 * energies[0]


def test_switching_the_speed_to_and_fro_pumps_no_energy_in(physics: ModuleType) -> None:
    membrane = physics.Membrane(quiet(physics, boundary="free"), grid=80)
    membrane.add(physics.Pulse(0.6, 0.4, radius=0.06))
    before = membrane.energy()
    for turn in range(20):
        membrane.change(membrane.parameters.changed({"speed": 1.0 if turn % 2 else 0.2}))
        membrane.advance(10)
    assert 0 < membrane.energy() <= before * (1 + 1e-9)


def test_changing_everything_while_it_runs_stays_stable(physics: ModuleType) -> None:
    membrane = physics.Membrane(physics.Parameters(), grid=60)
    for turn in range(60):
        ends = {name: limits.high if turn % 2 else limits.low for name, limits in physics.LIMITS.items()}
        ends |= {"boundary": list(physics.Boundary)[turn % 3], "scene": list(physics.Scene)[turn // 2 % 2]}
        membrane.change(membrane.parameters.changed(ends))
        membrane.advance(40)
    assert np.abs(membrane.displacement).max() < 10


def test_the_energy_history_is_thinned_out_and_keeps_its_beginning(output: ModuleType) -> None:
    history = output.EnergyHistory()
    for step in range(3 * output.ENERGY_ROWS_MAX):
        history.record(step, step / 10, 1.0)
    steps = [step for step, _, _ in history.rows]
    assert len(steps) < output.ENERGY_ROWS_MAX
    assert steps == list(range(0, 3 * output.ENERGY_ROWS_MAX, 4))


# --- the program


@dataclass
class Tank:
    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession
    folder: Path

    async def state(self) -> dict[str, Any]:
        async with self.session.get("api/state") as answer:
            assert answer.status == 200
            return dict(await answer.json())

    async def post(self, path: str, body: object = None) -> tuple[int, Any]:
        async with self.session.post(f"api/{path}", json=body) as answer:
            return answer.status, await answer.json()

    async def exit_code(self) -> int:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.process.wait()

    def summary(self) -> dict[str, Any]:
        assert sorted(path.name for path in self.folder.iterdir()) == RESULTS
        return dict(json.loads((self.folder / "summary.json").read_text()))


@asynccontextmanager
async def running(folder: Path, *options: str, fps: int = 100) -> AsyncIterator[Tank]:
    """The program on a free port, started with nothing but its files; gone at the end, whatever happens."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(WAVE / "wave.py"), "--port", "0", "--fps", str(fps)),
        *("--results", str(folder), *options),
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            first_line = (await process.stdout.readline()).decode()
        base = first_line.split()[-1]
        connector = aiohttp.TCPConnector(socket_factory=_small_receive_buffer)
        timeout = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
        async with aiohttp.ClientSession(base, connector=connector, timeout=timeout) as session:
            yield Tank(process, session, folder)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def _small_receive_buffer(address: Any) -> socket.socket:
    """So that a viewer who does not read is felt by the program after kilobytes, not megabytes."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    return made


async def eventually(ask: Callable[[], Awaitable[dict[str, Any]]], holds: Callable[[dict[str, Any]], bool]) -> Any:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds(seen := await ask()):
            await asyncio.sleep(0.01)
    return seen


async def next_message(viewer: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            message = await viewer.receive()
            assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
            if message.type is aiohttp.WSMsgType.TEXT and (told := json.loads(message.data))["type"] == kind:
                return dict(told)


async def next_frame(viewer: aiohttp.ClientWebSocketResponse) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (message := await viewer.receive()).type is not aiohttp.WSMsgType.BINARY:
            assert message.type is aiohttp.WSMsgType.TEXT
    names = ("magic", "frame", "step", "width", "height", "time", "energy", "scale")
    head = dict(zip(names, HEADER.unpack_from(message.data), strict=True))
    levels = np.frombuffer(message.data, np.int8, offset=HEADER.size).reshape(head["height"], head["width"]) / 127
    return head, head["scale"] * levels * np.abs(levels)


async def test_it_runs_by_itself_and_serves_its_page_and_picture(tmp_path: Path) -> None:
    async with running(tmp_path / "results") as tank:
        await eventually(tank.state, lambda state: state["step"] > 30 and state["energy"] > 0 and state["fps"] > 0)
        async with tank.session.get("") as page:
            assert page.content_type == "text/html"
            assert "<title>Wave tank</title>" in await page.text()
        async with tank.session.get("api/picture.png") as picture:
            assert struct.unpack_from(">8s4x4sII", await picture.read()) == (b"\x89PNG\r\n\x1a\n", b"IHDR", 600, 600)


def test_the_page_names_nothing_outside_its_own_folder() -> None:
    page = (WAVE / "page.html").read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|wss?://", page)
    assert not re.search(r"""(?:src|href|action)=["']?/|fetch\(["'`]/|URL\(["'`]/|url\(|@import""", page)


BAD_PARAMETERS: list[tuple[object, str]] = [
    ({"speed": 9}, "speed must be from 0.2 to 1"),
    ({"speed": "fast"}, "speed must be a number"),
    ({"damping": True}, "damping must be a number"),
    ({"frequency": float("nan")}, "frequency must be from"),
    ({"steps_per_frame": 2.5}, "steps_per_frame must be a whole number"),
    ({"boundary": "round"}, "boundary must be one of fixed, free, absorbing"),
    ({"scene": None}, "scene must be one of"),
    ({"colour": 1}, "there is no parameter 'colour'"),
    ({"speed": 0.3, "damping": -1}, "damping must be from 0 to 3"),
    ([1], "the body must be a JSON object"),
]
BAD_PULSES: list[tuple[object, str]] = [
    ({"x": 0.5}, "a pulse needs y"),
    ({"x": 0.5, "y": 1.5}, "y must be from 0 to 1"),
    ({"x": 0.5, "y": 0.5, "z": 0.5}, "a pulse has no z"),
]


async def test_bad_values_are_refused_with_the_reason_and_change_nothing(tmp_path: Path) -> None:
    async with running(tmp_path / "results") as tank:
        before = (await tank.state())["parameters"]
        for path, cases in (("parameters", BAD_PARAMETERS), ("pulse", BAD_PULSES)):
            for body, reason in cases:
                status, answer = await tank.post(path, body)
                assert (status, reason in answer["error"]) == (400, True), (body, answer)
        async with tank.session.patch("api/parameters", data="{not json") as answer:
            assert (answer.status, await answer.json()) == (400, {"error": "the body is not JSON"})
        assert (await tank.state())["parameters"] == before
        async with tank.session.patch("api/parameters", json={"speed": 0.3, "boundary": "free"}) as answer:
            assert await answer.json() == before | {"speed": 0.3, "boundary": "free"}


async def test_pause_pulse_reset_and_resume(tmp_path: Path) -> None:
    async with running(tmp_path / "results") as tank:
        await eventually(tank.state, lambda state: state["step"] > 0)
        await tank.post("parameters", {"amplitude": 0, "scene": "open"})
        await tank.post("pause")
        await tank.post("reset")
        still = await eventually(tank.state, lambda state: state["step"] == 0 and state["energy"] == 0)
        assert still["status"] == "paused"
        assert (await tank.post("pulse", {"x": 0.7, "y": 0.3}))[0] == 202
        hit = await eventually(tank.state, lambda state: state["energy"] > 0)
        assert hit["step"] == 0
        await tank.post("resume")
        assert (await eventually(tank.state, lambda state: state["step"] > 0))["status"] == "running"


async def test_a_viewer_sees_its_own_pulse_at_its_place(tmp_path: Path) -> None:
    async with running(tmp_path / "results") as tank, tank.session.ws_connect("ws/frames?stride=2") as viewer:
        hello = await next_message(viewer, "hello")
        assert hello["state"]["status"] == "running"
        assert hello["limits"]["speed"] == {"low": 0.2, "high": 1.0, "unit": "sides per time unit"}
        await viewer.send_json({"parameters": {"amplitude": 0, "scene": "open"}})
        assert (await next_message(viewer, "state"))["state"]["parameters"]["amplitude"] == 0
        for command in ("pause", "reset"):
            await viewer.send_json({"command": command})
        await viewer.send_json({"pulse": {"x": 0.75, "y": 0.25, "height": 2}})
        head, heights = await next_frame(viewer)
        while head["step"] > 0 or not head["energy"]:
            head, heights = await next_frame(viewer)
        assert (head["magic"], heights.shape) == (b"WAV1", (100, 100))
        row, column = np.unravel_index(heights.argmax(), heights.shape)
        assert (int(column), int(row)) == pytest.approx((75, 25), abs=1)
        assert heights.max() == pytest.approx(2, rel=0.05)


async def test_a_message_that_makes_no_sense_is_answered_and_the_frames_go_on(tmp_path: Path) -> None:
    async with running(tmp_path / "results") as tank, tank.session.ws_connect("ws/frames") as viewer:
        for message, reason in (
            ('{"pulse": {"x": 2, "y": 0}}', "x must be from"),
            ("[[", "Expecting"),
            ("7", "a message is"),
        ):
            await viewer.send_str(message)
            assert reason in (await next_message(viewer, "error"))["error"]
        before, _ = await next_frame(viewer)
        assert (await next_frame(viewer))[0]["frame"] > before["frame"]


async def test_a_slow_viewer_misses_frames_and_nobody_waits_for_it(tmp_path: Path) -> None:
    async with running(tmp_path / "results", fps=1000) as tank, tank.session.ws_connect("ws/frames") as viewer:
        await tank.post("parameters", {"steps_per_frame": 1})
        await eventually(tank.state, lambda state: state["frame"] > 400)  # 16 MB, more than the sockets hold
        last = (await next_frame(viewer))[0]["frame"]
        gap = 1
        while gap < 20:
            number = (await next_frame(viewer))[0]["frame"]
            last, gap = number, number - last
        assert (await tank.state())["frames_skipped"] >= gap - 1


async def test_finish_writes_the_results_tells_the_viewers_and_ends(tmp_path: Path) -> None:
    async with running(tmp_path / "results") as tank, tank.session.ws_connect("ws/frames") as viewer:
        await eventually(tank.state, lambda state: state["step"] > 60)
        status, answer = await tank.post("finish")
        assert (status, answer["results"], answer["status"]) == (200, RESULTS, "finished")
        assert (await next_message(viewer, "finished"))["results"] == RESULTS
        assert (await viewer.receive()).type is aiohttp.WSMsgType.CLOSE
        assert await tank.exit_code() == 0
        summary = tank.summary()
        assert (summary["ended_by"], summary["step"]) == ("finish", answer["step"])
        with (tank.folder / "energy.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert int(rows[-1]["step"]) == summary["step"]
        assert float(rows[-1]["energy"]) == pytest.approx(summary["energy"])
        field = np.load(tank.folder / "field.npy")
        assert (field.shape, field.dtype) == ((200, 200), np.float64)
        assert np.abs(field).max() > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_results(tmp_path: Path, number: signal.Signals) -> None:
    async with running(tmp_path / "results") as tank, tank.session.ws_connect("ws/frames") as viewer:
        await next_frame(viewer)
        tank.process.send_signal(number)
        assert (await next_message(viewer, "finished"))["state"]["status"] == "finished"
        assert await tank.exit_code() == 0
        assert tank.summary()["ended_by"] == "signal"


async def test_it_ends_by_itself_after_the_steps_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path / "results", "--steps", "100") as tank:
        assert await tank.exit_code() == 0
        summary = tank.summary()
        assert (summary["ended_by"], summary["step"]) == ("steps", 100)
