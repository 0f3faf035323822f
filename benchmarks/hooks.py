"""What plugins cost here: a proxied GET beside none, beside 30 of other hooks, through one hook; a start with 50.

    python -m benchmarks.hooks [--rounds 100] [--seconds 0.15] [--starts 9]

Each variant is a router with an agent and a job of its own; short rounds take turns, so that a machine that slows down
slows all of them. CPU is that of the router's event loop alone, from /proc, in ns. Compare within one run only: ratios,
not figures. "quiet" are the quarter of the rounds in which least else went on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.daemons import Daemon, flags, running
from benchmarks.proxies.systems import UPSTREAM

CONNECTIONS = 16
OTHER_HOOKS = """
from prouter import hookimpl
from prouter.model.http import Reply
from prouter.model.plugin import ConfigSection, HealthCheck, Route

class Other:
    @hookimpl
    def prouter_config_sections(self):
        return [ConfigSection("bench_{number}", {{"on": {{"type": "boolean", "default": True}}}})]

    @hookimpl
    def prouter_startup(self, router):
        self.router = router

    @hookimpl
    def prouter_routes(self):
        async def answer(call):
            return Reply.json({{}})
        return [Route(("GET",), "/bench/{number}", "bench.read", "Of the benchmark.", answer)]

    @hookimpl
    async def prouter_admit_job(self, request, principal):
        return None

    @hookimpl
    def prouter_job_spec(self, request):
        return None

    @hookimpl
    def prouter_filter_agent(self, candidate):
        return None

    @hookimpl
    def prouter_job_state_changed(self, agent, record):
        pass

    @hookimpl
    def prouter_health(self):
        return HealthCheck("bench_{number}", True)
"""
REQUEST_HOOK = """
from prouter import hookimpl

class One:
    @hookimpl
    {asynchronous}def prouter_proxy_request(self, head, target):
        return None
"""
VETO = """
from prouter import hookimpl

class One:
    @hookimpl
    {asynchronous}def prouter_authorize(self, principal, action, resource):
        return None
"""
VARIANTS: Mapping[str, Sequence[str]] = {
    "no third-party plugin": (),
    "30 plugins of other hooks": [OTHER_HOOKS.format(number=number) for number in range(30)],
    "one request hook, def": [REQUEST_HOOK.format(asynchronous="")],
    "one request hook, async def": [REQUEST_HOOK.format(asynchronous="async ")],
    "one authorize hook, def": [VETO.format(asynchronous="")],
    "one authorize hook, async def": [VETO.format(asynchronous="async ")],
}


def written(place: Path, texts: Sequence[str]) -> list[str]:
    """Files for plugins.load."""
    paths = [place / f"bench_{number}.py" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return [str(path) for path in paths]


@contextlib.asynccontextmanager
async def job_behind(base: Path, texts: Sequence[str]) -> AsyncIterator[tuple[Daemon, str]]:
    """A router with these plugins, and the URL of a job behind it that answers 100 bytes."""
    base.mkdir()
    async with running(base, {"plugins.load": written(base, texts)}) as pair:
        job = await pair.client.create({"type": "uid", "uid": pair.uid}, "hundred bytes")
        await job.start([sys.executable, str(UPSTREAM)], port={"mode": "assign"})
        yield pair.router, job.url()
        await job.remove()


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


def loop_seconds(router: Daemon) -> float:
    """CPU of its main thread."""
    pid = router.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


async def one_round(router: Daemon, url: str, seconds: float) -> tuple[float, float]:
    """GET/s, and microseconds of the router's CPU for one."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    latencies: list[float] = []
    before, begun = loop_seconds(router), time.perf_counter()
    until = begun + seconds
    await asyncio.gather(
        *(one_connection(parts.hostname, parts.port, request, until, latencies) for _ in range(CONNECTIONS))
    )
    took, used = time.perf_counter() - begun, loop_seconds(router) - before
    return len(latencies) / took, used / len(latencies) * 1e6


async def proxied(base: Path, rounds: int, seconds: float) -> None:
    async with contextlib.AsyncExitStack() as stack:
        there = {}
        for number, (name, texts) in enumerate(VARIANTS.items()):
            there[name] = await stack.enter_async_context(job_behind(base / f"variant-{number}", texts))
        for router, url in there.values():
            await one_round(router, url, seconds / 2)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
        order = list(VARIANTS)
        for number in range(rounds):
            for name in order if number % 2 == 0 else reversed(order):
                found[name].append(await one_round(*there[name], seconds))
    first = _cpu(found[order[0]])
    for name in order:
        rate, cpu = statistics.median(row[0] for row in found[name]), _cpu(found[name])
        ratios = " ".join(f"x {mine / base:5.3f}" for mine, base in zip(cpu, first, strict=True))
        print(
            f"{name:30} {rate:6.0f} GET/s  router CPU {cpu[0]:6.1f} us a GET, quiet {cpu[1]:6.1f}  {ratios}", flush=True
        )


def _cpu(rounds: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The median, and that of the quiet rounds."""
    ordered = sorted(row[1] for row in rounds)
    return statistics.median(ordered), statistics.median(ordered[: max(1, len(ordered) // 4)])


TRIVIAL = """
from prouter import hookimpl

@hookimpl
def prouter_agent_connected(agent):
    pass
"""


async def started(base: Path, number: int, texts: Sequence[str]) -> float:
    """Seconds from the command to the ready file."""
    place = base / f"start-{number}"
    place.mkdir()
    words = flags({"state.directory": str(place / "state"), "plugins.load": written(place, texts)})
    begun = time.perf_counter()
    router = Daemon(words, place, {})
    try:
        while not router.ready.exists():
            if router.process.poll() is not None:
                raise SystemExit(f"the router ended with status {router.process.returncode}; see {router.log.name}")
            await asyncio.sleep(0.002)
        return time.perf_counter() - begun
    finally:
        router.stop()


async def starts(base: Path, count: int) -> None:
    variants: Mapping[str, Sequence[str]] = {
        "none": (),
        "50 trivial ones": [TRIVIAL] * 50,
        "50 with hooks of a start": [OTHER_HOOKS.format(number=number) for number in range(50)],
    }
    found: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(count):
        for index, (name, texts) in enumerate(variants.items()):
            found[name].append(await started(base, turn * len(variants) + index, texts))
    for name, times in found.items():
        more = statistics.median(times) - statistics.median(found["none"])
        print(f"start with {name:26} {statistics.median(times) * 1e3:7.0f} ms   {more * 1e3:+7.0f} ms", flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=0.15)
    parser.add_argument("--starts", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prouter-bench-") as base:
        if options.starts:
            await starts(Path(base), options.starts)
        if options.rounds:
            await proxied(Path(base), options.rounds, options.seconds)


if __name__ == "__main__":
    asyncio.run(main())
