"""Counting what a msgpack text holds before anything is decoded.

Belongs here: the scan. Does not: what the elements mean (messages.py, its only caller). It allocates nothing and ends
at the first element over the limit, so a bomb costs no more than `limit` turns of one loop.
"""

from __future__ import annotations

from prouter.errors import RemoteProtocolError

# What follows each first byte (msgpack specification, "Formats"): bytes to skip, or how many bytes hold a length.
_SKIP = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4}
_SKIP[0xD3] = 8
_TEXT_LENGTH = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAY_LENGTH = {0xDC: 2, 0xDD: 4}
_MAP_LENGTH = {0xDE: 2, 0xDF: 4}


def count_elements(data: bytes, limit: int) -> int:
    """How many elements the one value in `data` has, itself and both halves of map pairs included.

    Raises `RemoteProtocolError` when there are more than `limit`, when the value is cut off or followed by anything,
    and for extension types, which nobody sends.
    """
    size = len(data)
    position = 0
    wanted = counted = 1
    while wanted:
        wanted -= 1
        if position >= size:
            raise RemoteProtocolError("a message is cut off")
        code = data[position]
        position += 1
        if code < 0x80 or code >= 0xE0:
            continue
        if code >= 0xA0:
            inner, position = _sized(data, position, code)
        else:
            inner = code & 0x0F if code >= 0x90 else 2 * (code & 0x0F)
        if inner:
            wanted += inner
            counted += inner
            if counted > limit:
                raise RemoteProtocolError(f"a message has more than {limit} elements")
    if position != size:
        raise RemoteProtocolError("a message is cut off or followed by something")
    return counted


def _sized(data: bytes, position: int, code: int) -> tuple[int, int]:
    """Elements inside and the position behind the head (behind the whole, for what has none inside)."""
    if code < 0xC0:
        return 0, position + (code & 0x1F)
    if code in _SKIP:
        return 0, position + _SKIP[code]
    if code in _TEXT_LENGTH:
        width = _TEXT_LENGTH[code]
        return 0, position + width + int.from_bytes(data[position : position + width], "big")
    if code in _ARRAY_LENGTH:
        width = _ARRAY_LENGTH[code]
        return int.from_bytes(data[position : position + width], "big"), position + width
    if code in _MAP_LENGTH:
        width = _MAP_LENGTH[code]
        return 2 * int.from_bytes(data[position : position + width], "big"), position + width
    raise RemoteProtocolError(f"a message has a msgpack type that is not used here (0x{code:02x})")
