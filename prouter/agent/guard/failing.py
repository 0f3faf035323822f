"""Why a program could not be executed, in a sentence: what the system said of it, and what it meant."""

from __future__ import annotations

import os

from prouter.errors import ProgramMissing, StartFailed
from prouter.model.process import Command

SHOWN_CHARACTERS = 200
"""Of a program's name."""
MISSING = (2, 20)
"""ENOENT, ENOTDIR."""


def not_executed(command: Command, code: int, why: str) -> StartFailed:
    """For an exec that failed with that errno."""
    program = shown(command.args[0])
    if code not in MISSING:
        return StartFailed(f"the program {program} can not be started: {why}")
    if _is_there(command):
        return StartFailed(f"the program {program} can not be started: the interpreter that it names is not there")
    return ProgramMissing(f"the program {program} is not there: {why}")


def shown(program: str) -> str:
    """For a sentence."""
    return repr(program if len(program) <= SHOWN_CHARACTERS else f"{program[:SHOWN_CHARACTERS]}…")


def _is_there(command: Command) -> bool:
    program = command.args[0]
    places = [""] if "/" in program else command.env.get("PATH", os.defpath).split(os.pathsep)
    return any(os.path.isfile(os.path.join(command.cwd, place, program)) for place in places)
