"""What a guardian that died itself left of a job is gone once the job is deleted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prouter.agent.guard import sweep
from prouter.agent.guard.held.launch import TAG
from prouter.model.ids import new_uid

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there are no guardians")


def test_processes_of_a_job_without_a_guardian_are_ended_and_no_others(tmp_path: Path) -> None:
    job, other = new_uid(), new_uid()
    sleeps = [sys.executable, "-S", "-c", "print('up', flush=True); import time; time.sleep(600)"]
    started = [
        subprocess.Popen(sleeps, env=os.environ | {TAG: uid}, stdout=subprocess.PIPE, start_new_session=True, text=True)
        for uid in (job, other)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
        (tmp_path / "guardian.json").write_text(json.dumps({"guardian": None, "cgroup": ""}))
        (tmp_path / "exit.json").write_text(json.dumps({"exit_code": 0}))
        sweep.destroy(job, tmp_path)
        assert started[0].poll() is None, "its guardian had said that all was over"
        (tmp_path / "exit.json").unlink()
        sweep.destroy(job, tmp_path)
        assert started[0].wait(10) == -9
        sweep.destroy(job, tmp_path)
        assert started[1].poll() is None
    finally:
        for process in started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
