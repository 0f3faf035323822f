"""A wave tank: a simulation that runs by itself, is steered over HTTP and shows itself live in a browser.

Here live the run (when to step, pause and end), the HTTP and Websocket API, and the command line. The physics is in
`membrane.py`, what is shown and left behind in `output.py`, the page in `page.html`.

All state is changed on the event loop between two frames; only the steps of one frame run in a thread, and nobody
else touches the membrane meanwhile. So there are no locks, and a request never waits longer than for one frame.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import math
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiohttp import WSMsgType, web
from membrane import LIMITS, WALLS, BadValue, Membrane, Parameters, Pulse
from output import EnergyHistory, Frame, picture, write_results

Json = dict[str, object]

PULSES_WAITING_MAX = 64
VIEWERS_MAX = 32
MESSAGE_BYTES_MAX = 16 * 1024
SEND_SECONDS = 20.0  # a viewer that takes no byte for so long is let go
CLOSE_SECONDS = 1.0  # for viewers and requests to hear of the end; the results are written before
BUSY_SHARE_MAX = 0.5  # of one core; steps that take longer slow the frames down instead
STRIDES = ("1", "2", "4")  # every so manieth cell is sent
ENERGY_POINTS_IN_HELLO = 600
SCALE_DECAY = 0.985  # per frame: colours follow the highest crest up at once and down slowly, without flicker


class Run:
    """One simulation from its start to its results."""

    def __init__(self, results: Path, frames_per_second: float, steps: int | None) -> None:
        self.parameters = Parameters()
        self.paused = False
        self.ended_by: str | None = None
        self.frames_skipped = 0  # by viewers that were slower than the simulation
        self.revision = 0  # counts changes of what `state` says besides the progress
        self.files: list[str] = []
        self.written = asyncio.Event()
        self.history = EnergyHistory()
        self._results = results
        self._frame_seconds = 1 / frames_per_second
        self._steps = steps
        self._began = time.monotonic()
        self._membrane = Membrane(self.parameters)
        self._pulses: deque[Pulse] = deque()
        self._wants_reset = False
        self._ending = asyncio.Event()
        self._news = asyncio.Event()
        self._fps = 0.0
        self._peak_energy = 0.0
        self.frame = self._look(0, 0.0)

    @property
    def state(self) -> Json:
        return {
            "status": "finished" if self.ended_by else "paused" if self.paused else "running",
            "step": self.frame.step,
            "time": round(self.frame.time, 6),
            "energy": self.frame.energy,
            "fps": round(self._fps, 1),
            "frame": self.frame.number,
            "frames_skipped": self.frames_skipped,
            "grid": self._membrane.grid,
            "ends_at_step": self._steps,
            "parameters": dataclasses.asdict(self.parameters),
        }

    @property
    def news(self) -> asyncio.Event:
        """Set at the next frame or change; take it before looking at either."""
        return self._news

    def change(self, changes: Mapping[str, object]) -> None:
        """Raises BadValue and then changes nothing."""
        self.parameters = self.parameters.changed(changes)
        self._changed()

    def add(self, pulse: Pulse) -> None:
        if len(self._pulses) >= PULSES_WAITING_MAX:
            raise BadValue(f"{PULSES_WAITING_MAX} pulses are waiting for the next frame already")
        self._pulses.append(pulse)

    def pause(self, paused: bool) -> None:
        self.paused = paused
        self._changed()

    def reset(self) -> None:
        """Flat and at time zero; the parameters stay, and so do pulses added afterwards."""
        self._wants_reset = True
        self._pulses.clear()
        self._changed()

    def end(self, why: str) -> None:
        """Write the results and end; the first reason counts."""
        if self.ended_by is None:
            self.ended_by = why
            self._ending.set()

    async def simulate(self) -> None:
        """Step until somebody calls `end` or the steps are done, then write the results."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "membrane") as thread:
            due = loop.time()
            while not self._ending.is_set():
                began = loop.time()
                if self._wants_reset or self._pulses or not self.paused:
                    await self._make_frame(thread)
                busy = loop.time() - began
                due = max(due + self._frame_seconds, began + busy / BUSY_SHARE_MAX)
                await self._sleep_until(due)
                if not self._ending.is_set():
                    self._measure(loop.time() - began)
            self.files = await loop.run_in_executor(thread, self._write)
        self.written.set()
        self._changed()

    async def _make_frame(self, thread: ThreadPoolExecutor) -> None:
        if self._wants_reset:
            self._wants_reset = False
            self._membrane, self.history, self._peak_energy = Membrane(self.parameters), EnergyHistory(), 0.0
        pulses = list(self._pulses)
        self._pulses.clear()
        steps = 0 if self.paused else self.parameters.steps_per_frame
        if self._steps is not None:
            steps = min(steps, self._steps - self._membrane.step)
        loop = asyncio.get_running_loop()
        frame = await loop.run_in_executor(thread, self._advance, self.parameters, pulses, steps)
        if not math.isfinite(frame.energy):
            raise FloatingPointError(f"the simulation blew up at step {frame.step}")
        self._peak_energy = max(self._peak_energy, frame.energy)
        self.history.record(frame.step, frame.time, frame.energy)
        self.frame = frame
        self._announce()
        if self._steps is not None and frame.step >= self._steps:
            self.end("steps")

    def _advance(self, parameters: Parameters, pulses: list[Pulse], steps: int) -> Frame:
        """In the thread."""
        membrane = self._membrane
        if membrane.parameters != parameters:
            membrane.change(parameters)
        for pulse in pulses:
            membrane.add(pulse)
        membrane.advance(steps)
        return self._look(self.frame.number + 1, self.frame.scale)

    def _look(self, number: int, last_scale: float) -> Frame:
        membrane = self._membrane
        heights = membrane.displacement.copy()
        scale = max(float(abs(heights).max()), last_scale * SCALE_DECAY, 1e-6)
        return Frame(number, membrane.step, membrane.time, membrane.energy(), scale, heights)

    def _write(self) -> list[str]:
        """In the thread."""
        summary = self.state | {
            "ended_by": self.ended_by,
            "energy_peak": self._peak_energy,
            "wall_seconds": round(time.monotonic() - self._began, 3),
        }
        return write_results(self._results, summary, self.history, self.frame.heights)

    async def _sleep_until(self, due: float) -> None:
        try:
            async with asyncio.timeout_at(due):
                await self._ending.wait()
        except TimeoutError:
            pass

    def _measure(self, seconds: float) -> None:
        now = 0.0 if self.paused else 1 / max(seconds, 1e-6)
        self._fps = now if not self._fps or not now else 0.95 * self._fps + 0.05 * now

    def _changed(self) -> None:
        self.revision += 1
        self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


RUN = web.AppKey("run", Run)
VIEWERS = web.AppKey("viewers", set[web.WebSocketResponse])


def act(run: Run, message: object) -> None:
    """Do what a Websocket message asks. Raises BadValue."""
    match message:
        case {"parameters": dict(changes)}:
            run.change(changes)
        case {"pulse": dict(values)}:
            run.add(Pulse.parse(values))
        case {"command": "pause" | "resume" as command}:
            run.pause(command == "pause")
        case {"command": "reset"}:
            run.reset()
        case {"command": "finish"}:
            run.end("finish")
        case _:
            raise BadValue(
                'a message is {"parameters": {…}}, {"pulse": {…}} or {"command": "pause|resume|reset|finish"}'
            )


async def body_of(request: web.Request) -> Mapping[str, object]:
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        raise BadValue("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadValue("the body must be a JSON object")
    return body


async def get_page(request: web.Request) -> web.StreamResponse:
    return web.FileResponse(Path(__file__).with_name("page.html"), headers={"Cache-Control": "no-cache"})


async def get_state(request: web.Request) -> web.Response:
    return web.json_response(request.app[RUN].state)


async def get_picture(request: web.Request) -> web.Response:
    heights = request.app[RUN].frame.heights
    content = await asyncio.to_thread(picture, heights, 3)
    return web.Response(body=content, content_type="image/png", headers={"Cache-Control": "no-store"})


async def change_parameters(request: web.Request) -> web.Response:
    run = request.app[RUN]
    run.change(await body_of(request))
    return web.json_response(dataclasses.asdict(run.parameters))


async def add_pulse(request: web.Request) -> web.Response:
    pulse = Pulse.parse(await body_of(request))
    request.app[RUN].add(pulse)
    return web.json_response(dataclasses.asdict(pulse), status=202)


async def command(request: web.Request) -> web.Response:
    """Pause, resume, reset; or finish, which answers when the results are written."""
    run = request.app[RUN]
    act(run, {"command": request.match_info["command"]})
    if run.ended_by is None:
        return web.json_response(run.state)
    await run.written.wait()
    return web.json_response(run.state | {"results": run.files})


async def show_frames(request: web.Request) -> web.StreamResponse:
    """Frames to one viewer, and its messages back."""
    run, viewers = request.app[RUN], request.app[VIEWERS]
    stride = request.query.get("stride", "1")
    if stride not in STRIDES:
        raise BadValue(f"stride must be one of {', '.join(STRIDES)}, not {stride!r}")
    if len(viewers) >= VIEWERS_MAX:
        raise web.HTTPServiceUnavailable(text=f"{VIEWERS_MAX} viewers are watching already")
    socket = web.WebSocketResponse(
        heartbeat=SEND_SECONDS, timeout=CLOSE_SECONDS, compress=False, max_msg_size=MESSAGE_BYTES_MAX
    )
    await socket.prepare(request)
    viewers.add(socket)
    try:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(send_frames(socket, run, int(stride)), name="frames to a viewer")
            await obey(socket, run)
            sending.cancel()
    finally:
        viewers.discard(socket)
    return socket


async def send_frames(socket: web.WebSocketResponse, run: Run, stride: int) -> None:
    """Always the newest frame: those which came while the last one was on its way are skipped, never kept."""
    hello: Json = {
        "type": "hello",
        "limits": {name: dataclasses.asdict(limits) for name, limits in LIMITS.items()},
        "walls": WALLS,
        "energy": run.history.latest(ENERGY_POINTS_IN_HELLO),
    }
    shown, revision = run.frame.number - 1, run.revision
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await socket.send_json(hello | {"state": run.state})
        while not run.written.is_set():
            news, frame = run.news, run.frame
            async with asyncio.timeout(SEND_SECONDS):
                if revision != run.revision:
                    revision = run.revision
                    await socket.send_json({"type": "state", "state": run.state})
                if frame.number != shown:
                    run.frames_skipped += frame.number - shown - 1
                    shown = frame.number
                    await socket.send_bytes(frame.encoded(stride))
            await news.wait()
        async with asyncio.timeout(SEND_SECONDS):
            await socket.send_json({"type": "finished", "state": run.state, "results": run.files})
        await socket.close()
    except (TimeoutError, ConnectionError):
        await socket.close()


async def obey(socket: web.WebSocketResponse, run: Run) -> None:
    """Until the viewer goes; a message that cannot be followed is answered with the reason."""
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            continue
        try:
            act(run, json.loads(message.data))
        except (ValueError, RecursionError) as wrong:
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await socket.send_json({"type": "error", "error": str(wrong)})
            except (TimeoutError, ConnectionError):
                return


@web.middleware
async def explain(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn a bad value into an answer that says what was wrong."""
    try:
        return await handler(request)
    except BadValue as wrong:
        return web.json_response({"error": str(wrong)}, status=400)


def application(run: Run) -> web.Application:
    app = web.Application(middlewares=[explain], client_max_size=MESSAGE_BYTES_MAX)
    app[RUN] = run
    app[VIEWERS] = set()
    app.add_routes(
        [
            web.get("/", get_page),
            web.get("/api/state", get_state),
            web.get("/api/picture.png", get_picture),
            web.patch("/api/parameters", change_parameters),
            web.post("/api/parameters", change_parameters),
            web.post("/api/pulse", add_pulse),
            web.post("/api/{command:pause|resume|reset|finish}", command),
            web.get("/ws/frames", show_frames),
        ]
    )
    return app


async def serve(arguments: argparse.Namespace) -> None:
    run = Run(arguments.results, arguments.fps, arguments.steps)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(run.end, "signal"))
    runner = web.AppRunner(application(run), access_log=None, shutdown_timeout=CLOSE_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", arguments.port).start()
        host, port = runner.addresses[0][:2]
        print(f"wave tank at http://{host}:{port}/", flush=True)
        await run.simulate()
    finally:
        await runner.cleanup()
    print(f"{run.ended_by}: wrote {', '.join(run.files)} into {arguments.results}", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A wave tank with an API and a page of its own.")
    parser.add_argument(
        "--port", type=int, default=int(os.environ.get("PORT", "8080")), help="default: $PORT or 8080; 0: any free one"
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder to write at the end (default: results)"
    )
    parser.add_argument("--steps", type=int, help="end after so many steps (default: when told to)")
    parser.add_argument("--fps", type=float, default=30.0, help="frames a second at most (default: 30)")
    arguments = parser.parse_args()
    if arguments.steps is not None and arguments.steps < 1:
        parser.error("--steps must be at least 1")
    if not 1 <= arguments.fps <= 1000:
        parser.error("--fps must be from 1 to 1000")
    return arguments


if __name__ == "__main__":
    asyncio.run(serve(parse_arguments()))
