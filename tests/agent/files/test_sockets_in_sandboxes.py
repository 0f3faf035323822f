"""Who gives up connecting to a job's unix socket leaves no descriptor open."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prouter.agent.files.sandbox import SandboxOpener
from prouter.testing import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="they can be reached safely on Linux only")


async def test_given_up_amid_its_opening(
    sandbox: Path, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener = SandboxOpener("walk", threads)
    find, asked, go, found = opener._socket, threading.Event(), threading.Event(), []

    def slow(*what: Path | str) -> int:
        asked.set()
        go.wait(20)
        found.append(find(*what))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(opener, "_socket", slow)
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(sandbox, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        connecting = asyncio.ensure_future(opener.connect(sandbox, "socket", asyncio.Protocol))
        await eventually(asked.is_set)
        connecting.cancel()
        asyncio.get_running_loop().call_soon(go.set)
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await eventually(lambda: found, what="the descriptor")
        assert str(found[0]) not in os.listdir("/proc/self/fd")
