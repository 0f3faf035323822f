"""Messages as bytes and back, refused where the original's parser refuses them.

Written from the description of the wire and the recordings alone: an imitation that shared code with prouter.rpc would
share its mistakes. The parser is as strict as the original's (the number of elements counts, their types hardly do);
`oddities` names what an original swallows and still never sends.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import msgpack

HELLO, CALL, CANCEL, TO_CALLEE, CLOSE_TO_CALLEE = 1, 2, 3, 4, 5
WELCOME, RESULT, TO_CALLER, CLOSE_TO_CALLER = 6, 7, 8, 9
ELEMENTS = {HELLO: 3, CALL: 6, CANCEL: 2, TO_CALLEE: 3, CLOSE_TO_CALLEE: 2} | {
    WELCOME: 5,
    RESULT: 5,
    TO_CALLER: 3,
    CLOSE_TO_CALLER: 2,
}
"""How long the array of each type is, the type included."""

UNARY, ISTREAM, OSTREAM, BISTREAM = 20, 30, 40, 50
CALL_TYPES = (UNARY, ISTREAM, OSTREAM, BISTREAM)
SUCCESS, METHOD_RAISED, NO_METHOD, SERVER_ERROR = 0, 10, 20, 30


class ViolationError(Exception):
    """The peer said what ends the link of an original."""


def violation(text: str) -> None:
    """A line that tests look for: the peer did what an original does not expect."""
    print(f"VIOLATION {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Message:
    """One message: its type, the call or handshake that it belongs to, and all elements, the type included."""

    kind: int
    call_id: Any
    fields: list[Any]


def pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, raw=False, strict_map_key=False)


def parse(data: bytes) -> Message:
    """Raises ViolationError for what the original's parser raises on."""
    try:
        fields = unpack(data)
    except ValueError as error:
        raise ViolationError(f"not msgpack: {error!r} in {data[:100]!r}") from error
    if not isinstance(fields, list) or not fields or type(fields[0]) is not int or fields[0] not in ELEMENTS:
        raise ViolationError(f"no message of the protocol: {fields!r:.200}")
    kind = fields[0]
    if len(fields) != ELEMENTS[kind]:
        raise ViolationError(f"{len(fields)} elements where type {kind} has {ELEMENTS[kind]}: {fields!r:.200}")
    handshake = fields[2] if kind in (HELLO, WELCOME) else None
    if kind in (HELLO, WELCOME) and not (isinstance(handshake, list) and len(handshake) == 3):
        raise ViolationError(f"a handshake's data has three elements: {fields!r:.200}")
    failure = fields[4] if kind in (WELCOME, RESULT) else None
    if failure is not None and not (isinstance(failure, list) and len(failure) == 4):
        raise ViolationError(f"an error has four elements: {fields!r:.200}")
    message = Message(kind, fields[1], fields)
    for text in oddities(message):
        violation(f"{text}: {fields!r:.200}")
    return message


def oddities(message: Message) -> list[str]:
    """What no original sends, though one that receives it goes on."""
    fields, found = message.fields, []
    if type(message.call_id) is not int or message.call_id < 1:
        found.append("an id is a number from 1")
    if message.kind == CALL:
        types = [type(each) for each in fields[2:]]
        if types != [int, str, list, dict] or not all(isinstance(name, str) for name in fields[5]):
            found.append("a call has a type, a name, a list and a map")
    if message.kind in (TO_CALLEE, TO_CALLER) and fields[2] is None:
        found.append("data of a stream is never nil")
    if message.kind == RESULT:
        found += _oddities_of_a_result(fields[2], fields[3], fields[4])
    return found


def _oddities_of_a_result(result: Any, status: Any, error: Any) -> list[str]:
    found = []
    if status not in (SUCCESS, METHOD_RAISED, NO_METHOD, SERVER_ERROR):
        found.append("no such status")
    if (status == SUCCESS) != isinstance(result, bytes) or (status != SUCCESS and result is not None):
        found.append("a result is packed twice, and nil on failure")
    if (status == SUCCESS) != (error is None):
        found.append("an error comes with a failure, and only with one")
    if error is not None:
        first, *others = error
        if not isinstance(first, str) or not all(other is None or isinstance(other, str) for other in others):
            found.append("an error is four texts, the last three may be nil")
    return found
