"""What waits for a slow client of an original: in order, and no more on the disk than is counted."""

from __future__ import annotations

import os
from pathlib import Path

from prouter.core.agents.originals.spill import Spill, SpillLimits
from prouter.rpc.streams import Budget

KIB = 1024


def _on_disk(directory: Path) -> int:
    """Bytes of open files without a name there."""
    sizes = []
    for number in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{number}").startswith(str(directory)):
                sizes.append(os.stat(f"/proc/self/fd/{number}").st_size)
        except FileNotFoundError:
            continue
    return sum(sizes)


async def test_a_file_that_was_read_through_takes_no_room(tmp_path: Path) -> None:
    budget = Budget(1024 * KIB)
    spill = Spill(SpillLimits(4 * KIB, 1024 * KIB, budget, str(tmp_path)))
    for _ in range(2):
        values = [bytes([number]) * 10 * KIB for number in range(20)]
        await spill.put(values)
        assert _on_disk(tmp_path) == budget.held_bytes > 150 * KIB
        assert [await spill.receive() for _ in values] == values
        assert _on_disk(tmp_path) == budget.held_bytes == 0
    await spill.close()
