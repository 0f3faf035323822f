"""How a tree ended, as its guardian says and writes it.

Belongs here: what of that is believed. Does not: where it is read (sweep.py) or heard (running.py).
"""

from __future__ import annotations

from typing import Any

from prouter.model.jobs import MAX_TIME
from prouter.model.process import Exit

MAX_CODE = 1 << 63
"""What a record takes."""


def exit_in(said: Any) -> Exit:
    """Raises ValueError for what is no whole account: others may write where it lies."""
    if not isinstance(said, dict):
        raise ValueError("an account of a job's end is an object")
    code, reason, finished_at = (said.get(name) for name in ("exit_code", "reason", "finished_at"))
    if code is not None and not (isinstance(code, int) and abs(code) < MAX_CODE):
        raise ValueError("exit_code is no number of a process")
    if not (isinstance(finished_at, int | float) and abs(finished_at) < MAX_TIME):  # nor is NaN, nor infinity
        raise ValueError("finished_at is no time")
    if "exit_code" not in said or not isinstance(reason, str):
        raise ValueError("it does not say how, or why")
    return Exit(code, reason, float(finished_at), str(said.get("detail", "")))
