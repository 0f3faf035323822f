"""Agents that the router dials through SSH tunnels."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prouter import hookspecs, implements
from prouter.errors import NoRoom, UpstreamFailed
from prouter.model.access import Secret
from prouter.model.plugin import ConfigSection
from prouter.model.services import Router

NAME = "ssh_tunnel"
SUFFIX = ".ssh"
OPEN_SECONDS = 15.0
LOOK_SECONDS = 0.05
SSH = ["ssh", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-N", "-L", "{local}:127.0.0.1:{port}", "{host}"]
SETTINGS: dict[str, dict[str, Any]] = {
    "command": {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
        "default": SSH,
        "description": "What opens a tunnel; {local}, {host} and {port} are filled in.",
    },
    "tokens_file": {
        "type": ["string", "null"],
        "default": None,
        "description": "File with a line NAME TOKEN for each machine. None: no tokens.",
    },
    "max_count": {"type": "integer", "minimum": 1, "default": 20, "description": "Tunnels at the same time."},
}


class SshTunnel:
    """Owns the tunnels' processes."""

    prouter_api_version = 1

    def __init__(self) -> None:
        self._tunnels: dict[str, tuple[asyncio.subprocess.Process, int]] = {}
        """By address: the process, and the local port."""
        self._opening = asyncio.Lock()

    @implements(hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(NAME, SETTINGS)]

    @implements(hookspecs.prouter_startup)
    def prouter_startup(self, router: Router) -> None:
        section = router.config.section(NAME)
        self._command: Sequence[str] = section["command"]
        self._tokens_file: str | None = section["tokens_file"]
        self._max_count: int = section["max_count"]

    @implements(hookspecs.prouter_agent_token)
    async def prouter_agent_token(self, address: str) -> Secret | None:
        if self._tokens_file is None or machine(address) is None:
            return None
        lines = (await asyncio.to_thread(Path(self._tokens_file).read_text, "utf-8")).splitlines()
        tokens = {name: token.strip() for name, _, token in (line.partition(" ") for line in lines)}
        token = tokens.get(machine(address) or "")
        return Secret(token) if token else None

    @implements(hookspecs.prouter_connect_agent)
    async def prouter_connect_agent(self, address: str) -> str | None:
        host, port = machine(address), address.rpartition(":")[2]
        if host is None:
            return None
        async with self._opening:
            process, local = self._tunnels.get(address, (None, 0))
            if process is None or process.returncode is not None:
                self._tunnels = {at: (p, n) for at, (p, n) in self._tunnels.items() if p.returncode is None}
                if len(self._tunnels) >= self._max_count:
                    raise NoRoom(f"{self._max_count} tunnels are open, which is the limit ({NAME}.max_count)")
                local = free_port()
                self._tunnels[address] = await self._open(host, port, local), local
        return f"127.0.0.1:{local}"

    @implements(hookspecs.prouter_shutdown)
    async def prouter_shutdown(self) -> None:
        for process, _ in self._tunnels.values():
            await end(process)

    async def _open(self, host: str, port: str, local: int) -> asyncio.subprocess.Process:
        words = [word.format(local=local, host=host, port=port) for word in self._command]
        process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                while process.returncode is None:
                    with contextlib.suppress(OSError):
                        _, writer = await asyncio.open_connection("127.0.0.1", local)
                        writer.transport.abort()
                        return process
                    await asyncio.sleep(LOOK_SECONDS)
            raise UpstreamFailed(f"the tunnel to {host} ended at once, with status {process.returncode}")
        except BaseException:
            await end(process)
            raise


def machine(address: str) -> str | None:
    """NAME of `NAME.ssh:PORT`; None for every other address, and for a name that ssh would take for a flag."""
    host = address.rpartition(":")[0]
    name = host.removesuffix(SUFFIX)
    return name if host.endswith(SUFFIX) and name and not name.startswith("-") else None


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
