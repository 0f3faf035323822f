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
    for _ in range(3):  # a case has some seconds, and a busy machine may need more on either way
        differing = [case for case in direct if direct[case] != proxied[case]]
        if not differing:
            break
        direct |= await verdicts(ways[0], differing, 1)
        proxied |= await verdicts(ways[1], differing, 1)
    found, wanted = [{case: same(case, said) for case, said in each.items()} for each in (proxied, direct)]
    figures = Figures(request.config.rootpath / "out" / "reliability.json", request.node.nodeid)
    alike = sum(found.get(case) == said for case, said in wanted.items())
    figures.record("R21", "cases with the same verdict", alike, goal=len(wanted), holds=alike == len(wanted))
    assert found == wanted


def same(case: str, said: str) -> str:
    """In the cases of bad frames behind good ones, whether the good ones are still answered depends on whether both
    come to the server in one piece, which is nobody's to say: it may do either."""
    return said.replace("NON-STRICT", "OK") if case.startswith(("3.", "4.")) else said
