"""Jobs that outlived their agent (`jobs.survive_agent`) end with the test."""

from __future__ import annotations

import sys
import time
from pathlib import Path

KEEPER_SECONDS = 5.0


def end_survivors(jobs: Path) -> None:
    """Their guardians are gone and all below them, their cgroups, and keepers that stayed with them. `jobs`: where they
    lie."""
    if sys.platform != "linux" or not jobs.is_dir():
        return
    from prouter.agent.guard import sweep
    from prouter.agent.guard.held import cgroup, trees

    keepers: dict[int, int] = {}
    for directory in jobs.iterdir():
        try:
            held = sweep.described(directory)
        except OSError:
            continue
        if sweep.guardian_lives(held):
            guardian = held["guardian"]
            fields = trees.stat_fields(guardian["pid"])
            if held.get("survives") and len(fields) > 1 and int(fields[1]) > 1:
                keepers[int(fields[1])] = trees.start_time(int(fields[1]))
            trees.end_guardian(guardian["pid"], guardian["start"])
            for group in filter(None, (held.get("cgroup"), *held.get("controllers", ()))):
                cgroup.remove(group)
    until = time.monotonic() + KEEPER_SECONDS
    for pid, start in keepers.items():
        while trees.start_time(pid) == start and not trees.is_dead(pid) and time.monotonic() < until:
            time.sleep(0.01)
