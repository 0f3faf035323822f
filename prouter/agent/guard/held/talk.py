"""What a guardian and an agent say to each other: JSON lines. What is not understood is left out, on both sides.

Guardians outlive upgrades, so `hello`, `status`, `signal` and `kill` never change, whatever else is said, and keys that
one does not know are ignored. In: first the command, or, at the guardian's door, ::

    {"op": "hello", "protocol": N, "survive": BOOL, "orphan_seconds": S or null}   the speaker is the job's agent now
    {"op": "status"}
    {"op": "signal", "number": N}
    {"op": "kill", "reason": WORD}
    {"op": "tail"}

Out: {"started": PID, "guardian": PID, ...} or {"failed": ERRNO, "what": TEXT, "step": WORD} after the command,
{"hello": N, "job": UID, "started": PID, ...} or {"refused": TEXT} after a hello, {"status": {...}}, {"tail": TEXT}, and
last {"exit_code", "reason", "finished_at", "detail", "tail"}.
"""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

PROTOCOL = 2
"""1: without a door, ended with its agent."""
MAX_LINE_BYTES = 16 * 1024 * 1024
"""A command: arguments and environment; the kernel takes 2 MiB of both together."""
MAX_PEER_BYTES = 65536
"""Of one line from somebody who is not the agent."""
TAKEN_SECONDS = 5.0
"""For the agent to take what it is told; it is frozen then, and the job's end is on disk."""


class Talker:
    """One end that a guardian speaks with; `fd` is readable when it said something.

    The agent has a while to take what it is told; nobody waits for others, who may be anybody of this user.
    """

    def __init__(self, connected: socket.socket, pid: int) -> None:
        self.fd = connected.fileno()
        self.pid = pid
        self._socket = connected
        self._most = MAX_PEER_BYTES
        self._received = b""
        connected.setblocking(False)

    def trust(self) -> None:
        """It is the agent."""
        self._most = MAX_LINE_BYTES
        self._socket.settimeout(TAKEN_SECONDS)

    def hear(self) -> list[dict[str, Any]] | None:
        """What it said since; None at its end, and when it talks nonsense without end."""
        try:
            data = self._socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            return None
        *lines, self._received = (self._received + data).split(b"\n")
        return None if len(self._received) > self._most else [said for line in lines if (said := _read(line))]

    def say(self, message: dict[str, Any]) -> bool:
        """Whether it was taken."""
        with contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")
            return True
        return False

    def close(self) -> None:
        self._socket.close()


def _read(line: bytes) -> dict[str, Any]:
    """Empty for what is no object."""
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(line)
        return found if isinstance(found, dict) else {}
    return {}
