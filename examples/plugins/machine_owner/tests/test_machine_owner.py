"""A live agent with the plugin: what it says of its machine, and what it refuses to start."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from prouter_machine_owner import MachineOwner

from prouter.client.client import RequestFailed
from prouter.testing import InProcess

NVIDIA_SMI = "#!/bin/sh\necho 'GPU 0: A100 (UUID: 1)'\necho 'GPU 1: A100 (UUID: 2)'\n"


async def test_the_machine_is_in_the_agents_properties_and_capacity(
    in_process: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia-smi").write_text(NVIDIA_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    router = await in_process.router()
    await in_process.agent(router, "properties.cpus='many'", plugins=[MachineOwner])
    async with router.client() as client:
        (shown,) = await client.agents()
    assert shown["properties"]["cpus"] == "many"
    assert int(shown["properties"]["memory_mib"]) > 100
    assert shown["properties"]["gpus"] == "2"
    assert shown["capacity"]["gpu"]["total"] == 2


async def test_only_what_the_owner_named_may_run(in_process: InProcess) -> None:
    router = await in_process.router()
    programs = f"machine_owner.programs=[{sys.executable!r}, '/opt/solver/*']"
    agent = await in_process.agent(router, programs, plugins=[MachineOwner])
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        with pytest.raises(RequestFailed, match="/bin/sh may not run on this machine") as refused:
            await job.start(["/bin/sh", "-c", "true"], port_expected_count=0)
        assert refused.value.http_status == 403
        await job.start([sys.executable, "-c", "pass"], port_expected_count=0)
        assert (await job.wait()).info["exit_code"] == 0


async def test_without_a_list_anything_may_run(in_process: InProcess) -> None:
    router = await in_process.router()
    agent = await in_process.agent(router, plugins=[MachineOwner])
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        await job.start(["/bin/sh", "-c", "exit 3"], port_expected_count=0)
        assert (await job.wait()).info["exit_code"] == 3
