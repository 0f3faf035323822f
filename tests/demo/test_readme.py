"""What the README shows works as it stands there; only its port is another."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from readme import URL, Machine, commands, python

from prouter.testing import eventually

HERE = "On your machine"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    found = Machine(tmp_path / "machine")
    yield found
    found.end()


async def up(machine: Machine) -> str:
    """`prouter up`, as the README says it, at a free port; the API's address."""
    install, command = commands(HERE)[0]
    assert install == "pip install ."
    machine.begin(f"{command} --port 0 --ready-file ready.json")
    ready = machine.place / "ready.json"
    await eventually(ready.exists, what="prouter up")
    return str(json.loads(ready.read_text())["control"]["url"])


async def test_the_python_program_runs(machine: Machine) -> None:
    url = await up(machine)
    program = python(HERE)
    assert URL in program
    done = subprocess.run(
        [sys.executable, "-c", program.replace(URL, url)], capture_output=True, text=True, timeout=60, cwd=machine.place
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{url}/jobs/")
    assert url in machine.log


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
async def test_the_curl_commands_do_the_whole_job(machine: Machine) -> None:
    url = await up(machine)
    address, *lines = commands(HERE)[1]
    assert address == f"R={URL}"
    machine.environ["R"] = url
    (machine.place / "input.csv").write_text("a,b\n1,2\n")
    told = {}
    for line in lines:
        for word, value in names(told).items():
            line = line.replace(word, value)
        if "follow=1" in line:
            following = machine.begin(line)  # ends when the job has ended
        else:
            if "/remove" in line:
                assert following.wait(30) == 0, machine.log
            told[line.split("$R")[1].split()[0]] = machine.run(line)
    job = json.loads(told["/jobs/create"])["uid"]
    assert json.loads(told[f"/jobs/{job}/start"])["state"] == "RUNNING"
    assert "Directory listing" in told[f"/jobs/{job}/http/"]
    assert told[f"/jobs/{job}/file/data/input.csv"] == "a,b\n1,2\n"
    assert json.loads(told[f"/jobs/{job}/remove"])["uid"] == job


def names(told: dict[str, str]) -> dict[str, str]:
    """What stands for the names in capitals, by what the commands before told."""
    known = {}
    if "/agents" in told:
        known["AGENT_UID"] = json.loads(told["/agents"])["agents"][0]["uid"]
    if "/jobs/create" in told:
        known["JOB_UID"] = json.loads(told["/jobs/create"])["uid"]
    return known
