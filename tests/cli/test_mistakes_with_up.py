"""`prouter up` holds a router and an agent: what is meant for the one is no mistake of the other."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from prouter.errors import ConfigError

AGENTS = "idle_culling"
"""A plugin that only agents have."""


def up(place: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "prouter", "up", "--port", "0", "--state", str(place / "state"), *words]
    return subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_one_side_is_switched_off(tmp_path: Path) -> None:
    daemon = up(tmp_path, "--no-plugin", AGENTS, "--no-plugin", "no_such_plugin")
    assert daemon.stdout is not None
    said = []
    deadline = threading.Timer(60, daemon.kill)
    deadline.start()
    try:
        for line in daemon.stdout:
            said.append(line)
            if "prouter is up" in line:
                break
    finally:
        deadline.cancel()
        daemon.terminate()
        daemon.communicate(timeout=30)
    text = "".join(said)
    assert "prouter is up" in text
    assert "'no_such_plugin', which is not installed" in text
    assert AGENTS not in text


def test_a_parameter_of_the_agent_for_the_router(tmp_path: Path) -> None:
    daemon = up(tmp_path, "--set", "jobs.idle_timeout=3")
    said, _ = daemon.communicate(timeout=60)
    assert daemon.returncode == 2
    assert "jobs.idle_timeout: there is no such parameter" in said
    assert "--agent-set for those of the agent" in said


@pytest.mark.parametrize("mistakes", ["keys.file: it is not there", ["keys.file: it is not there"]])
def test_one_mistake_needs_no_list(mistakes: str | list[str]) -> None:
    error = ConfigError(mistakes)
    assert (error.mistakes, error.detail) == (("keys.file: it is not there",), "keys.file: it is not there")
