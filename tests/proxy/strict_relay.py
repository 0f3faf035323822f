"""A middlebox that lets nothing but websockets pass, and cuts them at the first frame that is none (RFC 6455).

`python strict_relay.py LISTEN_PORT TARGET_PORT LOG KIND`; of the kind "losing" it passes other requests on, and knows
nothing to do with their answers. Frames are read by the library websockets, so that it is not our
own idea of a frame that is held against ours. As nginx does, it ends both sides when one has ended.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator
from pathlib import Path

from websockets.frames import CTRL_OPCODES, Frame, Opcode
from websockets.streams import StreamReader
from websockets.utils import accept_key

LOG = Path(sys.argv[3])


def note(line: str) -> None:
    with LOG.open("a") as log:
        log.write(line + "\n")


class Judge:
    """Frames of one side."""

    def __init__(self, *, masked: bool) -> None:
        self._reader = StreamReader()
        self._masked = masked
        self._reading = self._read()
        next(self._reading)

    def feed(self, data: bytes) -> None:
        """Raises what websockets raises, AssertionError for what is out of order."""
        self._reader.feed_data(data)
        next(self._reading)

    def _read(self) -> Generator[None, None, None]:
        amid = closed = False
        while True:
            frame = yield from Frame.parse(self._reader.read_exact, mask=self._masked, max_size=1 << 20)
            assert not closed, "a frame behind a close"
            closed = frame.opcode is Opcode.CLOSE
            if frame.opcode not in CTRL_OPCODES:
                assert (frame.opcode is Opcode.CONT) == amid, "fragments out of order"
                assert frame.opcode is not Opcode.TEXT, "text"
                amid = not frame.fin


def fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}


async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writers = [writer]
    try:
        asked = await reader.readuntil(b"\r\n\r\n")
        upgrade = fields(asked).get("upgrade", "")
        if upgrade != "websocket":
            note(f"refused {upgrade}")
            if sys.argv[4] == "losing":
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
                writers.append(far_writer)
                far_writer.write(asked)
                await far_reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nConnection: close\r\n\r\nwebsoc\n")
            await writer.drain()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]), limit=1 << 20)
        writers.append(far_writer)
        far_writer.write(asked)
        answer = await far_reader.readuntil(b"\r\n\r\n")
        if answer.startswith(b"HTTP/1.1 101 "):
            assert fields(answer)["sec-websocket-accept"] == accept_key(fields(asked)["sec-websocket-key"])
        writer.write(answer)
        pumps = [
            asyncio.ensure_future(pump(reader, far_writer, Judge(masked=True))),
            asyncio.ensure_future(pump(far_reader, writer, Judge(masked=False))),
        ]
        done, left = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for each in left:
            each.cancel()
        await asyncio.gather(*done)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    except Exception as error:
        note(f"wrong {type(error).__name__}: {error}")
    finally:
        for each in writers:
            each.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, judge: Judge) -> None:
    while data := await reader.read(65536):
        judge.feed(data)
        writer.write(data)
        await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(visited, "127.0.0.1", int(sys.argv[1]), limit=1 << 20)
    note("listening")
    await server.serve_forever()


asyncio.run(main())
