"""Output where there are no guardians (macOS, Windows): the portable way of holding processes, tried here."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from prouter.agent.guard.fallback import PlainKeeper
from prouter.agent.output.reader import SpoolReader
from prouter.errors import ProgramMissing
from prouter.model.ids import new_uid
from prouter.model.output import OutputStream
from prouter.model.plugin import LaunchRequest
from prouter.model.process import Command
from prouter.testing import eventually


def launch_of(place: Path, program: str, **options: object) -> LaunchRequest:
    (place / "sandbox").mkdir(exist_ok=True)
    args = (sys.executable, "-S", "-c", program)
    return LaunchRequest(new_uid(), str(place), Command(args, dict(os.environ), str(place / "sandbox"), **options))


def read(place: Path, stream: OutputStream | None = None) -> bytes:
    reader, offset, found = SpoolReader(place, stream), 0, b""
    while pieces := reader.read(offset).pieces:
        found += b"".join(piece.data for piece in pieces)
        offset = pieces[-1].after
    return found


async def test_all_output_is_there_once_the_job_has_ended(tmp_path: Path) -> None:
    keeper = PlainKeeper()
    program = "import os; os.write(1, b'x' * 300000); os.write(2, b'oh\\nno\\n')"
    running = await keeper.launch(launch_of(tmp_path, program))
    ended = await running.wait()
    assert (ended.exit_code, ended.reason) == (0, "exited")
    assert read(tmp_path, OutputStream.STDOUT) == b"x" * 300000
    assert read(tmp_path, OutputStream.STDERR) == b"oh\nno\n"
    assert (tmp_path / "sandbox" / ".pagent.stderr").read_bytes() == b"oh\nno\n"
    await keeper.launch(launch_of(tmp_path, "print('again')", limits={"output_bytes": 4096}))
    await keeper.close()


async def test_the_last_lines_are_the_newest_of_both_streams(tmp_path: Path) -> None:
    keeper = PlainKeeper()
    running = await keeper.launch(launch_of(tmp_path, "print('one'); print('two')"))
    await running.wait()
    assert await running.last_output(1) == "two"


async def test_a_process_that_escaped_does_not_keep_the_job_from_ending(tmp_path: Path) -> None:
    keeper = PlainKeeper()
    program = "import os, subprocess; os.write(1, b'%d' % subprocess.Popen(['sleep', '9'], start_new_session=True).pid)"
    running = await keeper.launch(launch_of(tmp_path, program))
    assert (await running.wait()).reason == "exited"
    os.kill(int(read(tmp_path)), signal.SIGKILL)
    await eventually(lambda: not any(thread.name == "output of a job" for thread in threading.enumerate()))


async def test_a_program_that_is_missing_leaves_no_descriptor_open(tmp_path: Path) -> None:
    request = launch_of(tmp_path, "")
    missing = Command(("/no/such/program",), {}, request.command.cwd)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ProgramMissing):
        await PlainKeeper().launch(LaunchRequest(request.job, request.job_directory, missing))
    assert len(os.listdir("/proc/self/fd")) <= before
