"""The recordings of two originals, read without the code under test: msgpack alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

GOLDEN = Path(__file__).parent.parent / "golden"
SCENARIOS = sorted(path.stem for path in GOLDEN.glob("*.jsonl"))
SIDES = ("agent", "router")


@dataclass(frozen=True)
class Recorded:
    """One message: who sent it, its bytes, and what they say."""

    sender: str
    data: bytes
    fields: list[Any]

    @property
    def kind(self) -> int:
        return self.fields[0]

    @property
    def call_id(self) -> int:
        return self.fields[1]

    def result(self) -> Any:
        """Of a 7: the value, which is packed twice."""
        return None if self.fields[2] is None else unpacked(self.fields[2])


@dataclass(frozen=True)
class Recording:
    agent_dials: bool
    messages: list[Recorded]

    @property
    def dialer(self) -> str:
        return "agent" if self.agent_dials else "router"

    def of_call(self, sender: str, call_id: int) -> list[int]:
        """The types of what `sender` sent for a call, in order."""
        return [message.kind for message in self.messages if (message.sender, message.call_id) == (sender, call_id)]

    def calls(self) -> list[Recorded]:
        return [message for message in self.messages if message.kind == 2]


def unpacked(data: bytes) -> Any:
    return msgpack.unpackb(data, raw=False)


def read(scenario: str) -> Recording:
    return read_file(GOLDEN / f"{scenario}.jsonl")


def read_file(path: Path) -> Recording:
    head, *lines = map(json.loads, path.read_text("utf-8").splitlines())
    messages = [
        Recorded(line["from"], data, unpacked(data)) for line in lines for data in (bytes.fromhex(line["hex"]),)
    ]
    return Recording(head["mode"] == "agent dials", messages)
