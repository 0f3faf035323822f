"""Keepers and guardians that kill themselves, or each other, at a chosen point between any two of their system calls.

The interpreter tells a hook of each file that is opened or renamed, each fork and each exec: those are the points. The
keeper runs from a copy of its own modules that ends with such a hook; a file says who dies at which point.

Belongs here: the copy, the hook, and what a test says to them. Does not: what must hold then.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from prouter import hookimpl
from prouter.agent.guard import client
from prouter.testing import eventually

HOME = "STUMBLING_HOME"
HOOK = '''

# What follows belongs to a test.
class _Stumbling:
    def __init__(self, home):
        self.home, self.keeper, self.agent = home, os.getpid(), os.getppid()
        self.depth = self.count = 0
        self.plan, self.busy, self.points = {}, False, []
        os.register_at_fork(after_in_child=self.forked)
        import sys
        sys.addaudithook(self.heard)

    def forked(self):
        """One more: the guardian is the first, the main process before its exec the second."""
        self.depth, self.count = self.depth + 1, 0
        if self.depth == 1:
            self.busy = True
            with contextlib.suppress(OSError, ValueError), open(self.home + "/plan.json") as file:
                self.plan = json.load(file)
            self.busy = False

    def heard(self, event, args):
        if self.busy or not self.depth or not event.startswith(("os.", "open")):
            return
        self.busy = True
        role = "guardian" if self.depth == 1 else "main"
        if self.plan.get("listen") == role:
            with open(self.home + "/points", "a") as file:
                file.write(json.dumps([event, str(args[0]) if args else ""]) + chr(10))
        if self.plan.get("role") == role and self.plan.get("at") == self.count:
            guardian = os.getpid() if self.depth == 1 else os.getppid()
            pids = {"keeper": self.keeper, "agent": self.agent, "guardian": guardian}
            with contextlib.suppress(OSError):
                os.rename(self.home + "/plan.json", self.home + "/done.json")
            for who in self.plan["kill"]:
                os.kill(pids[who], self.plan.get("signal", signal.SIGKILL))
        self.count += 1
        self.busy = False


_Stumbling(HOME)
'''


class FromACopy:
    """For `fleet.agent(plugins=[...], environ={HOME: ...})`: its keepers run from the directory that HOME names, while
    it is there."""

    def __init__(self) -> None:
        home = Path(os.environ[HOME])
        if home.is_dir():
            client.HOME = home

    @hookimpl
    def prouter_startup(self) -> None: ...


class Stumbling:
    """`home` is what the agent's environment has as HOME."""

    def __init__(self, place: Path) -> None:
        self.home = place / "held-home"
        held = self.home / "held"
        shutil.copytree(Path(client.__file__).parent / "held", held, ignore=shutil.ignore_patterns("__pycache__"))
        keeper = held / "keeper.py"
        keeper.write_text(keeper.read_text() + HOOK.replace("HOME", repr(str(self.home))))

    @property
    def environ(self) -> dict[str, str]:
        return {HOME: str(self.home)}

    def plan(self, **plan: Any) -> None:
        """For guardians that are forked from now on: `listen` (a role), or `role`, `at` and `kill`."""
        (self.home / "done.json").unlink(missing_ok=True)
        fresh = self.home / "plan.new"
        fresh.write_text(json.dumps(plan))
        fresh.replace(self.home / "plan.json")

    async def happened(self, point: str) -> None:
        await eventually((self.home / "done.json").exists, what=f"somebody's death at {point}")

    def points(self) -> list[tuple[str, str]]:
        """What the role that was listened to did, in order."""
        lines = (self.home / "points").read_text().splitlines()
        (self.home / "points").unlink()
        return [tuple(json.loads(line)) for line in lines]
