"""R13: whatever became of the files that a router keeps, it starts, says so and sets them aside; no write tears one."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from figures import LONG, Figures
from writes import CALLS, writes_below

from prouter.testing import Daemon, Fleet, eventually

GARBAGE = (b"", b"[" * 100_000, b"\0" * 4096, b'{"uids": ["half\xff')
"""Each cut of agents.json, and all else that it may be, is in tests/core/test_agent_memory.py."""

NAMES = ("agents.json", "uid")
WRITES = """
import sys
from pathlib import Path
from prouter.pluginkit.durable import replace_file
replace_file(Path(sys.argv[1]), b"new")
"""


def has_word(daemon: Daemon, name: str) -> bool:
    return any(name in line and f"is now {aside(daemon, name)}" in line for line in daemon.log.splitlines())


def aside(daemon: Daemon, name: str) -> Path:
    return daemon.place / "state" / f"torn-{name}"


async def test_a_router_starts_with_torn_files_and_keeps_what_it_knows_anew(fleet: Fleet) -> None:
    fleet.expected_errors.append("holds no uid")
    router, agent = await fleet.pair()
    state = router.place / "state"
    kept = state / "agents.json"
    for garbage in GARBAGE if LONG else GARBAGE[:2]:
        await eventually(lambda: kept.exists() and agent.uid in kept.read_text(), what="what it knows")
        uid = router.uid
        router.stay_put("server", "control")
        router.kill()
        for name in NAMES:
            (state / name).write_bytes(garbage)
        router.start()
        for name in NAMES:
            assert aside(router, name).read_bytes() == garbage
            assert has_word(router, name)
        assert router.uid != uid
        assert (state / "uid").read_text() == f"{router.uid}\n"
        await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "as ever")
        await job.remove()
    await eventually(lambda: agent.uid in kept.read_text(), what="what it knows now")
    assert await asyncio.to_thread(router.stop) == 0
    assert not list(state.glob("*.new"))


async def test_a_killed_write_leaves_what_was_there_or_what_is_new(tmp_path: Path, figures: Figures) -> None:
    """As both daemons keep all that they keep of themselves: in place of any system call of it, a SIGKILL."""
    place, log = tmp_path / "kept", tmp_path / "strace"
    place.write_text("old")
    assert await killed_at(place, log, "") == 0
    boundaries = writes_below(tmp_path, log)
    calls = [write.call for write in boundaries]
    assert calls == ["openat", "write", "fsync", "rename", "fsync"], calls
    found = []
    for boundary in boundaries:
        place.write_text("old")
        assert await killed_at(place, log, boundary.death) == -signal.SIGKILL
        found.append(place.read_text())
        assert await killed_at(place, log, "") == 0
        assert place.read_text() == "new"
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith("kept")] == ["kept"]
    figures.record(
        "R13",
        "kept files that were neither old nor new",
        len([text for text in found if text not in ("old", "new")]),
        goal=0,
    )
    assert set(found) <= {"old", "new"}


async def killed_at(place: Path, log: Path, death: str) -> int:
    """How a process ended that wrote the file anew."""
    words = ["strace", "-y", "-s", "80", "-o", str(log), "-f", "-e", f"trace={','.join(CALLS)}"]
    words += [*(("-e", death) if death else ()), sys.executable, "-c", WRITES, str(place)]
    writer = await asyncio.create_subprocess_exec(*words)
    return await writer.wait()
