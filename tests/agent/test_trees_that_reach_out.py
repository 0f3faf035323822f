"""A job that hands a part of itself to others, or makes groups of its own, is ended all the same, and in time.

Its output may be held by processes that are none of its tree, and groups below its own hold processes of it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prouter.testing import Fleet

pytestmark = [
    pytest.mark.as_user,
    pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's"),
]

SECONDS = 20.0
WRITERS = 4
PIPE_BYTES = 1 << 20
"""So that one reader hardly ever sees it empty."""
GIVES_AWAY = """
import socket, sys
with socket.socket(socket.AF_UNIX) as friend:
    friend.connect("\\0" + sys.argv[1])
    socket.send_fds(friend, [b"x"], [1])
    friend.recv(1)
print("last words", flush=True)
"""
"""Its standard output, to who listens there; ends when told to."""


@contextmanager
def writing_without_end(to: int) -> Iterator[None]:
    writers = [subprocess.Popen(["cat", "/dev/zero"], stdout=to) for _ in range(WRITERS)]
    try:
        yield
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


async def test_who_writes_on_into_its_output_does_not_keep_a_job_from_ending(fleet: Fleet, tmp_path: Path) -> None:
    router, agent = await fleet.pair()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{tmp_path}")
        listener.listen()
        listener.settimeout(SECONDS)
        async with router.client() as client:
            job = await client.create({"type": "uid", "uid": agent.uid}, "generous")
            words = [sys.executable, "-S", "-c", GIVES_AWAY, str(tmp_path)]
            await job.start(words, port_expected_count=0, limits={"output_bytes": 4096})
            friend, _ = listener.accept()
            with friend:
                _, (output,), _, _ = socket.recv_fds(friend, 1, 1)
                fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
                with writing_without_end(output):
                    os.close(output)
                    friend.send(b"x")
                    await job.wait(SECONDS)
            assert (job.info["state"], job.info["exit_code"]) == ("FINISHED", 0), "it waits for who is none of it"
