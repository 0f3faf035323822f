"""Recorded messages without what differs from run to run, in a form that can be compared: what each side said, by call.

The order between the two sides is not compared: their messages cross on the wire.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from recordings import Recorded

UID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
PORT = re.compile(r"127\.0\.0\.1:\d+")
SANDBOXES = re.compile(r"'[^']*/pagent-[^/']+/")
COUNTING = "job_count_current_connection"
CUT_AS_READ = ("http_request", "file_upload", "archive_upload")
"""Calls whose bodies are cut into chunks as they were read."""


@dataclass
class Call:
    """One call: what the router said of it, and what the agent said."""

    method: str
    router: list[Any] = field(default_factory=list)
    agent: list[Any] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return bool(self.agent) and self.agent[-1][0] == 7 and self.agent[-1][2] != 0


@dataclass
class Story:
    """A whole link. `counts` are the answers to the router's questions for the number of jobs, kept apart."""

    hello: list[Any] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


def story(messages: Sequence[Recorded]) -> Story:
    named = Names()
    told, calls = Story(), dict[int, Call]()
    for message in messages:
        if message.kind in (1, 6):
            told.hello.append(named.clean([message.kind, _hello(message.fields)]))
            continue
        if message.kind == 2:
            calls[message.call_id] = Call(message.fields[3])
        call = calls[message.call_id]
        side = call.router if message.sender == "router" else call.agent
        said = named.clean([message.kind, *_said(message)])
        if not _joins(call.method, side, said):
            side.append(said)
    for call in calls.values():
        if call.method == COUNTING:
            told.counts.append(call.agent[-1][1])
        else:
            told.calls.append(_settled(call))
    return told


class Names:
    """Uids are named in the order in which they come; texts lose ports and the sandboxes' place."""

    def __init__(self) -> None:
        self._uids: dict[str, str] = {}

    def clean(self, value: Any) -> Any:
        if isinstance(value, str):
            text = UID.sub(lambda found: self._uids.setdefault(found[0], f"UID-{len(self._uids)}"), value)
            return SANDBOXES.sub("'SANDBOXES/", PORT.sub("127.0.0.1:PORT", text))
        if isinstance(value, list):
            return [self.clean(each) for each in value]
        if isinstance(value, dict):
            return {self.clean(key): self.clean(each) for key, each in value.items()}
        return value


def _hello(fields: list[Any]) -> list[Any]:
    """Without the id, which goes on over links, and with the names of platform facts alone."""
    version, connection_id, user_data = fields[2]
    return [version, connection_id, user_data | {"platform": sorted(user_data["platform"])}, *fields[3:]]


def _said(message: Recorded) -> list[Any]:
    fields = message.fields
    if message.kind == 2:
        _, _, call_type, method, args, kwargs = fields
        if method == "ws_connect":
            args = [*args[:3], sorted([name, "" if name == "Sec-WebSocket-Key" else value] for name, value in args[3])]
        return [call_type, method, args, kwargs]
    if message.kind == 7:
        error = fields[4]
        if error is not None:
            error = [*error[:3], bool(error[3])]
        return [message.result(), fields[3], error]
    return fields[2:]


def _joins(method: str, side: list[Any], said: list[Any]) -> bool:
    """Whether it was added to the chunk before it."""
    if method not in CUT_AS_READ or not side or side[-1][0] != said[0] or said[0] not in (4, 8):
        return False
    before, now = side[-1][1], said[1]
    if not (isinstance(before, bytes) and isinstance(now, bytes) and before and now):
        return False
    side[-1] = [said[0], before + now]
    return True


def _settled(call: Call) -> Call:
    if call.method in ("file_upload", "archive_upload") and call.failed:
        # The failure may come before, between or after what the router has to say.
        call.router = call.router[:1]
    if call.method == "archive_download" and not call.failed:
        call.agent = [_tar(call.agent)]
    return call


def _tar(said: list[Any]) -> list[Any]:
    """What is in it, in any order; not its size (who compressed it?), nor when directories were filled."""
    content = b"".join(chunk[1] for chunk in said[1:-1])
    assert said[0] == [8, {"size": len(content)}]
    assert said[-1] == [7, len(content), 0, None]
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return sorted(
            (member.name, member.type, member.mode, member.isfile() and member.mtime, member.size) for member in tar
        )
