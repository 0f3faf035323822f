"""The nine messages of pRpc v1 as values, and their bytes.

Belongs here: shapes, encoding, decoding, and the bounds that are checked before msgpack decodes anything. Does not:
what may come when (machine.py). `decode` trusts nothing and raises only `RemoteProtocolError`; `encode` raises for
what the caller gave it.

A message is a msgpack array whose first element is the type, see `KINDS`. A successful result is packed twice: a bin
that holds the msgpack of the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from prouter.errors import InvalidRequest, LocalProtocolError, RemoteProtocolError, TooLarge
from prouter.rpc.limits import Limits
from prouter.rpc.msgpack_scan import count_elements

PROTOCOL_VERSION = 1
MAX_ID = 2**64 - 1

UNICODE_ERRORS = "surrogateescape"
"""Names and values of an environment can be any bytes; Python writes those that are no UTF-8 as surrogates."""

ELEMENT_COST_BYTES = 80
"""What a decoded element costs in Python at least (an empty dict has 64 bytes, and a place in its list)."""


class CallType(IntEnum):
    """Who sends a stream: nobody, the callee (a download), the caller (an upload), both."""

    UNARY = 20
    ISTREAM = 30
    OSTREAM = 40
    BISTREAM = 50

    @property
    def caller_streams(self) -> bool:
        return self in (CallType.OSTREAM, CallType.BISTREAM)

    @property
    def callee_streams(self) -> bool:
        return self in (CallType.ISTREAM, CallType.BISTREAM)


class Status(IntEnum):
    SUCCESS = 0
    METHOD_RAISED = 10
    NO_METHOD = 20
    SERVER_ERROR = 30


class ErrorInfo(NamedTuple):
    """Why a call failed. An original always sends four strings; a peer may leave out the last three."""

    message: str
    cause: str | None = None
    cause_message: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Hello:
    """1, by the connecting side: [version, nil, user_data]."""

    call_id: int
    user_data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Welcome:
    """6, by the accepting side; `call_id` echoes that of the Hello. `connection_id` is 32 hex digits."""

    call_id: int
    connection_id: str
    user_data: Mapping[str, Any]
    status: Status = Status.SUCCESS
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """2, by the caller."""

    call_id: int
    call_type: CallType
    method: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cancel:
    """3, by the caller: no result is wanted, none comes."""

    call_id: int


@dataclass(frozen=True, slots=True)
class CallerData:
    """4, one value of the caller's stream: anything but nil."""

    call_id: int
    data: Any


@dataclass(frozen=True, slots=True)
class CallerClose:
    """5, the caller's stream is complete."""

    call_id: int


@dataclass(frozen=True, slots=True)
class Result:
    """7, by the callee, the last message of a call. `value` is what was packed twice; None on failure."""

    call_id: int
    value: Any
    status: Status = Status.SUCCESS
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class CalleeData:
    """8, one value of the callee's stream: anything but nil."""

    call_id: int
    data: Any


@dataclass(frozen=True, slots=True)
class CalleeClose:
    """9, the callee's stream is complete; the result follows."""

    call_id: int


Message = Hello | Welcome | Start | Cancel | CallerData | CallerClose | Result | CalleeData | CalleeClose

HANDSHAKE_KINDS = frozenset({1, 6})


class Decoded(NamedTuple):
    """A message, and what it costs to keep it decoded."""

    message: Message
    cost_bytes: int


def kind_of(data: bytes) -> int:
    """The type of a message, from its first two bytes. Raises `RemoteProtocolError` when it is none."""
    if len(data) < 3 or not 0x92 <= data[0] <= 0x96 or data[1] not in _DECODERS:
        raise RemoteProtocolError("this is no pRpc message")
    return data[1]


def decode(data: bytes, limits: Limits) -> Decoded:
    """The message in `data`, which may hold anything. Raises `RemoteProtocolError`."""
    kind = kind_of(data)
    max_bytes, max_elements, decoder, length = _DECODERS[kind]
    if len(data) > max_bytes(limits):
        raise RemoteProtocolError(f"a message of type {kind} has {len(data)} bytes, at most {max_bytes(limits)}")
    # The array itself counts, and its own fields. Those of a result are inside a bin, counted when that is unpacked.
    elements = count_elements(data, 1 + length + max_elements(limits))
    fields = _unpack(data)
    if len(fields) != length:
        raise RemoteProtocolError(f"a message of type {kind} has {len(fields)} elements instead of {length}")
    call_id = fields[1]
    if type(call_id) is not int or not 0 <= call_id <= MAX_ID:
        raise RemoteProtocolError("a message has no valid id")
    if kind == 7:
        value, inner_elements = _unpack_result(fields[2], max_elements(limits))
        fields[2] = value
        elements += inner_elements
    return Decoded(decoder(call_id, fields), len(data) + ELEMENT_COST_BYTES * elements)


def _unpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=True, unicode_errors=UNICODE_ERRORS)
    # What msgpack raises is not one tree: StackError, FormatError and ExtraData are ValueErrors, others are not.
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise RemoteProtocolError(f"a message can not be decoded: {type(error).__name__}") from error


def _unpack_result(packed: object, max_elements: int) -> tuple[Any, int]:
    if packed is None:
        return None, 0
    if not isinstance(packed, bytes):
        raise RemoteProtocolError("a result is not packed")
    elements = count_elements(packed, max_elements)
    return _unpack(packed), elements


def _hello(call_id: int, fields: list[Any]) -> Hello:
    match fields[2]:
        case [int(version), _, dict(user_data)]:
            _require(version == PROTOCOL_VERSION, "a handshake is for another protocol version")
            return Hello(call_id, user_data)
    raise RemoteProtocolError("a handshake has not the form it should have")


def _welcome(call_id: int, fields: list[Any]) -> Welcome:
    status, error = _outcome(fields[3], fields[4])
    match fields[2]:
        case [int(version), str(connection_id), dict(user_data)]:
            _require(version == PROTOCOL_VERSION, "a handshake is for another protocol version")
            return Welcome(call_id, connection_id, user_data, status, error)
    _require(status != Status.SUCCESS, "a handshake has not the form it should have")
    return Welcome(call_id, "", {}, status, error)


def _start(call_id: int, fields: list[Any]) -> Start:
    _, _, call_type, method, args, kwargs = fields
    _require(type(call_type) is int and call_type in CallType.__members__.values(), "a call has no valid type")
    _require(isinstance(method, str) and isinstance(args, list) and isinstance(kwargs, dict), "a call has no arguments")
    _require(all(isinstance(name, str) for name in kwargs), "an argument's name is no string")
    return Start(call_id, CallType(call_type), method, args, kwargs)


def _result(call_id: int, fields: list[Any]) -> Result:
    status, error = _outcome(fields[3], fields[4])
    return Result(call_id, fields[2], status, error)


def _outcome(status: object, error: object) -> tuple[Status, ErrorInfo | None]:
    _require(type(status) is int and status in Status.__members__.values(), "a result has no valid status")
    assert isinstance(status, int)
    if error is None:
        return Status(status), None
    if isinstance(error, list) and 1 <= len(error) <= 4 and isinstance(error[0], str):
        rest: list[Any] = error[1:]
        if all(isinstance(part, str | None) for part in rest):
            return Status(status), ErrorInfo(error[0], *rest)
    raise RemoteProtocolError("an error has not the form it should have")


def _data(of: type[CallerData] | type[CalleeData]) -> Callable[[int, list[Any]], CallerData | CalleeData]:
    def decode_data(call_id: int, fields: list[Any]) -> CallerData | CalleeData:
        _require(fields[2] is not None, "a stream holds a nil")
        return of(call_id, fields[2])

    return decode_data


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RemoteProtocolError(otherwise)


class _Decoder(NamedTuple):
    max_bytes: Callable[[Limits], int]
    max_elements: Callable[[Limits], int]
    make: Callable[[int, list[Any]], Message]
    length: int


def _control(of: type[Cancel] | type[CallerClose] | type[CalleeClose]) -> _Decoder:
    return _Decoder(lambda limits: limits.control_bytes, lambda limits: 0, lambda call_id, _: of(call_id), 2)


_DECODERS = {
    1: _Decoder(lambda limits: limits.handshake_bytes, lambda limits: limits.handshake_elements, _hello, 3),
    2: _Decoder(lambda limits: limits.call_bytes, lambda limits: limits.elements, _start, 6),
    3: _control(Cancel),
    4: _Decoder(lambda limits: limits.stream_bytes, lambda limits: limits.elements, _data(CallerData), 3),
    5: _control(CallerClose),
    6: _Decoder(lambda limits: limits.handshake_bytes, lambda limits: limits.handshake_elements, _welcome, 5),
    7: _Decoder(lambda limits: limits.result_bytes, lambda limits: limits.elements, _result, 5),
    8: _Decoder(lambda limits: limits.stream_bytes, lambda limits: limits.elements, _data(CalleeData), 3),
    9: _control(CalleeClose),
}


def _fields(message: Message, unicode_errors: str) -> list[Any]:
    match message:
        case Hello(call_id, user_data):
            return [1, call_id, [PROTOCOL_VERSION, None, user_data]]
        case Start(call_id, call_type, method, args, kwargs):
            return [2, call_id, int(call_type), method, args, kwargs]
        case Cancel(call_id):
            return [3, call_id]
        case CallerData(call_id, data):
            return [4, call_id, data]
        case CallerClose(call_id):
            return [5, call_id]
        case Welcome(call_id, connection_id, user_data, status, error):
            return [6, call_id, [PROTOCOL_VERSION, connection_id, user_data], int(status), error]
        case Result(call_id, value, status, error):
            packed = _pack(value, unicode_errors) if status == Status.SUCCESS else None
            return [7, call_id, packed, int(status), error]
        case CalleeData(call_id, data):
            return [8, call_id, data]
        case CalleeClose(call_id):
            return [9, call_id]


def encode(
    message: Message, max_bytes: int, *, limits: Limits | None = None, unicode_errors: str = UNICODE_ERRORS
) -> bytes:
    """The bytes of a message; `unicode_errors="strict"` for a peer that takes only valid UTF-8, `limits` those of a
    peer that counts elements: more would cost us the whole link, here it costs but this message.

    Raises `TooLarge` over `max_bytes` and `limits`, `InvalidRequest` for a text or number that can not travel (they
    come from users), and `LocalProtocolError` for a nil in a stream or a type that msgpack does not know.
    """
    if isinstance(message, CallerData | CalleeData) and message.data is None:
        raise LocalProtocolError("a stream can not carry None")
    fields = _fields(message, unicode_errors)
    data = _pack(fields, unicode_errors)
    if len(data) > max_bytes:
        raise TooLarge(f"a message of {len(data)} bytes can not be sent over this link, at most {max_bytes}")
    if limits is not None:
        _check_elements(fields, data, limits)
    return data


def _check_elements(fields: list[Any], data: bytes, limits: Limits) -> None:
    """As `decode` counts them. Raises TooLarge."""
    _, max_elements, _, length = _DECODERS[fields[0]]
    allowed = max_elements(limits)
    try:
        count_elements(data, 1 + length + allowed)
        if fields[0] == 7 and fields[2] is not None:
            count_elements(fields[2], allowed)
    except RemoteProtocolError:
        raise TooLarge(
            f"this has more than {allowed} texts, names and values together, which is what a link takes at once"
        ) from None


def _pack(value: Any, unicode_errors: str) -> bytes:
    try:
        return bytes(msgpack.packb(value, use_bin_type=True, unicode_errors=unicode_errors))
    except UnicodeEncodeError as error:
        raise InvalidRequest("a text holds a surrogate, which can not be sent to this agent") from error
    except (OverflowError, ValueError) as error:
        raise InvalidRequest("a number is too large, or a value is nested too deeply, to be sent") from error
    except TypeError as error:
        raise LocalProtocolError(f"a value can not be sent: {error}") from error
