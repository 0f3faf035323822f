"""Who listens on a TCP port: sockets from sock_diag (netlink) or /proc/net/tcp, their owners from /proc/PID/fd.

Everything here blocks; called in a thread.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterable

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
TCP_LISTEN = 10
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48s")
"""inet_diag_req_v2: family, protocol, extensions, states, and the id of a socket (all zero: any)."""
_ANSWER_INODE_OFFSET = 68
"""inet_diag_msg: 4 bytes, the id's 48, expires, rqueue, wqueue, uid, then the inode."""
RECEIVE_SECONDS = 2.0


def listening() -> dict[int, int]:
    """Sockets that listen on whatever local address, IPv4 or IPv6: their ports by inode."""
    try:
        return _by_netlink(socket.AF_INET) | _by_netlink(socket.AF_INET6)
    except OSError:
        return _by_proc("/proc/net/tcp") | _by_proc("/proc/net/tcp6")


def listening_inodes(port: int) -> set[int]:
    """Those that listen on that port."""
    return {inode for inode, number in listening().items() if number == port}


def owned(pids: Iterable[int], inodes: set[int]) -> set[int]:
    """Those of the sockets that one of the processes has open."""
    names = {f"socket:[{inode}]": inode for inode in inodes}
    found: set[int] = set()
    for pid in pids:
        directory = f"/proc/{pid}/fd"
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                with contextlib.suppress(OSError):
                    inode = names.get(os.readlink(f"{directory}/{name}"))
                    if inode is not None:
                        found.add(inode)
        if len(found) == len(inodes):
            break
    return found


def _by_netlink(family: int) -> dict[int, int]:
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << TCP_LISTEN, bytes(48))
    header = _HEADER.pack(_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    found: dict[int, int] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(RECEIVE_SECONDS)
        netlink.sendto(header + body, (0, 0))
        while _take(netlink.recv(65536), found):
            pass
    return found


def _take(data: bytes, found: dict[int, int]) -> bool:
    """The messages of one datagram; False when they were the last. Raises OSError for a refusal."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if kind == NLMSG_DONE:
            return False
        if kind == NLMSG_ERROR or length < _HEADER.size:
            raise OSError("sock_diag refused")
        message = offset + _HEADER.size
        (local_port,) = struct.unpack_from(">H", data, message + 4)
        (inode,) = struct.unpack_from("=I", data, message + _ANSWER_INODE_OFFSET)
        found[inode] = local_port
        offset += (length + 3) & ~3
    return True


def _by_proc(path: str) -> dict[int, int]:
    found = {}
    with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
        for line in file.readlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                found[int(fields[9])] = int(fields[1].rpartition(":")[2], 16)
    return found
