"""`prouter`: finds the command and hands over. Without one it is the router's daemon, as the original was."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from prouter.cli import hangup

COMMANDS = {
    "router": "the router (the default when no command is named)",
    "agent": "an agent: runs jobs on this machine",
    "up": "a router and one local agent, for a first look",
    "top": "show agents, jobs and what goes through them, kept up to date",
    "drain": "tell an agent to take no new jobs",
    "clean": "tell which finished jobs an agent would remove by itself",
    "undrain": "tell an agent to take new jobs again",
    "explain": "tell why a job is where it is, or where a new one would go",
    "plugins": "tell which plugins are there, what they do and what is wrong with them",
}
DAEMONS = ("router", "agent", "up")
PIPE_CLOSED = 141
"""As a shell says it of programs that SIGPIPE ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 after a graceful end, 1 when it could not start here and now, 2 for a wrong configuration."""
    try:
        try:
            return _run(list(sys.argv[1:] if arguments is None else arguments))
        except SystemExit:
            sys.stdout.flush()
            raise
    except BrokenPipeError:  # who reads has enough (`| head`); what is flushed at the exit must not fail once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _run(words: list[str]) -> int:
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        foreign: int = importlib.import_module("prouter.cli.foreign").run(words[0], words[1:])
        return foreign
    command = words.pop(0) if words and words[0] in COMMANDS else "router"
    if command in DAEMONS:
        hangup.keep()
    module = importlib.import_module(f"prouter.cli.{command}")
    status: int = module.run(words)
    if command not in DAEMONS:
        sys.stdout.flush()
    return status
