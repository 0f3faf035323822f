"""On which TCP sockets a process listens, as the kernel says (Linux)."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

LISTEN = "0A"


def listening_addresses(pid: int) -> list[tuple[str, int]]:
    own = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and f"socket:[{fields[9]}]" in own:
                host, _, port = fields[1].partition(":")
                found.append((_address(host), int(port, 16)))
    return found


def _address(words: str) -> str:
    """Words of four bytes in the machine's order."""
    raw = b"".join(bytes.fromhex(words[i : i + 8])[::-1] for i in range(0, len(words), 8))
    return str(ipaddress.ip_address(raw))
