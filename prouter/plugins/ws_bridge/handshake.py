"""A client's websocket handshake on any stream of bytes (RFC 6455 4.1)."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence, Set

from prouter.errors import UpstreamFailed
from prouter.model.services import JobStream

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_HEAD_BYTES = 65536


async def open_websocket(
    stream: JobStream, target: str, host: str, headers: Sequence[tuple[str, str]]
) -> tuple[str | None, bytes]:
    """Until the server has agreed: the subprotocol that it chose, and what came behind its answer.

    `target` is a raw path with query, `headers` come on top. Raises UpstreamFailed when the server refuses or makes no
    sense, ConnectionError when the stream is cut.
    """
    key = base64.b64encode(os.urandom(16))
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key.decode()}", "Sec-WebSocket-Version: 13"]
    lines += [f"{name}: {value}" for name, value in headers]
    await stream.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    received = b""
    while b"\r\n\r\n" not in received:
        more = await stream.read()
        received += more
        if not more or len(received) > MAX_HEAD_BYTES:
            raise UpstreamFailed("the server did not answer the websocket handshake")
    head, _, rest = received.partition(b"\r\n\r\n")
    offered = {
        token.strip() for name, value in headers if name == "Sec-WebSocket-Protocol" for token in value.split(",")
    }
    return _agreed(head.decode("latin-1"), key, offered), rest


def _agreed(head: str, key: bytes, offered: Set[str]) -> str | None:
    status, *lines = head.split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if status.split(" ")[1:2] != ["101"]:
        raise UpstreamFailed(f"the server refused the websocket: {status[:100]}")
    wanted = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest()).decode()
    if fields.get("sec-websocket-accept") != wanted or fields.get("upgrade", "").lower() != "websocket":
        raise UpstreamFailed("the server's answer to the websocket handshake is wrong")
    if "sec-websocket-extensions" in fields:
        raise UpstreamFailed("the server chose a websocket extension that was not offered")
    chosen = fields.get("sec-websocket-protocol")
    if chosen is not None and chosen not in offered:  # RFC 6455 4.1; and whatever else it holds goes no further
        raise UpstreamFailed("the server chose a websocket subprotocol that was not offered")
    return chosen
