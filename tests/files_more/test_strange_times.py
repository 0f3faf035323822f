"""Files whose time no calendar can say: a job may set any, and its directory stays as usable as before."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from storing import Store

pytestmark = pytest.mark.as_user
TMPFS = Path("/dev/shm")  # keeps times of which disks know nothing
TIMES = {-100_000_000_000: "0001-01-01T00:00:00.000Z", 260_000_000_000: "9999-12-31T23:59:59.000Z"}


@pytest.mark.skipif(not os.access(TMPFS, os.W_OK), reason="needs a tmpfs")
@pytest.mark.parametrize("seconds", TIMES)
async def test_a_file_of_another_age_is_listed_read_and_packed(fleet, seconds: int) -> None:
    with tempfile.TemporaryDirectory(dir=TMPFS) as place:
        (fleet.place / "agent-1").mkdir(parents=True)
        (fleet.place / "agent-1" / "state").symlink_to(place)
        router, agent = await fleet.pair()
        async with router.client() as client:
            store = Store(router, agent, await client.create({"type": "uid", "uid": agent.uid}))
            (store.sandbox / "t").write_bytes(b"old")
            os.utime(store.sandbox / "t", (seconds, seconds))
            entries = (await store.ask("GET", "files")).json["entries"]
            assert [entry["modified_at"] for entry in entries] == [TIMES[seconds]]
            whole = await store.ask("GET", "file/t")
            assert whole.content == b"old"
            again = await store.ask("GET", "file/t", If_Range=whole.headers["Last-Modified"], Range="bytes=1-")
            assert again.content == b"ld"
            packed = (await store.ask("GET", "archive?format=zip")).content
            with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                assert archive.read("t") == b"old"
            packed = (await store.ask("GET", "archive")).content
            with tarfile.open(fileobj=io.BytesIO(packed)) as unpacked:
                assert unpacked.getmember("t").mtime == seconds
            assert (await store.change(move="t", to="u")).status == 200
        fleet.close()
