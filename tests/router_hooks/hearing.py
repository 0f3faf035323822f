"""A plugin that writes down what it is told, one JSON document a line, and a reader for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prouter.testing import eventually

LISTENER = """
import dataclasses, json, pathlib
from prouter import hookimpl

HEARD = pathlib.Path(__file__).with_suffix(".heard")

def write(hook, **told):
    with HEARD.open("a") as file:
        file.write(json.dumps({"hook": hook, **told}) + "\\n")

class Listener:
    @hookimpl
    def prouter_proxy_finished(self, finished):
        told = dataclasses.asdict(finished)
        told.pop("target")
        target = finished.target
        write("finished", id=target.request_id, job=target.ref.job, rest=target.rest, port=target.peer.port, **told)

    @hookimpl
    def prouter_proxy_activity(self, agent, record, activity):
        write("activity", agent=agent.uid, job=record.uid, **dataclasses.asdict(activity))

    @hookimpl
    def prouter_audit(self, event):
        told = dataclasses.asdict(event)
        told["decisions"] = [decision.shown() for decision in event.decisions]
        write("audit", id=told.pop("request_id"), **told)

    @hookimpl
    def prouter_handle_exception(self, error, about):
        frames, traceback = [], error.__traceback__
        while traceback is not None:
            frames.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next
        write("exception", error=repr(error), about=about, frames=frames)
"""


class Heard:
    """What one router's listener was told."""

    def __init__(self, place: Path, *hooks: str) -> None:
        """Of the hooks, by the last part of their names, or of all."""
        self.plugin = place / "listener.py"
        text = LISTENER
        for hook in ("proxy_finished", "proxy_activity", "audit", "handle_exception"):
            if hooks and hook not in hooks:
                text = text.replace(f"    @hookimpl\n    def prouter_{hook}(", f"    def not_{hook}(")
        self.plugin.write_text(text)

    def all(self, hook: str, **fields: Any) -> list[dict[str, Any]]:
        file = self.plugin.with_suffix(".heard")
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        told = [json.loads(line) for line in lines]
        wanted = {"hook": hook, **fields}
        return [one for one in told if all(one.get(name) == value for name, value in wanted.items())]

    async def one(self, hook: str, **fields: Any) -> dict[str, Any]:
        """Once it is told; and it is told once."""
        await eventually(lambda: self.all(hook, **fields), what=f"{hook} {fields}")
        (told,) = self.all(hook, **fields)
        return told

    async def some(self, hook: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first that fits."""
        await eventually(lambda: [one for one in self.all(hook) if fits(one)], what=hook)
        return next(one for one in self.all(hook) if fits(one))

    @property
    def text(self) -> str:
        file = self.plugin.with_suffix(".heard")
        return file.read_text() if file.exists() else ""
