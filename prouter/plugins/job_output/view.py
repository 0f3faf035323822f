"""What a request asks for, and how pieces of output look on their way: as bytes, or as Server-Sent Events."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prouter.errors import InvalidRequest
from prouter.model.frames import frame
from prouter.model.http import RequestHead
from prouter.model.jobs import JobRecord
from prouter.model.output import OutputPiece, OutputStream
from prouter.model.query import switch

MAX_DIGITS = 18
QUIET = b": quiet\n\n"


@dataclass(frozen=True, slots=True)
class View:
    """A request, understood."""

    stream: OutputStream | None
    follow: bool
    offset: int | None
    tail: int | None
    events: bool

    @classmethod
    def of(cls, head: RequestHead, query: Mapping[str, str]) -> View:
        """Raises InvalidRequest. A Last-Event-ID wins: a browser that comes back asks for the same URL."""
        stream = query.get("stream")
        if stream is not None and stream not in list(OutputStream):
            raise InvalidRequest("Invalid request: `stream` is stdout or stderr; without it, both are sent in order")
        offset, tail = _number(query, "offset"), _number(query, "tail")
        if offset is not None and tail is not None:
            raise InvalidRequest("Invalid request: give either `offset` or `tail`, not both")
        events = _takes_events(head)
        last = head.get("last-event-id") if events else None
        if last:
            offset, tail = _number({"Last-Event-ID": last}, "Last-Event-ID"), None
        follow = switch(query, "follow")
        return cls(OutputStream(stream) if stream else None, follow, offset, tail, events)


class PlainText:
    """Pieces as bytes. Where something is missing stands a line that says so."""

    def __init__(self) -> None:
        self._line_begun = False

    def encode(self, pieces: Sequence[OutputPiece]) -> bytes:
        parts = []
        for piece in pieces:
            data = piece.data
            if piece.stream is None:
                data = b"\n" * self._line_begun + b"[%d bytes were dropped here]\n" % piece.dropped_bytes
            self._line_begun = not data.endswith(b"\n")
            parts.append(data)
        return b"".join(parts)

    def end(self, record: JobRecord | None) -> bytes:
        return b""


class EventStream:
    """Pieces as events, each with the offset behind it as its id."""

    def encode(self, pieces: Sequence[OutputPiece]) -> bytes:
        return b"".join(map(_event, _joined(pieces))) or QUIET

    def end(self, record: JobRecord | None) -> bytes:
        """Once a job has ended, so that a browser knows that there is nothing to come back for. None: nobody knows how
        the run that was followed ended."""
        if record is None or not record.ended:
            return b""
        reason = record.reason.value if record.reason else None
        return _format("end", {"state": record.state.value, "exit_code": record.exit_code, "reason": reason})


class Framed:
    """Either form for a router, which is told how far it has come (model/frames.py)."""

    def __init__(self, form: EventStream | PlainText, start: int, *, tells_last: bool) -> None:
        self._form = form
        self._place = start
        self._tells_last = tells_last

    def encode(self, pieces: Sequence[OutputPiece]) -> bytes:
        data = self._form.encode(pieces)
        self._place = pieces[-1].after if pieces else self._place
        return frame(self._place, data) if data or pieces else b""

    def end(self, record: JobRecord | None) -> bytes:
        data = self._form.end(record)
        return frame(self._place, data, last=self._tells_last) if data or self._tells_last else b""


def _event(piece: OutputPiece) -> bytes:
    data: dict[str, Any] = {"offset": piece.offset}
    if piece.stream is None:
        return _format("gap", data | {"dropped_bytes": piece.dropped_bytes}, piece.after)
    try:
        data["text"] = piece.data.decode("utf-8")
    except UnicodeDecodeError:
        data["base64"] = base64.b64encode(piece.data).decode("ascii")
    return _format(piece.stream.value, data, piece.after)


def _format(kind: str, data: Mapping[str, Any], number: int | None = None) -> bytes:
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return (f"id: {number}\n" if number is not None else "").encode() + f"event: {kind}\ndata: {text}\n\n".encode()


def _joined(pieces: Sequence[OutputPiece]) -> list[OutputPiece]:
    """Neighbours of one stream as one: a program that writes byte by byte is not an event a byte."""
    runs: list[list[OutputPiece]] = []
    for piece in pieces:
        if runs and piece.stream is not None and runs[-1][0].stream is piece.stream:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return [
        OutputPiece(run[0].offset, run[0].stream, b"".join(p.data for p in run), run[0].dropped_bytes) for run in runs
    ]


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise InvalidRequest(f"Invalid request: {name}={text!r} is no number from 0 on")
    return int(text)


def _takes_events(head: RequestHead) -> bool:
    ranges = ",".join(head.all("accept")).split(",")
    return any(part.partition(";")[0].strip().lower() == "text/event-stream" for part in ranges)
