"""Autobahn's cases for Websocket servers (R21): through router and agent the verdict on a job is what it is without.

Most cases in a few seconds; all of them, with minutes of large and compressed messages, in the long form of what must
hold and by `make autobahn`, which sets PROUTER_AUTOBAHN=*; a list like 12.1.*,9.7.1 asks for those.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from proxied import Proxied

sys.path.append(str(Path(__file__).parent.parent / "faults"))

from figures import LONG, Figures

ASKED_FOR = os.environ.get("PROUTER_AUTOBAHN", "*" if LONG else "")
SHORT = [
    "1.*",
    "2.*",
    "3.*",
    "4.*",
    "5.*",
    "6.*",
    "7.*",
    "9.1.1",
    "9.2.1",
    "9.5.6",
    "9.6.6",
    "10.*",
    "12.1.3",
    "13.3.3",
]
KINDS = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "closing",
    "9": "limits and speed",
    "10": "automatic fragmentation",
    "12": "compression, of many payloads",
    "13": "compression, with many parameters",
}
"""Autobahn's own, by the first number of a case."""
RUN = """
import asyncio, json, os, sys
from kosoku import FailureError, run_fuzzingclient

async def main(url, cases, concurrency):
    try:
        results = await run_fuzzingclient(url, cases=cases, concurrency=concurrency)
    except FailureError as error:
        results = error.results
    found = {case.case_id: f"{case.behavior.value}, close {case.behavior_close.value}" for case in results}
    print(json.dumps(found), flush=True)
    os._exit(0)  # its threads do not survive an interpreter that ends

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])))
"""
"""In a process of its own: kosoku changes some of the standard library for its cases."""


async def verdicts(url: str, cases: list[str], at_once: int = 8) -> dict[str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, url, json.dumps(cases), str(at_once), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, str] = json.loads(said)
    return found


@pytest.mark.timeout(3600 if ASKED_FOR else 120)
async def test_the_same_verdict_as_without_us(make_job: Callable[..., Proxied], request: pytest.FixtureRequest) -> None:
    job = make_job("echo.py")
    ways = f"ws://127.0.0.1:{job.port}/", job.router.url().replace("http", "ws") + job.prefix + "/"
    cases = ASKED_FOR.split(",") if ASKED_FOR else SHORT
    direct, proxied = [await verdicts(url, cases) for url in ways]
    assert len(direct) >= (1 if ASKED_FOR else 240)
    assert ASKED_FOR or sum(said.startswith("OK") for said in direct.values()) > len(direct) * 0.8
    late = {case for case in direct if direct[case] != proxied[case]}
    for _ in range(3):  # a case has some seconds, and a busy machine may need more on either way, or on both
        again = [case for case in direct if direct[case] != proxied[case] or was_late(case, direct[case])]
        if not again:
            break
        direct |= await verdicts(ways[0], again, 1)
        proxied |= await verdicts(ways[1], again, 1)
    found, wanted = [{case: same(case, said) for case, said in each.items()} for each in (proxied, direct)]
    if ASKED_FOR in ("", "*"):
        figures = Figures(request.config.rootpath / "out" / "reliability.json", request.node.nodeid)
        write_down(figures, found, wanted)
        figures.record("R21", "cases with another verdict when they were asked first", len(late))
    assert found == wanted


def write_down(figures: Figures, found: dict[str, str], wanted: dict[str, str]) -> None:
    """How many cases have the verdict that they have without us: all, and of each kind."""

    def count(what: str, cases: list[str]) -> None:
        alike = sum(found.get(case) == wanted[case] for case in cases)
        figures.record("R21", what, alike, goal=len(cases), holds=alike == len(cases))

    count("cases with the same verdict", list(wanted))
    for kind, title in KINDS.items():
        count(f"cases with the same verdict, {kind}: {title}", [case for case in wanted if case.split(".")[0] == kind])
    for said in sorted({said.partition(",")[0] for said in wanted.values()}):
        figures.record("R21", f"cases whose verdict is {said}", sum(each.startswith(said) for each in found.values()))


def was_late(case: str, said: str) -> bool:
    """Or may have been: without us, too."""
    return said.startswith("FAILED") and case.startswith(("9.", "12.", "13."))


def same(case: str, said: str) -> str:
    """In the cases of bad frames behind good ones, whether the good ones are still answered depends on whether both
    come to the server in one piece, which is nobody's to say: it may do either."""
    return said.replace("NON-STRICT", "OK") if case.startswith(("3.", "4.")) else said
