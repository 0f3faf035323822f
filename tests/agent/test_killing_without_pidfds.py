"""R6: where the kernel, or a filter of system calls, offers no pidfd, processes are ended all the same."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from prouter.agent.guard.held import trees

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's")


def refused(number: int) -> Any:
    def refuse(*asked: Any) -> int:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("call", ["os.pidfd_open", "signal.pidfd_send_signal"])
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EMFILE], ids=errno.errorcode.get)
def test_its_number_will_do(
    sleeping: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    monkeypatch.setattr(call, refused(number))
    trees.kill_if(sleeping.pid, lambda pid: False)
    assert sleeping.poll() is None, "it was another one"
    trees.kill_if(sleeping.pid, lambda pid: True)
    assert sleeping.wait(10) == -signal.SIGKILL


def test_whoever_is_gone_is_no_error_and_nobody_is_not_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()
    killed: list[int] = []
    kill = os.kill
    monkeypatch.setattr(os, "pidfd_open", refused(errno.ENOSYS))
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(pid) if pid < 1 else kill(pid, number))
    trees.kill_if(gone.pid, lambda pid: True)
    trees.kill_if(0, lambda pid: True)
    assert not killed
