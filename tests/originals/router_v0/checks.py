"""What an original agent's answers look like. Whatever differs is a line `VIOLATION ...`, and the router goes on."""

from __future__ import annotations

import re
from typing import Any

from prpc_v0.messages import violation

UID = re.compile("[0-9a-f]{32}")
STATES = ("NEW", "PENDING", "RUNNING", "FINISHED", "CLOSED")
PLATFORM = {"system", "node", "release", "version", "machine", "processor"}
LARGEST_CHUNK_BYTES = 65536


def expect(right: bool, what: str, found: Any) -> None:
    if not right:
        violation(f"{what}: {found!r:.200}")


def is_text_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(part, str) for pair in value.items() for part in pair)


def hello(peer: dict[str, Any]) -> None:
    """User data of an agent; keys beside these three are ignored."""
    platform = peer.get("platform")
    expect(is_text_map(platform) and set(platform or ()) == PLATFORM, "platform has six texts", platform)
    expect(is_text_map(peer.get("properties")), "properties are texts by name", peer.get("properties"))
    auth = peer["auth"]
    expect(set(auth) <= {"uid", "name", "token"}, "auth has uid, name and token", sorted(auth))


def job_info(info: Any) -> dict[str, Any]:
    expect(isinstance(info, dict) and set(info) == {"uid", "name", "state", "sender"}, "job info has four keys", info)
    expect(bool(UID.fullmatch(str(info.get("uid")))), "a job's uid has 32 hex digits", info)
    expect(isinstance(info.get("name"), str), "a job's name is a text", info)
    expect(info.get("state") in STATES, "no such state", info)
    sender = info.get("sender")
    expect(isinstance(sender, dict) and set(sender) == {"direction", "uid", "name"}, "a sender has three keys", sender)
    expect(sender.get("direction") in ("SERVER", "CLIENT"), "no such direction", sender)
    return dict(info)


def count(value: Any) -> int:
    expect(type(value) is int, "a count is a number", value)
    return int(value)


def status(value: Any) -> int:
    expect(type(value) is int and 200 <= value < 600, "a status of HTTP comes first", value)
    return int(value)


def pairs(value: Any) -> list[tuple[str, str]]:
    def is_pair(each: Any) -> bool:
        return isinstance(each, list) and [type(part) for part in each] == [str, str]

    expect(isinstance(value, list) and all(map(is_pair, value)), "headers are pairs of texts", value)
    return [(name, content) for name, content in value]


def chunk(value: Any, largest_bytes: int | None = None) -> bytes:
    right = isinstance(value, bytes) and value and (largest_bytes is None or len(value) <= largest_bytes)
    expect(bool(right), f"a chunk is bytes, some, at most {largest_bytes}", value)
    return bytes(value)


def size(value: Any) -> int:
    right = isinstance(value, dict) and set(value) == {"size"} and type(value["size"]) is int
    expect(right, "a download begins with its size", value)
    return int(value["size"])


def nothing(value: Any) -> None:
    expect(value is None, "the result is nil", value)
