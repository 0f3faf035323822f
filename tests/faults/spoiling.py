"""Spoils messages, requests and lines in many ways, the same for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack

TRAFFIC = Path(__file__).parent.parent / "own_traffic"
ODD: tuple[Any, ...] = (
    *(0, 1, -1, 7, 2**31, 2**63, -(2**63), 1.5, float("nan"), float("inf"), None, True, False),
    *("", "x", "x" * 3000, "\0", "../..", "/", "a b", "%2F", "ü\u202e", "RUNNING", "CLOSED", "http", "0" * 32),
    *(b"", b"\xff\xfe", b"x" * 3000, [], [[[[]]]], [None] * 50, {}, {"": {}}, {"a": [1, {"b": None}]}, {1: 2}),
)
PIECES = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"%00", b"0\r\n\r\n", b"\r\n\r\n", b"\xff", b"x" * 5000),
    *(
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(b"Upgrade: websocket\r\n", b"Host: x\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"ffffffffffffffff\r\n"),
)


def said(sender: str) -> list[bytes]:
    """The messages of one side (`router` or `agent`) of ours, its handshake first, as they were recorded."""
    lines = [json.loads(line) for line in (TRAFFIC / "agent_dials_0.1.0.jsonl").read_text().splitlines()]
    return [bytes.fromhex(line["hex"]) for line in lines if line.get("from") == sender]


class Spoiler:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def message(self, message: bytes) -> bytes:
        """Mostly one that can be decoded, and says something strange."""
        if self.chance.random() < 0.1:
            return self.octets(message)
        fields = msgpack.unpackb(message, raw=False, strict_map_key=False)
        if fields[0] == 7 and isinstance(fields[2], bytes) and self.chance.random() < 0.8:
            fields[2] = msgpack.packb(self.value(msgpack.unpackb(fields[2], raw=False, strict_map_key=False)))
        else:
            first = 0 if self.chance.random() < 0.1 else 2  # of kind and id, which few are wrong in
            fields = [*fields[:first], *self.value(list(fields[first:]) or [None])]
        return bytes(msgpack.packb(fields))

    def value(self, value: Any) -> Any:
        """With something in it that is another thing, is missing, or is there twice."""
        keys: Sequence[Any] = (
            list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        )
        if not keys:
            return self.chance.choice(ODD)
        key = self.chance.choice(keys)
        made = value.copy()
        way = self.chance.random()
        if way < 0.08:
            del made[key]
        elif way < 0.12 and isinstance(made, list):
            made.insert(key, self.chance.choice(ODD))
        elif way < 0.16 and isinstance(made, dict):
            made["new"] = self.chance.choice(ODD)
        elif way < 0.4:
            made[key] = self.chance.choice(ODD)
        elif isinstance(made[key], dict | list):
            made[key] = self.value(made[key])
        else:
            made[key] = self.chance.choice(ODD)
        return made

    def octets(self, data: bytes) -> bytes:
        """A few bytes of it are others, are missing, or are there twice."""
        made = bytearray(data)
        for _ in range(self.chance.randint(1, 3)):
            at = self.chance.randrange(len(made) + 1)
            match self.chance.randrange(5):
                case 0 if made:
                    made[at % len(made)] = self.chance.randrange(256)
                case 1:
                    del made[at : at + self.chance.randint(1, 20)]
                case 2:
                    made[at:at] = self.chance.choice(PIECES)
                case 3:
                    made[at:at] = made[max(0, at - self.chance.randint(1, 40)) : at]
                case _:
                    made = made[:at] if self.chance.random() < 0.3 else made
        return bytes(made)
