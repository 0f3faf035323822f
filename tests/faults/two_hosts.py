"""Two hosts joined by a cable: what goes over it can be dropped without a word, reset, unplugged, or move away.

Belongs here: the hosts and what can happen between them; each is undone with the hosts. Does not: lines that only lose
some packets (lossy_line.py) or cut single connections (prouter.testing.BrokenNetwork), what goes over the cable.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from namespaces import hosts, inside, ip

DROPS = """
add table inet cut
add chain inet cut comes { type filter hook input priority 0; policy accept; }
add rule inet cut comes iifname cable drop
"""


class Cable:
    """Between the hosts `near` and `far`."""

    def __init__(self, near: str, far: str) -> None:
        self.near, self.far = near, far
        self.near_address, self.far_address = "10.77.0.1", "10.77.0.2"
        self._dropping: set[str] = set()

    def drop(self, *, there: bool = True, back: bool = True) -> None:
        """No packet arrives any more, and nobody is told: `there` is from near to far."""
        for host, wanted in ((self.far, there), (self.near, back)):
            if wanted:
                subprocess.run(["ip", "netns", "exec", host, "nft", "-f", "-"], input=DROPS.encode(), check=True)
                self._dropping.add(host)

    def heal(self) -> None:
        for host in self._dropping:
            _in(host, "nft", "delete", "table", "inet", "cut")
        self._dropping.clear()

    def reset_all(self) -> None:
        """Every connection between the two is reset, at both its ends; the hosts stay joined."""
        for host, address in ((self.near, self.far_address), (self.far, self.near_address)):
            _in(host, "ss", "-K", "dst", address)

    def unplug(self) -> None:
        """The far host sees its device go down."""
        ip("-n", self.far, "link", "set", "cable", "down")

    def plug(self) -> None:
        ip("-n", self.far, "link", "set", "cable", "up")

    def move(self, address: str) -> None:
        """The far host has another address from now on; nothing tells the near one."""
        ip("-n", self.far, "addr", "del", f"{self.far_address}/24", "dev", "cable")
        ip("-n", self.far, "addr", "add", f"{address}/24", "dev", "cable")
        self.far_address = address


def _in(host: str, *words: str) -> None:
    subprocess.run(["ip", "netns", "exec", host, *words], check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def two_hosts() -> Iterator[Cable]:
    """The calling thread is at the near one meanwhile, and so is what it starts and connects."""
    with hosts("n", "f") as (near, far):
        cable = Cable(near, far)
        ip("link", "add", "cable", "netns", near, "type", "veth", "peer", "name", "cable", "netns", far)
        for host, address in ((near, cable.near_address), (far, cable.far_address)):
            ip("-n", host, "addr", "add", f"{address}/24", "dev", "cable")
            ip("-n", host, "link", "set", "cable", "up")
        with inside(near):
            yield cable
