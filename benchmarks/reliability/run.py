"""What must hold under faults, at full size: hours, or what of it is asked for.

python -m benchmarks.reliability.run [--rows R1,R4] [--at-once 3] [--resume]
python -m benchmarks.reliability.run --check SECONDS    the short form, as the gate left it since then (Unix time)
python -m benchmarks.reliability.run --publish [FILE]   the page, pictures and kept figures, of those in FILE, too

Each file of tests is a process of its own, the longest first, some at once; what measures what others would change
comes afterwards, alone. Figures go to out/reliability.json, each with its commit and the machine's load, what was
printed to out/reliability/, and there what the run was like as a whole (run.json). With --resume what went well within
the last day is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from figures import commit, machine, on, read
from promised import ROWS, missed

from benchmarks.pages import ROOT
from benchmarks.reliability import lasting, telling

TESTS = ROOT / "tests" / "faults"
MEASURED = ROOT / "out" / "reliability.json"
PRINTED = ROOT / "out" / "reliability"
DONE = PRINTED / "done.json"
RUN = "run.json"
"""Of the last run of the long form: its commit, and how busy the machine was meanwhile."""
DAY_SECONDS = 86400.0
LOOK_SECONDS = 15.0
END_SECONDS = 60.0


def main() -> int:
    options = parse()
    if options.publish is not None:
        return publish(options.publish)
    if options.check is not None:
        return check(options.check)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background, and by all that we start
    try:
        return asyncio.run(measure(options.rows, options.at_once, options.resume))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("ended; RESUME=1 goes on")
        return 130


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="ids, with commas or spaces; all")
    parser.add_argument("--at-once", type=int, default=(os.cpu_count() or 1) + 1, help="files of tests")
    parser.add_argument("--resume", action="store_true", help="leave out what went well within the last day")
    parser.add_argument("--check", type=float, metavar="SECONDS", help="measure nothing, judge the short form")
    parser.add_argument("--publish", nargs="?", type=Path, const=MEASURED, metavar="FILE", help="measure nothing, show")
    options = parser.parse_args()
    options.rows = options.rows.replace(",", " ").split() or list(ROWS)
    if unknown := [row for row in options.rows if row not in ROWS]:
        parser.error(f"there is no row {', '.join(unknown)}: {', '.join(ROWS)}")
    return options


def check(since: float) -> int:
    """After the gate: is every figure there, of this run, and does it hold?"""
    begun = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
    figures = [figure for figure in read(MEASURED) if figure["at"] >= begun and figure["form"] == "short"]
    lines = missed(figures, "short")
    seconds = lasting.of_short_form(MEASURED.parent, since, figures)
    print("\n".join(lasting.table(seconds, int(os.environ.get("PYTEST_WORKERS") or 3))))
    print("\n".join([*lines, f"{len(ROWS)} promises, {len(lines)} figures are missing or do not hold"]))
    return bool(lines)


def publish(file: Path) -> int:
    telling.publish([figure for figure in read(file) if figure.get("machine")])
    return 0


async def measure(rows: Sequence[str], at_once: int, resume: bool) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # tests end with us
    PRINTED.mkdir(parents=True, exist_ok=True)
    done = _done() if resume else {}
    wanted = {name: ROWS[row].alone for row in rows for name in ROWS[row].tests}
    if len(rows) == len(ROWS):
        wanted |= dict.fromkeys(unnamed(), False)
    left = {name: quiet for name, quiet in wanted.items() if name not in done}
    beside = [name for name, quiet in left.items() if not quiet]
    alone = [name for name, quiet in left.items() if quiet]
    beside, alone = longest_first(beside), longest_first(alone)
    minutes = lasting.together(beside, alone, at_once)
    print(f"{len(left)} files of tests, {len(alone)} of them alone, about {minutes:.0f} minutes", flush=True)
    print(f"of {commit() or 'no commit'}, load {os.getloadavg()[0]:.1f}", flush=True)
    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)  # it has begun
    going = asyncio.Semaphore(at_once)

    async def one(name: str) -> bool:
        async with going:
            return await measured(name)

    try:
        went_well = await asyncio.gather(*map(one, beside))
        went_well += [await measured(name) for name in alone]
    finally:
        watching.cancel()
    about = json.loads((PRINTED / RUN).read_text())
    print(f"the load was {about['load']['mean']} on average, {about['load']['most']} at most", flush=True)
    commit.cache_clear()
    if commit() != about["commit"]:
        print(f"begun with {about['commit']}, and now it is {commit()}: figures are of different programs")
    lines = missed(read(MEASURED), "long", rows)
    print("\n".join([*lines, f"{len(rows)} promises, {len(lines)} figures are missing or do not hold"]))
    return 0 if all(went_well) and not lines else 1


async def watch() -> None:
    """Write down of what all this is and how busy the machine is, again and again."""
    begun, loads = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), list[float]()
    while True:
        loads.append(os.getloadavg()[0])
        load = {"mean": round(sum(loads) / len(loads), 1), "most": round(max(loads), 1)}
        about = {"commit": commit(), "begun": begun, "machine": on(machine()), "load": load}
        (PRINTED / RUN).write_text(json.dumps(about, indent=1) + "\n")
        await asyncio.sleep(LOOK_SECONDS)


async def measured(name: str) -> bool:
    """Whether its tests went well. Cancelled, it ends them first."""
    begun, short = time.monotonic(), Path(name).name
    environ = os.environ | {"PROUTER_RELIABILITY": "long", "PROUTER_NO_SKIPS": "1"}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS / f"{name}.py")]
    base = Path(tempfile.mkdtemp(prefix="pt-"))  # short: sockets lie in it
    with (PRINTED / f"{short}.log").open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *words, f"--basetemp={base}/t", cwd=ROOT, env=environ, stdout=out, stderr=out, start_new_session=True
        )
        try:
            status = await process.wait()
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
                await asyncio.wait_for(process.wait(), END_SECONDS)
    took = time.monotonic() - begun
    told = "well  " if status == 0 else "FAILED"
    print(f"{told} {took / 60:5.1f} min  {short}{f', logs of daemons: {base}' if status else ''}", flush=True)
    if status == 0:
        shutil.rmtree(base, ignore_errors=True)
        DONE.write_text(json.dumps(_done() | {name: {"at": time.time(), "took": round(took)}}, indent=1) + "\n")
    return status == 0


def unnamed() -> list[str]:
    """Files of tests that measure nothing, or nothing that is promised in a row."""
    named = {name for row in ROWS.values() for name in row.tests}
    return sorted({place.stem for place in TESTS.glob("test_*.py")} - named)


def longest_first(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lasting.minutes, reverse=True)


def _done() -> dict[str, Any]:
    """What went well, not longer than a day ago."""
    try:
        found = json.loads(DONE.read_text())
    except (OSError, ValueError):
        return {}
    return {name: each for name, each in found.items() if each["at"] > time.time() - DAY_SECONDS}


if __name__ == "__main__":
    sys.exit(main())
