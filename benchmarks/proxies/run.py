"""The command: interleaved rounds of all systems under all loads, the raw rows, the tables and the chart.

python -m benchmarks.proxies.run [--rounds 5] [--seconds 3] [--only get32,down] [--systems ...] [--quick] [--out D]
python -m benchmarks.proxies.run --tell       measures nothing: the pages again, of the raw rows that are there

Without --only, --systems, --quick and --out the raw rows and the pages of the repository become those of this run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import machine
from benchmarks.machine import GIB
from benchmarks.proxies import telling
from benchmarks.proxies.figures import OURS, TOLD
from benchmarks.proxies.loads import LOADS, Broken, Figures, Length
from benchmarks.proxies.systems import SYSTEMS, USED, Missing, System, chp_version
from benchmarks.rows import RESULTS, Keeper, Measured, Row, read, without_noise

QUICK_OUT = Path("out") / "bench"
QUICK_SYSTEMS = ("nginx x2", "configurable-http-proxy x1", "prouter (uvloop)")
QUICK_LOADS = ("get32", "headers", "new", "down", "up", "sockets")
FRESH = ("idle", "burst")
"""Loads for which a system is started anew: what it has kept of other loads would hide what these take."""
FEWER = ("burst", "headers", "unlike", "post")
"""Loads that only those have in a table of the README, so that a run stays within half an hour."""
COMPILE_SECONDS = 2
"""Of GETs on each system before the first round: Node.js compiles."""
WARM = Length(1, GIB // 16)
"""Of the same load before each measurement: systems keep what was opened for between seconds and an hour."""
PROGRAMS = {"nginx": ("nginx", "-v"), "haproxy": ("haproxy", "-v"), "node": ("node", "-v"), "wrk": ("wrk", "-v")}


def main() -> int:
    options = parse()
    kept = options.out / "proxies.jsonl"
    measured = read(kept) if options.tell else asyncio.run(measure(options, kept))
    telling.write(measured, QUICK_OUT if options.out == RESULTS else options.out)
    if options.out == RESULTS:
        telling.publish(measured)
    print(telling.table(measured), telling.went_wrong(measured), *telling.goals_missed(measured), sep="\n")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each load in a round")
    parser.add_argument("--only", default="", help="loads, with commas")
    parser.add_argument("--systems", default="", help="with semicolons, since names have commas")
    parser.add_argument("--quick", action="store_true", help="two minutes: fewer systems, loads, rounds and seconds")
    parser.add_argument("--tell", action="store_true", help="measure nothing, tell what is there")
    parser.add_argument("--out", type=Path, help="where raw rows go")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 1
        options.only = options.only or ",".join(QUICK_LOADS)
        options.systems = options.systems or ";".join(QUICK_SYSTEMS)
    part = options.quick or options.only or options.systems
    options.out = options.out or (QUICK_OUT if part else RESULTS)
    options.loads = [name for name in options.only.split(",") if name] or list(LOADS)
    options.names = [name.strip() for name in options.systems.split(";") if name] or [*SYSTEMS, *USED]
    QUICK_OUT.mkdir(parents=True, exist_ok=True)
    return options


def pairs(options: argparse.Namespace, there: list[str], number: int) -> Iterator[tuple[str, str]]:
    """Of one round: each load on all systems, one after the other, so that drift meets all; each second round
    backwards."""
    for load in options.loads:
        for name in there if number % 2 == 0 else reversed(there):
            compared = load in TOLD and (name in SYSTEMS or load == "get32")
            compared = compared and (load not in FEWER or name in ("direct", *telling.SHORT))
            wanted = compared or (load not in TOLD and name == OURS)
            if wanted:
                yield load, name


async def measure(options: argparse.Namespace, kept: Path) -> Measured:
    """All systems run for the whole time."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)  # type: ignore[union-attr]
    told = {name: getattr(options, name) for name in ("rounds", "seconds", "loads", "names")}
    told["warm_seconds"] = WARM.seconds
    about = machine.about(PROGRAMS, told)
    about["versions"]["configurable-http-proxy"] = chp_version()
    keeper = Keeper(kept, about)
    length = Length(options.seconds, GIB // 4 if options.quick else GIB)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="prouter-bench-") as base:
        async with contextlib.AsyncExitStack() as stack:
            systems: dict[str, System] = {}
            for name in options.names:
                try:
                    systems[name] = await stack.enter_async_context({**SYSTEMS, **USED}[name](Path(base)))
                except Missing as missing:
                    print(f"{name} is left out: {missing}", file=sys.stderr)
            for system in systems.values():
                with contextlib.suppress(Broken):
                    await LOADS["get32"](system, Length(COMPILE_SECONDS, 0))
            for number in range(options.rounds):
                for load, name in pairs(options, list(systems), number):
                    row = await one(load, name, systems[name], length, Path(base))
                    keeper.add({"round": number, **row})
                    print(f"{time.monotonic() - begun:6.0f} s  {number} {shown(row)}", file=sys.stderr, flush=True)
    return keeper.measured()


async def one(load: str, name: str, system: System, length: Length, base: Path) -> Row:
    """A row, measured behind a short while of the same load, but where that would spoil it; of a load that could not
    be measured a row with an error and without figures."""
    row: dict[str, object] = {"load": load, "system": name, "at": round(time.time(), 1)}
    figures: Figures
    try:
        if load not in FRESH:
            await LOADS[load](system, WARM)
        before = stolen_seconds()
        if load in FRESH:
            async with {**SYSTEMS, **USED}[name](base) as another:
                figures = await LOADS[load](another, length)
        else:
            figures = await LOADS[load](system, length)
    except Broken as broken:
        return {**row, "errors": 1, "broken": str(broken)}
    return {**row, **without_noise(figures), "stolen_s": round(stolen_seconds() - before, 2)}


def stolen_seconds() -> float:
    """What the machine below took from this one's CPUs since it was started."""
    try:
        return int(Path("/proc/stat").read_text().splitlines()[0].split()[8]) / 100
    except (OSError, IndexError):
        return 0.0


def shown(row: Row) -> str:
    figures = [f"{name}={value:.4g}" for name, value in row.items() if isinstance(value, float) and name != "at"]
    return f"{row['load']:8} {row['system']:32} {' '.join(figures)} {row.get('broken', '')}"


if __name__ == "__main__":
    sys.exit(main())
