"""Who listens on a TCP port: sockets from sock_diag (netlink) or /proc/net/tcp, their owners from /proc/PID/fd.

Everything here blocks; called in a thread.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
TCP_LISTEN = 10
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48s")
"""inet_diag_req_v2: family, protocol, extensions, states, and the id of a socket (all zero: any)."""
_ANSWER_ADDRESS_OFFSET = 8
_ANSWER_INODE_OFFSET = 68
"""inet_diag_msg: 4 bytes, the id's 48, expires, rqueue, wqueue, uid, then the inode."""
RECEIVE_SECONDS = 2.0


class Listener(NamedTuple):
    """Where a socket listens."""

    address: str
    port: int


def listening() -> dict[int, Listener]:
    """Sockets that listen on whatever local address, IPv4 or IPv6, by inode."""
    try:
        return _by_netlink(socket.AF_INET) | _by_netlink(socket.AF_INET6)
    except OSError:
        return _by_proc("/proc/net/tcp") | _by_proc("/proc/net/tcp6")


def on_loopback(listeners: Mapping[int, Listener], ours: Set[int]) -> dict[int, tuple[str, ...]]:
    """The ports of those of the listeners that are `ours`; for each the loopback addresses at which a connection comes
    to one of ours and to nobody else's.

    Of several sockets the kernel takes the one whose address says most.
    """
    found: dict[int, tuple[str, ...]] = {}
    for number in {listeners[inode].port for inode in ours}:
        there = {inode: listener.address for inode, listener in listeners.items() if listener.port == number}
        found[number] = tuple(host for host, order in _TAKEN_FIRST.items() if _first(there, order) <= ours)
    return found


_TAKEN_FIRST = {"127.0.0.1": ("127.0.0.1", "0.0.0.0", "::"), "::1": ("::1", "::")}  # noqa: S104 -- compared, not bound
_NOBODYS = frozenset((-1,))


def _first(there: Mapping[int, str], order: Sequence[str]) -> Set[int]:
    for address in order:
        inodes = {inode for inode, listens_at in there.items() if listens_at == address}
        if inodes:
            return inodes
    return _NOBODYS


def owned(pids: Iterable[int], inodes: Set[int]) -> set[int]:
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


def _by_netlink(family: int) -> dict[int, Listener]:
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << TCP_LISTEN, bytes(48))
    header = _HEADER.pack(_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    found: dict[int, Listener] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(RECEIVE_SECONDS)
        netlink.sendto(header + body, (0, 0))
        while _take(netlink.recv(65536), found):
            pass
    return found


def _take(data: bytes, found: dict[int, Listener]) -> bool:
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
        width = 16 if data[message] == socket.AF_INET6 else 4
        place = message + _ANSWER_ADDRESS_OFFSET
        found[inode] = Listener(_address(data[place : place + width]), local_port)
        offset += (length + 3) & ~3
    return True


def _by_proc(path: str) -> dict[int, Listener]:
    found = {}
    with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
        for line in file.readlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                address, _, port = fields[1].rpartition(":")
                words = bytes.fromhex(address)  # each of 32 bits in the machine's order
                packed = b"".join(
                    int.from_bytes(words[i : i + 4], "big").to_bytes(4, sys.byteorder) for i in range(0, len(words), 4)
                )
                found[int(fields[9])] = Listener(_address(packed), int(port, 16))
    return found


def _address(packed: bytes) -> str:
    address = ipaddress.ip_address(packed)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
