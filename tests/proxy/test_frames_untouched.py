"""Behind a handshake for Websocket every byte is the two ends' own: extensions, frames of any kind, what is none."""

from __future__ import annotations

import itertools
import os
import random
import struct

from proxied import Proxied

from prouter.testing import eventually

ASKS = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol: a, b",
    "Sec-WebSocket-Protocol: c",
    'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-own; a="b, c"',
)
SAYS = (
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    "Sec-WebSocket-Protocol: c",
    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover, x-own",
    "Set-Cookie: a=b",
    "X-Own: \xe9",
)
SWITCHED = "\r\n".join(("HTTP/1.1 101 Here we go", "Connection: Upgrade", "Upgrade: websocket", *SAYS, "", ""))


def frame(first: int, data: bytes, *, masked: bool) -> bytes:
    """With the FIN, RSV and opcode bits of `first`."""
    size = len(data)
    short = size if size < 126 else 126 if size < 65536 else 127
    length = b"" if size < 126 else struct.pack("!H" if size < 65536 else "!Q", size)
    return bytes((first, short | 128 * masked)) + length + os.urandom(4 * masked) + data


def frames(chance: random.Random) -> bytes:
    """Fragments with a ping amid them, compressed ones, reserved opcodes and bits, closes, and half a frame."""
    firsts = [0x01, 0x89, 0x00, 0x80, 0x82, 0xC1, 0x41, 0x80, 0xF3, 0x8B, 0x8A, 0x88, 0x88, 0x81]
    sizes = [0, 1, 5, 125, 126, 65535, 65536, 200_000]
    made = [frame(first, chance.randbytes(chance.choice(sizes)), masked=chance.random() < 0.8) for first in firsts]
    return b"".join(made) + b"\x82\xff\x00"


async def test_extensions_subprotocols_and_frames_pass_as_they_are(job: Proxied) -> None:
    chance = random.Random(11)
    down, up = frames(chance), frames(chance)
    job.says("switched", SWITCHED.encode("latin-1") + down)
    async with job.wired() as wire:
        await wire.send(job.request("/say/switched?then=echo", *ASKS))
        head = await wire.head()
        assert head.status == 101
        got = [f"{name}: {value}".lower() for name, value in head.lines]
        wanted = [line.lower() for line in SAYS if not line.startswith("Set-Cookie")]
        assert [line for line in got if line in wanted] == wanted
        assert head.get("set-cookie") == f"a=b; Path={job.prefix}/"
        assert await wire.exactly(len(down)) == down
        cuts = sorted(chance.sample(range(len(up)), 40))
        for begin, end in itertools.pairwise((0, *cuts, len(up))):
            await wire.send(up[begin:end])
        assert await wire.exactly(len(up)) == up  # the job echoes
        wire.writer.write_eof()
        assert await wire.rest() == (b"", "end")
    await eventually(lambda: any(heard.endswith(up) for heard in job.heard))
    (heard,) = (heard for heard in job.heard if heard.endswith(up))
    lines = heard.removesuffix(b"\r\n\r\n" + up).rpartition(b"\r\n\r\n")[2].decode("latin-1").split("\r\n")
    assert [line for line in lines if line in ASKS[2:]] == list(ASKS[2:])
    assert {"Upgrade: websocket", "Connection: Upgrade"} <= set(lines)
