"""Two hosts with a bad line between them: namespaces of their own, and a relay of packets that delays and loses some.

TCP repairs what is lost, so only packets can be lost, not bytes of a connection: hence the namespaces, one TUN device
in each and the relay between the two, which runs as a process of its own (this file). Needs root. Does not: what goes
over the line, and lines that cut whole connections (prouter.testing.BrokenNetwork).
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from namespaces import hosts, inside, ip

TUNSETIFF = 0x400454CA
IFF_TUN_WITHOUT_PACKET_INFO = 0x1001
PACKET_BYTES = 65536
QUEUED_PACKETS = 20_000
"""That the relay may be behind: a line is slow then, and loses no more than it is told to."""
RELAY_NICENESS = -15
"""A line does not stand in a queue for the processor behind what it connects."""


@dataclass(frozen=True)
class Line:
    """`near` and `far` are names of namespaces; the hosts have the addresses."""

    near: str
    far: str
    near_address: str = "10.77.0.1"
    far_address: str = "10.77.0.2"


@contextlib.contextmanager
def lossy_line(*, delay_seconds: float, loss: float) -> Iterator[Line]:
    """The calling thread is at the near end meanwhile, and so is what it starts and connects."""
    with hosts("n", "f") as (near, far), contextlib.ExitStack() as undo:
        line = Line(near, far)
        words = [line.near, line.near_address, line.far, line.far_address, str(delay_seconds), str(loss)]
        relay = subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE)
        undo.callback(_end, relay)
        assert relay.stdout is not None
        assert relay.stdout.readline() == b"ready\n", "the relay of packets did not come up"
        undo.enter_context(inside(line.near))
        yield line


def _end(relay: subprocess.Popen[bytes]) -> None:
    relay.kill()
    relay.wait()
    assert relay.stdout is not None
    relay.stdout.close()


# --- the relay's own process ---


def device(namespace: str, address: str, other: str) -> int:
    """A TUN device in it that is up."""
    with inside(namespace):
        made = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(made, TUNSETIFF, struct.pack("16sH", b"line", IFF_TUN_WITHOUT_PACKET_INFO))
    ip("-n", namespace, "addr", "add", address, "peer", other, "dev", "line")
    ip("-n", namespace, "link", "set", "line", "up", "mtu", "1500", "txqueuelen", str(QUEUED_PACKETS))
    return made


def relay_packets(ends: tuple[int, int], delay_seconds: float, loss: float) -> None:
    """For ever."""
    chance, count = random.Random(1), 0
    due: list[tuple[float, int, int, bytes]] = []
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    while True:
        wait = max(0.0, due[0][0] - time.monotonic()) if due else None
        ready, _, _ = select.select(ends, (), (), wait)
        now = time.monotonic()
        for end in ready:
            with contextlib.suppress(BlockingIOError):
                for _ in range(64):
                    packet = os.read(end, PACKET_BYTES)
                    if chance.random() >= loss:
                        count += 1
                        heapq.heappush(due, (now + delay_seconds, count, other[end], packet))
        while due and due[0][0] <= now:
            _, _, end, packet = heapq.heappop(due)
            with contextlib.suppress(OSError):  # its queue is full: lost, too
                os.write(end, packet)


def main() -> None:
    near, near_address, far, far_address, delay_seconds, loss = sys.argv[1:]
    with contextlib.suppress(OSError):  # not each root may
        os.nice(RELAY_NICENESS)
    ends = device(near, near_address, far_address), device(far, far_address, near_address)
    print("ready", flush=True)
    relay_packets(ends, float(delay_seconds), float(loss))


if __name__ == "__main__":
    main()
