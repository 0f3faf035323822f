"""What the basics cost on this machine: a proxied GET over 32 connections, a job's start, a download of 1 GiB.

    python benchmarks/basics.py [--seconds 5] [--gib 1]

Starts a router, an agent and a job of its own. CPU is that of both daemons, from /proc. Compare
figures of one run only; each has the direct way to the job beside it where there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from prouter.client import Client, Job

CHUNK_BYTES = 2**20
TICKS = os.sysconf("SC_CLK_TCK")
JOB = """
import asyncio, os
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nContent-Length: 100\\r\\n\\r\\n" + b"x" * 100
class Hundred(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest = transport, b""
    def data_received(self, data):
        self.rest += data
        count = self.rest.count(b"\\r\\n\\r\\n")
        if count:
            self.rest = self.rest[self.rest.rindex(b"\\r\\n\\r\\n") + 4:]
            self.transport.write(ANSWER * count)
async def main():
    server = await asyncio.get_running_loop().create_server(Hundred, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()
asyncio.run(main())
"""


class Daemon:
    """A prouter process."""

    def __init__(self, arguments: Sequence[str], place: Path, environ: dict[str, str]) -> None:
        self.ready = place / "ready.json"
        self.log = (place / "log").open("wb")
        command = [
            sys.executable,
            "-m",
            "prouter",
            *arguments,
            "--ready-file",
            str(self.ready),
            "--log-level",
            "warning",
        ]
        self.process = subprocess.Popen(command, env=os.environ | environ, stderr=self.log)

    async def where(self) -> dict[str, dict[str, str]]:
        while not self.ready.exists():
            if self.process.poll() is not None:
                raise SystemExit(f"a daemon ended with status {self.process.returncode}; see {self.log.name}")
            await asyncio.sleep(0.02)
        found: dict[str, dict[str, str]] = json.loads(self.ready.read_text())
        return found

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mib(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[tuple[Client, Daemon, Daemon]]:
    with tempfile.TemporaryDirectory(prefix="prouter-bench-") as base:
        place = Path(base)
        for name in ("router", "agent"):
            (place / name).mkdir()
        token = os.urandom(16).hex()
        router = Daemon(
            ["--set", f"state.directory={place / 'router' / 'state'}"],
            place / "router",
            {"PROUTER_SERVER__ACCEPT_TOKENS": json.dumps([token])},
        )
        agent = None
        try:
            where = await router.where()
            address = f"{where['server']['host']}:{where['server']['port']}"
            settings = ["client.enabled=True", f"client.address={address}", f"jobs.root={place / 'agent' / 'jobs'}"]
            flags = [word for setting in settings for word in ("--set", setting)]
            agent = Daemon(["agent", *flags], place / "agent", {"PAGENT_CLIENT__TOKEN": token})
            await agent.where()
            async with Client(where["control"]["url"]) as client:
                while not await client.agents():
                    await asyncio.sleep(0.02)
                yield client, router, agent
        finally:
            if agent is not None:
                agent.stop()
            router.stop()


async def one_connection(host: str, port: int, request: bytes, until: float, latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    while time.perf_counter() < until:
        begun = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(100)
        latencies.append(time.perf_counter() - begun)
    writer.close()
    await writer.wait_closed()


async def gets(url: str, seconds: float, connections: int, cpu: Callable[[], float]) -> str:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    latencies: list[float] = []
    before, begun = cpu(), time.perf_counter()
    until = begun + seconds
    tasks = [one_connection(parts.hostname, parts.port, request, until, latencies) for _ in range(connections)]
    await asyncio.gather(*tasks)
    took, used = time.perf_counter() - begun, cpu() - before
    ordered = sorted(latencies)
    return (
        f"{len(ordered) / took:8.0f} GET/s   p50 {statistics.median(ordered) * 1e3:6.2f} ms   "
        f"p99 {ordered[int(len(ordered) * 0.99)] * 1e3:6.2f} ms   proxy CPU {used / len(ordered) * 1e6:6.1f} us a GET"
    )


async def starts(client: Client, agent: str, count: int) -> list[str]:
    """A program that serves, from nothing to its first proxied byte; and the start alone of one that does not serve."""
    served, alone = [], []
    for _ in range(count):
        begun = time.perf_counter()
        job = await client.create({"type": "uid", "uid": agent}, "start")
        await job.start([sys.executable, "-c", JOB], port={"mode": "assign"})
        async with client.session.get(job.url()) as answer:
            await answer.content.readexactly(1)
        served.append(time.perf_counter() - begun)
        await job.remove()
        job = await client.create({"type": "uid", "uid": agent}, "start")
        begun = time.perf_counter()
        await job.start(["true"], port_expected_count=0)
        alone.append(time.perf_counter() - begun)
        await job.wait(10)
        await job.remove()
    return [
        f"{statistics.median(served) * 1e3:8.1f} ms   create a job to its first proxied byte (Python), of {count}",
        f"{statistics.median(alone) * 1e3:8.1f} ms   start a job that serves nothing, of {count}",
    ]


def copied(size: int) -> float:
    """Seconds for as many bytes over one loopback connection between two threads, as sendfile(2) can."""
    with tempfile.TemporaryFile() as file, socket.create_server(("127.0.0.1", 0)) as server:
        file.truncate(size)

        def send() -> None:
            taken, _ = server.accept()
            with taken:
                taken.sendfile(file)

        begun = time.perf_counter()
        thread = threading.Thread(target=send)
        thread.start()
        buffer, got = bytearray(CHUNK_BYTES), 0
        with socket.create_connection(server.getsockname()) as taker:
            while count := taker.recv_into(buffer):
                got += count
        thread.join()
        assert got == size, got
        return time.perf_counter() - begun


async def files(client: Client, job: Job, gib: float, router: Daemon, agent: Daemon) -> list[str]:
    size = int(gib * 2**30)
    rows = []
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(size)
        for what in ("up", "down"):
            before, begun = router.cpu_seconds() + agent.cpu_seconds(), time.perf_counter()
            if what == "up":
                await job.upload(Path(file.name), "big.bin")
            else:
                got = 0
                async for chunk in job.download("big.bin"):
                    got += len(chunk)
                assert got == size, got
            took, cpu = time.perf_counter() - begun, router.cpu_seconds() + agent.cpu_seconds() - before
            rows.append(f"{took:8.2f} s    a file of {gib:g} GiB {what:4}   CPU of both processes {cpu:5.2f} s")
    return rows


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--gib", type=float, default=1.0)
    options = parser.parse_args()
    async with running() as (client, router, agent):
        uid = (await client.agents())[0]["uid"]
        for row in await starts(client, uid, 20):
            print(row, flush=True)
        job = await client.create({"type": "uid", "uid": uid}, "hundred bytes")
        await job.start([sys.executable, "-c", JOB], port={"mode": "assign"})
        direct = f"http://127.0.0.1:{job.info['ports']['http']}/"
        for name, url in (("direct", direct), ("prouter", job.url()), ("direct", direct), ("prouter", job.url())):
            row = await gets(url, options.seconds, 32, lambda: router.cpu_seconds() + agent.cpu_seconds())
            print(f"{name:8} {row}", flush=True)
        for row in await files(client, job, options.gib, router, agent):
            print(row, flush=True)
        print(
            f"{await asyncio.to_thread(copied, int(options.gib * 2**30)):8.2f} s    as many bytes over loopback, direct"
        )
        print(f"{router.memory_mib():8.0f} MiB  most memory of the router; {agent.memory_mib():.0f} MiB of the agent")
        await job.remove()


if __name__ == "__main__":
    asyncio.run(main())
