"""The main job from start to end, told step by step: what `make demo` runs.

Starts `prouter up` (a router and one agent on this machine), makes a job on the agent, uploads the wave tank, starts
it, steers it through the proxy over HTTP and Websocket, waits, downloads its results and checks them. With --keep it
leaves the simulation running and prints its address.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import hashlib
import io
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from prouter.client import Client, Job

WAVE = Path(__file__).parent / "jobs" / "wave"
FILES = ("wave.py", "membrane.py", "output.py", "page.html")
FRAME_HEAD = struct.Struct("<4sIIHHddf")
START_SECONDS = 20.0
RUN_SECONDS = 4.0


def tell(text: str) -> None:
    print(f"  {text}", flush=True)


@contextmanager
def prouter_up(place: Path) -> Iterator[dict[str, Any]]:
    """`prouter up` as a process of its own; what its ready file says."""
    ready = place / "ready.json"
    command = [sys.executable, "-m", "prouter", "up", "--state", str(place), "--ready-file", str(ready)]
    asked_to_end: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, _: asked_to_end.append(number))  # nobody had the process else
    with subprocess.Popen([*command, "--log-level", "warning"], start_new_session=True) as process:
        try:
            signal.signal(signal.SIGINT, usual)
            if asked_to_end:
                raise KeyboardInterrupt
            deadline = time.monotonic() + START_SECONDS
            while not ready.exists():
                if process.poll() is not None:
                    raise SystemExit(f"prouter up ended with status {process.returncode}")
                if time.monotonic() > deadline:
                    raise SystemExit("prouter up did not come up in time")
                time.sleep(0.02)
            yield json.loads(ready.read_text())
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


async def make_job(client: Client) -> Job:
    """Create, upload, start."""
    agents = await client.agents()
    tell(f"the router knows {len(agents)} agent: {agents[0]['name']}, {agents[0]['platform']['system']}")
    job = await client.create({"type": "uid", "uid": agents[0]["uid"]}, "wave tank")
    tell(f"a job is made there: {job.path}")
    for name in FILES:
        there = await job.upload(WAVE / name, name)
        here = hashlib.sha256((WAVE / name).read_bytes()).hexdigest()
        assert there["sha256"] == here, f"{name} arrived changed"
    tell(f"{len(FILES)} files are uploaded, their SHA-256 compared")
    begun = time.monotonic()
    await job.start([sys.executable, "wave.py"], port={"mode": "assign", "ready": "/api/state"})
    tell(f"it runs (pid {job.info['pid']}) and serves after {time.monotonic() - begun:.2f} s")
    return job


async def steer(client: Client, job: Job) -> None:
    """Change parameters over HTTP while frames arrive over a Websocket."""
    async with client.session.ws_connect(job.url("ws/frames")) as socket:
        hello = await socket.receive_json(timeout=10)
        assert hello["type"] == "hello", hello
        async with client.session.patch(job.url("api/parameters"), json={"frequency": 5, "speed": 0.8}) as answer:
            assert answer.status == 200, await answer.text()
        tell("HTTP through the proxy: frequency set to 5, speed to 0.8")
        async with client.session.patch(job.url("api/parameters"), json={"speed": 99}) as answer:
            assert answer.status == 400, answer.status
            tell(f"a wrong value is refused by the job itself: {(await answer.json())['error']}")
        await socket.send_json({"pulse": {"x": 0.7, "y": 0.3}})
        frames, last, deadline = 0, b"", time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            message = await socket.receive(timeout=10)
            if message.type is aiohttp.WSMsgType.BINARY:
                frames, last = frames + 1, message.data
        magic, _, step, width, height, sim_time, energy, _ = FRAME_HEAD.unpack_from(last)
        assert magic == b"WAV1", magic
        tell(f"Websocket through the proxy: {frames} frames of {width} x {height}, one pulse sent back")
        tell(f"the tank is at step {step}, time {sim_time:.2f}, energy {energy:.3g}")
        assert frames > 10, "too few frames"


async def finish(client: Client, job: Job) -> None:
    """Tell it to end, wait, fetch the results and check them."""
    waiting = asyncio.create_task(job.wait(timeout_seconds=20), name="wait for the job")
    async with client.session.post(job.url("api/finish"), json={}) as answer:
        assert answer.status == 200, await answer.text()
    await waiting
    assert (job.info["state"], job.info["reason"], job.info["exit_code"]) == ("FINISHED", "exited", 0), job.info
    tell("the job was told to finish, and the wait is over: exit code 0")
    summary = json.loads(await job.read("results/summary.json"))
    rows = list(csv.reader(io.StringIO((await job.read("results/energy.csv")).decode())))
    field = await job.read("results/field.npy")
    picture = await job.read("results/final.png")
    assert len(rows) > 10, "the energy's record is too short"
    assert field.startswith(b"\x93NUMPY"), "field.npy is no array"
    assert picture.startswith(b"\x89PNG"), "final.png is no picture"
    tell(f"results are here and right: {len(rows) - 1} rows of energy, {len(field)} bytes of field, a picture")
    tell(f"ended by {summary['ended_by']!r} after {summary.get('step', summary.get('steps'))} steps")
    await job.remove()
    tell("the job is removed, its sandbox with it")


async def run(url: str, keep: bool) -> None:
    async with Client(url) as client:
        info = await client.info()
        tell(f"router {info['auth']['name'] or info['auth']['uid']} answers at {url}")
        job = await make_job(client)
        if keep:
            print(f"\nThe simulation runs. Open {job.url()}\nCtrl-C ends it and prouter.\n", flush=True)
            await asyncio.Event().wait()
        await steer(client, job)
        await finish(client, job)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the simulation running and print its address")
    options = parser.parse_args()
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print("prouter: the main job", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="prouter-demo-") as place, prouter_up(Path(place)) as ready:
            asyncio.run(run(ready["control"]["url"], options.keep or bool(os.environ.get("KEEP"))))
    except KeyboardInterrupt:
        print("\nended", flush=True)
        return 0 if options.keep or os.environ.get("KEEP") else 130
    print(f"All of it worked, in {time.monotonic() - begun:.1f} s.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
