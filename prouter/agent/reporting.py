"""Where jobs report their ports: at a port that stays the same, so that a job that outlives its agent finds the next.

Belongs here: keeping the port. Does not: what is heard there (doors.py), whether it is true (jobs/feedback.py).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from prouter.errors import StartupError
from prouter.pluginkit.durable import replace_file

log = logging.getLogger(__name__)

FILE = "report-port"
MAX_BYTES = 16


async def listen_where_before(directory: Path, listen: Callable[[int], Awaitable[tuple[str, int]]]) -> tuple[str, int]:
    """At the port in the file of the agent's state directory, else at any, which is kept then.

    Raises StartupError when nothing can be listened on.
    """
    file = directory / FILE
    kept = _read(file)
    if kept:
        try:
            return await listen(kept)
        except StartupError as error:
            log.warning("jobs that an earlier run of the agent started can not report a port: %s", error)
    address = await listen(0)
    try:
        replace_file(file, str(address[1]).encode("ascii"))
    except OSError as error:
        log.warning("the port to which jobs report is not kept for the next agent: %s", error.strerror)
    return address


def _read(file: Path) -> int:
    """0: there is none."""
    try:
        with file.open("rb") as content:
            port = int(content.read(MAX_BYTES))
    except (OSError, ValueError):
        return 0
    return port if 0 < port < 65536 else 0
