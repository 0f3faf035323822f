"""Who has no descriptor left to look at a process takes none that lives for dead."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from prouter.agent.guard import sweep
from prouter.agent.guard.held import trees

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's")


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """For this process."""
    first_free = os.dup(0)
    os.close(first_free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("is_over", [trees.is_dead, trees.is_exiting])
def test_who_lives_is_not_taken_for_dead(sleeping: subprocess.Popen[bytes], is_over: Callable[[int], bool]) -> None:
    with no_descriptor_left():
        found = is_over(sleeping.pid)
    assert not found
    assert not is_over(sleeping.pid)
    sleeping.kill()
    sleeping.wait()
    assert is_over(sleeping.pid)


def test_whether_a_guardian_lives_is_not_known_then(sleeping: subprocess.Popen[bytes]) -> None:
    """Who asks asks again: a job would be told to have ended, and what runs of it be killed."""
    guardian = {"pid": sleeping.pid, "start": trees.start_time(sleeping.pid)}
    held = {"boot_id": trees.boot_id(), "guardian": guardian}
    with pytest.raises(OSError, match="Too many open files"), no_descriptor_left():
        sweep.guardian_lives(held)
    assert sweep.guardian_lives(held)
    assert not sweep.guardian_lives(held | {"guardian": guardian | {"start": guardian["start"] + 1}})
    assert not sweep.guardian_lives(held | {"boot_id": "another"})
    sleeping.kill()
    sleeping.wait()
    assert not sweep.guardian_lives(held)
