"""What the basics cost on this machine: starting jobs and daemons, files, agents of the original kind, being idle.

python -m benchmarks.basics.run [--rounds 5] [--seconds 3] [--only jobs,files] [--out D]
python -m benchmarks.basics.run --tell        measures nothing: the pages again, of the raw rows that are there

Without --only and --out the raw rows and the pages of the repository become those of this run. Compare figures of one
run only.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from benchmarks import machine
from benchmarks.basics import files, idle, jobs, original, telling
from benchmarks.daemons import Pair, running
from benchmarks.machine import GIB
from benchmarks.rows import RESULTS, Keeper, Measured, read, without_noise

OUT = Path("out") / "bench"
THEMES = ("jobs", "files", "original", "starts", "idle")
JOBS_A_ROUND = 5
Found = AsyncIterator[tuple[str, Mapping[str, float]]]


def main() -> int:
    options = parse()
    kept = options.out / "basics.jsonl"
    measured = read(kept) if options.tell else asyncio.run(measure(options, kept))
    if options.out == RESULTS:
        telling.publish(measured)
    print(telling.whole(measured))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of what is measured by time in a round")
    parser.add_argument("--only", default="", help=f"themes, with commas: {', '.join(THEMES)}")
    parser.add_argument("--tell", action="store_true", help="measure nothing, tell what is there")
    parser.add_argument("--out", type=Path, help="where raw rows go")
    options = parser.parse_args()
    options.out = options.out or (OUT if options.only else RESULTS)
    options.themes = [name for name in options.only.split(",") if name] or list(THEMES)
    return options


async def measure(options: argparse.Namespace, kept: Path) -> Measured:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    told = {name: getattr(options, name) for name in ("rounds", "seconds", "themes")}
    keeper = Keeper(kept, machine.about({"curl": ("curl", "-V"), "wrk": ("wrk", "-v")}, told))
    with tempfile.TemporaryDirectory(prefix="prouter-bench-") as base:
        async with running(Path(base)) as pair:
            for number in range(options.rounds):
                place = Path(base) / f"round-{number}"
                place.mkdir()
                for theme in options.themes:
                    async for what, figures in measured_of(theme, pair, place, options.seconds):
                        keeper.add({"round": number, "what": what, **without_noise(figures)})
                        print(
                            number, what, *(f"{name}={value:.4g}" for name, value in figures.items()), file=sys.stderr
                        )
    return keeper.measured()


async def measured_of(theme: str, pair: Pair, place: Path, seconds: int) -> Found:
    """What one theme gives in a round."""
    if theme == "jobs":
        for _ in range(JOBS_A_ROUND):
            yield "first byte", await jobs.first_byte(pair)
            yield "first byte, direct", await jobs.first_byte_direct(pair)
            yield "start alone", await jobs.start_alone(pair)
        yield "jobs", await jobs.started_a_second(pair, seconds)
        return
    if theme == "files":
        found = await files.files(pair, GIB)
    elif theme == "original":
        found = await original.through_v1(pair, place / "original", seconds)
    elif theme == "starts":
        found = await idle.starts(pair, place)
    else:
        async with running(place / "idle") as another:
            found = await idle.at_rest(another, seconds)
    for what, figures in found.items():
        yield what, figures


if __name__ == "__main__":
    sys.exit(main())
