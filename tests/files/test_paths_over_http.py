"""What a client or a job may call a file: nothing outside the sandbox is reached, nothing hangs."""

from __future__ import annotations

import pytest
from filing import Filing

pytestmark = pytest.mark.as_user

NO_PATHS = [
    "..",
    "../f",
    "a/../f",
    "%2e%2e/f",
    "..%2ff",
    "a%2F..%2F..%2Ff",
    "/etc/passwd",
    "%2Fetc%2Fpasswd",
    "a%00b",
    "",
    "a/",
    ".",
    "n" * 256,
    "/".join(["n"] * 300),
    "/".join(["n" * 250] * 17),
]

MAKES_THINGS = """
import os, socket
open("real", "w").write("inside")
os.mkdir("folder")
os.symlink("real", "link")
os.symlink("folder", "way")
os.symlink("/etc", "etc")
os.symlink("../record.json", "beside")
os.symlink("/dev/zero", "device")
os.symlink("loop", "loop")
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
"""


async def test_a_path_that_is_no_name_in_the_sandbox_is_refused(filing: Filing) -> None:
    for verb, data in (("GET", None), ("HEAD", None), ("PUT", b"x"), ("POST", b"x")):
        for path in NO_PATHS:
            answer = await filing.ask(verb, path, data)
            assert 400 <= answer.status < 500, (verb, path, answer)
            assert verb == "HEAD" or answer.headers["Content-Type"] == "application/problem+json"
    assert filing.left() == []
    assert sorted(path.name for path in filing.sandbox.parent.rglob("f")) == []


async def test_what_a_job_made_is_read_only_where_it_is_a_file_inside(filing: Filing) -> None:
    await filing.runs(MAKES_THINGS)
    assert (await filing.ask("GET", "link")).content == b"inside"
    for path in ("etc/passwd", "beside", "device", "loop", "fifo", "socket", "folder", "way", "real/f"):
        answer = await filing.ask("GET", path)
        assert 400 <= answer.status < 500, (path, answer)
        assert b"root:" not in answer.content
    assert (await filing.ask("GET", "missing")).status == 404
    assert (await filing.ask("GET", "missing/too")).status == 404


async def test_a_link_at_the_end_of_a_write_is_never_followed(filing: Filing) -> None:
    await filing.runs(MAKES_THINGS)
    record = filing.sandbox.parent.joinpath("record.json").read_bytes()
    for path in ("link", "beside", "fifo", "socket"):
        assert (await filing.ask("PUT", path, b"new")).status == 200
        assert (filing.sandbox / path).is_file()
        assert not (filing.sandbox / path).is_symlink()
    assert (filing.sandbox / "real").read_bytes() == b"inside"
    assert filing.sandbox.parent.joinpath("record.json").read_bytes() == record
    assert (await filing.ask("PUT", "way/through", b"new")).status == 200
    assert (filing.sandbox / "folder" / "through").read_bytes() == b"new"
    for path in ("etc/f", "folder", "loop/f", "real/f"):
        assert 400 <= (await filing.ask("PUT", path, b"new")).status < 500, path
