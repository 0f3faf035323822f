"""A live agent that only listens, dialed through a forwarder in ssh's place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from prouter_ssh_tunnel import SshTunnel, machine

from prouter.client.client import RequestFailed
from prouter.testing import InProcess, eventually

FORWARD = """
import asyncio, sys
local, port = int(sys.argv[1]), int(sys.argv[2])
async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def join(reader, writer):
    there = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(copy(reader, there[1]), copy(there[0], writer), return_exceptions=True)
async def main():
    async with await asyncio.start_server(join, "127.0.0.1", local) as server:
        await server.serve_forever()
asyncio.run(main())
"""


def settings(tmp_path: Path, token: str, name: str = "lab") -> list[str]:
    (tmp_path / "forward.py").write_text(FORWARD)
    (tmp_path / "tokens").write_text(f"{name} {token}\n")
    command = [sys.executable, str(tmp_path / "forward.py"), "{local}", "{port}", "{host}"]
    return [f"ssh_tunnel.command={command!r}", f"ssh_tunnel.tokens_file={str(tmp_path / 'tokens')!r}"]


async def test_a_job_on_a_machine_behind_a_tunnel(in_process: InProcess, tmp_path: Path) -> None:
    agent = await in_process.agent(None)
    port = agent.address("server")[1]
    router = await in_process.router(*settings(tmp_path, agent.token), plugins={"ssh_tunnel": SshTunnel})
    async with router.client() as client:
        job = await client.create({"type": "address", "address": f"lab.ssh:{port}"}, "job")
        assert job.info["agent"]["uid"] == agent.uid
        await job.start([sys.executable, "-c", "open('made', 'w').write('x')"], port_expected_count=0)
        assert (await job.wait()).info["exit_code"] == 0
        assert await job.read("made") == b"x"
        (tunnel, _) = next(iter(router.plugin("ssh_tunnel")._tunnels.values()))
        tunnel.kill()  # the line is cut: another tunnel is opened for the next link

        async def back() -> bool:
            try:
                return await job.read("made") == b"x"
            except RequestFailed as away:
                return away.http_status != 503

        await eventually(lambda: tunnel.returncode is not None)
        await eventually(back)


async def test_a_tunnel_that_does_not_open_is_told(in_process: InProcess, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit(255)"]
    router = await in_process.router(f"ssh_tunnel.command={command!r}", plugins={"ssh_tunnel": SshTunnel})
    async with router.client() as client:
        with pytest.raises(RequestFailed) as refused:
            await client.create({"type": "address", "address": "lab.ssh:5050"}, "job")
    assert refused.value.http_status in (404, 502, 503)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("lab.ssh:1", "lab"),
        ("lab.example.ssh:1", "lab.example"),
        ("lab:1", None),
        (".ssh:1", None),
        ("-oX.ssh:1", None),
    ],
)
def test_which_addresses_are_meant(address: str, name: str | None) -> None:
    assert machine(address) == name
