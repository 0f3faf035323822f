"""The command: interleaved rounds of all systems under all loads, the raw rows, the table and the chart.

python -m benchmarks.proxies.run [--rounds 5] [--seconds 5] [--only get32,down] [--systems ...] [--quick] [--out D]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.proxies import telling
from benchmarks.proxies.loads import GIB, LOADS, Length
from benchmarks.proxies.systems import SYSTEMS, Missing, System

RESULTS = Path(__file__).resolve().parent / "results"
QUICK_SYSTEMS = ("nginx x2", "configurable-http-proxy x1", "prouter (uvloop)")
QUICK_LOADS = ("get32", "headers", "new", "down", "up", "sockets")


def main() -> int:
    options = parse()
    rows = asyncio.run(measure(options))
    document = {"machine": machine(), "options": vars(options) | {"out": str(options.out)}, "rows": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "rows.json").write_text(json.dumps(document, indent=1) + "\n")
    telling.write(document, options.out, into_pages=not options.quick and options.out == RESULTS)
    print(telling.table(document))
    failed = telling.goals_missed(document)
    print("\n".join(failed) or "every goal is reached")
    return 1 if failed and not options.quick else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each load in a round")
    parser.add_argument("--only", default="", help="loads, with commas")
    parser.add_argument("--systems", default="", help="with commas")
    parser.add_argument("--quick", action="store_true", help="two minutes: fewer systems, loads, rounds and seconds")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 2, 2
        options.only = options.only or ",".join(QUICK_LOADS)
        options.systems = options.systems or ",".join(QUICK_SYSTEMS)
        options.out = Path("out") / "bench"
    options.loads = [name for name in options.only.split(",") if name] or list(LOADS)
    options.names = [name for name in options.systems.split(",") if name] or list(SYSTEMS)
    return options


async def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Everything runs for the whole time; the rounds go through all systems for each load, so that drift meets all."""
    rows: list[dict[str, Any]] = []
    length = Length(options.seconds, GIB // 4 if options.quick else GIB)
    with tempfile.TemporaryDirectory() as place:
        async with contextlib.AsyncExitStack() as stack:
            systems: list[System] = []
            for name in options.names:
                try:
                    systems.append(await stack.enter_async_context(SYSTEMS[name](Path(place))))
                except Missing as missing:
                    print(f"{name} is left out: {missing}", file=sys.stderr)
            for number in range(options.rounds):
                for load in options.loads:
                    for system in systems:
                        begun = time.time()
                        figures = await LOADS[load][1](system, length)
                        rows.append({"round": number, "load": load, "system": system.name, "at": begun, **figures})
                        shown = " ".join(f"{key}={value:.4g}" for key, value in figures.items())
                        print(f"{number} {load:8} {system.name:28} {shown}", file=sys.stderr, flush=True)
    return rows


def machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "model": model(),
        "versions": {name: version(words) for name, words in VERSIONS.items()},
    }


VERSIONS = {
    "nginx": ["nginx", "-v"],
    "haproxy": ["haproxy", "-v"],
    "node": ["node", "--version"],
    "wrk": ["wrk", "-v"],
}


def version(words: list[str]) -> str:
    try:
        told = subprocess.run(words, capture_output=True, text=True, timeout=10)
    except OSError:
        return "not there"
    return (told.stdout + told.stderr).strip().splitlines()[0]


def model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
