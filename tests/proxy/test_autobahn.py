"""Autobahn's cases for Websocket servers: through router and agent the verdict on a job is what it is without them.

Most cases in a few seconds; all of them, with minutes of large and compressed messages, by `make autobahn`, which sets
PROUTER_AUTOBAHN=all.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable

import pytest
from proxied import Proxied

pytest.importorskip("kosoku")

ALL = os.environ.get("PROUTER_AUTOBAHN") == "all"
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

async def main(url, cases):
    try:
        results = await run_fuzzingclient(url, cases=cases, concurrency=8)
    except FailureError as error:
        results = error.results
    found = {case.case_id: f"{case.behavior.value}, close {case.behavior_close.value}" for case in results}
    print(json.dumps(found), flush=True)
    os._exit(0)  # its threads do not survive an interpreter that ends

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""
"""In a process of its own: kosoku changes some of the standard library for its cases."""


async def verdicts(url: str, cases: list[str]) -> dict[str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, url, json.dumps(cases), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, str] = json.loads(said)
    return found


@pytest.mark.timeout(3600 if ALL else 120)
async def test_the_same_verdict_as_without_us(make_job: Callable[..., Proxied]) -> None:
    job = make_job("echo.py")
    cases = ["*"] if ALL else SHORT
    direct = await verdicts(f"ws://127.0.0.1:{job.port}/", cases)
    proxied = await verdicts(job.router.url().replace("http", "ws") + job.prefix + "/", cases)
    assert len(direct) >= (500 if ALL else 240)
    assert sum(said.startswith("OK") for said in direct.values()) > len(direct) * 0.8
    assert proxied == direct
