"""All limits through the API in one table: who goes beyond one is told which; asking beyond a ceiling is refused."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from limited import BUSY, HOLDS, MANY, MIB, ONE_FILE, WRITES_ON, Place

from prouter.client.client import RequestFailed
from prouter.testing import Fleet

pytestmark = [
    pytest.mark.as_user,
    pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's"),
]

TOLD = "import os; os.mkdir('out'); open('out/data', 'wb').write(bytes(3 << 20))"
"""Of the limit by a failed write, as Python ignores SIGXFSZ."""
CHILD = "import subprocess, sys; sys.exit(bool(subprocess.call('dd if=/dev/zero of=d bs=1M count=3'.split())))"
GOES_ON = """
try:
    open("data", "wb", buffering=0).write(bytes(2 << 20))
    open("data", "ab", buffering=0).write(b"x")
except OSError as error:
    assert "File too large" in str(error)
else:
    raise AssertionError("nobody limits it")
"""
FILES = """
import os, time
os.mkdir("in")
for number in range(20):
    open(f"in/{number}", "wb").write(os.urandom(1 << 20))
time.sleep(600)
"""
FAILS = "import sys; open('data', 'wb').write(bytes((2 << 20) - 1)); sys.exit(3)"
FILE = "a file of it grew beyond its limit of 2 MiB"

MOST = {
    "processes": 5,
    "memory_bytes": 96 * MIB,
    "cpu_seconds": 1,
    "file_bytes": 2 * MIB,
    "sandbox_bytes": 8 * MIB,
}
LINKS = """
import os, sys, time
os.symlink(sys.argv[1], "out")
open("data", "wb").write(os.urandom(6 * 1048576))
for i in range(5):
    os.link("data", f"again{i}")
os.truncate(os.open("sparse", os.O_CREAT | os.O_RDWR), 1 << 30)
time.sleep(1.2)
"""
"""6 MiB, and much that looks like more."""


@dataclass
class Row:
    program: str
    args: tuple[object, ...] = ()
    limits: dict[str, int] = field(default_factory=dict)
    reason: str = "limit"
    exit_code: int | None = None
    """None: whatever it is, not 0."""
    words: str = ""
    timeout: float | None = None


ROWS = (
    Row(HOLDS, (600, 600), {"memory_bytes": 64 * MIB}, "out-of-memory", -9, "more memory than its limit of 64 MiB"),
    Row(HOLDS, (1, 600), {}, "timeout", -9, timeout=0.5),
    Row(MANY, (), {"processes": 5}, words="it had more processes than its limit of 5"),
    Row(BUSY, ("long", 60), {"cpu_seconds": 1}, words="it used more CPU time than its limit of 1 s"),
    Row(FILES, (), {"sandbox_bytes": 8 * MIB}, words="its sandbox grew beyond its limit of 8 MiB"),
    Row(ONE_FILE, (), {"file_bytes": 2 * MIB}, exit_code=-25, words=f"{FILE}: f]"),
    Row(TOLD, (), {"file_bytes": 2 * MIB}, exit_code=1, words=f"{FILE}: out/data]"),
    Row(CHILD, (), {"file_bytes": 2 * MIB}, words=f"{FILE}: d]"),
    Row(GOES_ON, (), {"file_bytes": 2 * MIB}, "exited", 0),
    Row(FAILS, (), {"file_bytes": 2 * MIB}, "exited", 3),
    Row(WRITES_ON, (7, 1.2), {"sandbox_bytes": 8 * MIB, "file_bytes": 8 * MIB, "cpu_seconds": 20}, "exited", 0),
    Row("print('x' * 9999)", (), {"output_bytes": 4096}, "exited", 0),
)


async def test_who_goes_beyond_a_limit_is_told_which(place: Place, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(12 * MIB))
    rows = (*ROWS, Row(LINKS, (tmp_path,), {"sandbox_bytes": 8 * MIB}, "exited", 0))

    async def ended(row: Row) -> dict[str, Any]:
        return await place.ended(row.program, *row.args, timeout=row.timeout, **row.limits)

    for row, info in zip(rows, await asyncio.gather(*map(ended, rows)), strict=True):
        told = f"{row}: {info}"
        assert info["reason"] == row.reason, told
        assert info["exit_code"] == row.exit_code if row.exit_code is not None else info["exit_code"] != 0, told
        assert row.words in info["stderr"], told
        assert ("[the job was ended: " in info["stderr"]) == bool(row.words), told


async def test_each_ceiling_is_kept_and_holds_for_who_asks_for_nothing(fleet: Fleet) -> None:
    settings = [f"jobs.limits.max.{name}={limit}" for name, limit in MOST.items()]
    router, agent = await fleet.pair(*settings, "jobs.limits.output_bytes=8192", "jobs.limits.memory_bytes=48000000")
    async with router.client() as client:
        place = Place(router, agent, client)
        for name, most in (MOST | {"output_bytes": 8192}).items():
            words = f"this agent allows a job at most {most} {name}, not {most + 1}"
            if name == "output_bytes":
                words = "this agent keeps at most 8192 output_bytes of a job"
            with pytest.raises(RequestFailed, match=re.escape(words)) as error:
                await place.runs("pass", **{name: most + 1})
            assert (error.value.http_status, name) == (400, name)
        rows = [row for row in ROWS if row.limits.keys() & MOST.keys() and row.reason == "limit"]
        at_ceiling, by_default, more_than_that, *ended = await asyncio.gather(
            place.ended("print('x' * 100000)", **MOST, output_bytes=8192),
            place.ended(HOLDS, 60, 600),
            place.ended(HOLDS, 60, 0, memory_bytes=96 * MIB),
            *(place.ended(row.program, *row.args) for row in rows),
        )
        assert (at_ceiling["reason"], at_ceiling["exit_code"]) == ("exited", 0)
        assert (agent.jobs / at_ceiling["uid"] / "sandbox" / ".pagent.stdout").stat().st_size <= 8192
        assert by_default["reason"] == "out-of-memory"
        assert (more_than_that["reason"], more_than_that["exit_code"]) == ("exited", 0)
        for row, info in zip(rows, ended, strict=True):
            assert info["reason"] == row.reason
            assert row.words in info["stderr"]
        job = await client.create({"type": "uid", "uid": agent.uid}, "limited")
        program = [sys.executable, "-S", "-c", HOLDS, "400", "600"]
        why = r"was ended \(it used more memory than its limit of 32 MiB\) before it served"
        with pytest.raises(RequestFailed, match=why) as error:
            await job.start(program, limits={"memory_bytes": 32 * MIB})
        assert error.value.http_status == 422
