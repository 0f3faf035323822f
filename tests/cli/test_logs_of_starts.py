"""What a start says where the log is JSON, and a SIGHUP that comes before it is over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prouter.testing import Fleet, eventually

WRONG = {
    "a mistake of the schema": ("--set", "control.port=many"),
    "an open door": ("--set", "control.interface=0.0.0.0"),
    "a key that there is not": ("--set", "control.prot=1"),
}
EARLY = """
import os, signal
from prouter import hookimpl
os.kill(os.getpid(), signal.SIGHUP)
class Early:
    @hookimpl
    def prouter_shutdown(self): ...
"""


@pytest.mark.parametrize("kind", ["router", "agent"])
def test_mistakes_of_a_start_are_json_where_the_log_is(fleet: Fleet, kind: str) -> None:
    for wrong in WRONG.values():
        said = fleet.refused(kind, "--log-format", "json", *wrong)
        lines = [json.loads(line) for line in said.splitlines()]
        assert lines[-1]["level"] == "error"
        assert lines[-1]["message"].startswith("control.")


def test_a_plugin_that_is_required_and_missing_is_told_in_json(fleet: Fleet) -> None:
    said = fleet.refused("--log-format", "json", "--set", "plugins.required=['q']", status=1)
    assert "'q'" in json.loads(said.splitlines()[-1])["message"]


@pytest.mark.parametrize("kind", ["router", "agent"])
async def test_a_hangup_during_the_start_is_a_reload_behind_it(fleet: Fleet, tmp_path: Path, kind: str) -> None:
    """It comes while plugins are loaded, long before anything listens."""
    (tmp_path / "early.py").write_text(EARLY)
    daemon = fleet.daemon(kind, "--set", f"plugins.load=[{str(tmp_path / 'early.py')!r}]")
    await eventually(lambda: "read again" in daemon.log)
    assert daemon.stop() == 0
