"""The newest lines of a job's output, for messages to people."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

TAIL_BYTES = 8192


def tail_of(paths: Iterable[Path], lines: int) -> str:
    """The last lines of the files that are there, at most 8 KiB in all. Blocks."""
    parts = []
    for path in paths:
        try:
            with path.open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - TAIL_BYTES // 2))
                parts.append(file.read())
        except OSError:
            continue
    text = b"".join(parts).decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-lines:])
