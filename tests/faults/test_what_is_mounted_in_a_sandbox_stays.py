"""What is mounted in a job's sandbox is not the job's: it is neither counted as its own, nor deleted with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from small_disks import MIB, bound, needs_mounts, small_disk

from prouter.client import Client, RequestFailed
from prouter.testing import Fleet, eventually

pytestmark = needs_mounts


async def test_a_removal_ends_at_mounts_and_measures_do_not_count_them(fleet: Fleet, tmp_path: Path) -> None:
    """Whether they are of the same disk or of another, and however deep; all else of the job goes."""
    router, agent = await fleet.pair()
    fleet.expected_errors += ["something is mounted there"]
    data, file = tmp_path / "data", tmp_path / "file"
    (data / "deep").mkdir(parents=True)
    for place in (data / "kept", data / "deep" / "kept", file):
        place.write_bytes(os.urandom(4 * MIB))
    data.chmod(0o500)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "mounts")
        program = "import os; os.makedirs('a/b'); open('a/own', 'wb').write(bytes(1 << 20))"
        await job.start([sys.executable, "-c", program], port_expected_count=0)
        await job.wait()
        sandbox = Path(agent.sandbox(job))
        with small_disk(tmp_path / "other", 16 * MIB) as other:
            (other.place / "kept").write_bytes(os.urandom(4 * MIB))
            with bound(data, sandbox / "a" / "b"), bound(file, sandbox / "a"), bound(other.place, sandbox):
                told = await client.clean_up(agent.uid, disk_bytes=0)
                assert MIB <= told["total_bytes"] < 2 * MIB
                await job.remove()
                assert not await known(client, job.info["uid"])
                (leftover,) = agent.jobs.glob(".removed-*")
                assert not (leftover / "sandbox" / "a" / "own").exists()
                await eventually(lambda: "is mounted there" in agent.log, what="a word about what stays")
            assert (other.place / "kept").stat().st_size == 4 * MIB
        assert sorted(path.name for path in data.rglob("*")) == ["deep", "kept", "kept"]
        assert data.stat().st_mode & 0o777 == 0o500
        assert file.stat().st_size == 4 * MIB
        agent.kill()
        agent.start()
        await router.agent_is_there(agent)
        assert list(agent.jobs.glob(".removed-*")) == [], "what was left goes once nothing is mounted there"


async def known(client: Client, uid: str) -> bool:
    try:
        await client.request("GET", f"/jobs/{uid}")
    except RequestFailed as error:
        return error.http_status != 404
    return True
