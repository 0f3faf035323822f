"""One HTTP request to a job over a call: the body comes as chunks and an empty one, the answer goes as it comes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import aiohttp

from prouter.errors import OriginalError
from prouter.model.plugin import RpcStream
from prouter.model.reached import ReachedPort
from prouter.plugins.original_proxy.upstream import Pairs, sent, session, target, told

log = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 1024
"""Of a message: small, since an original waits for its client at most 5 s for each."""
DECOMPRESSED = "gzip, deflate"
"""What the answer may be encoded in: the original decompresses these and takes the header away."""


async def exchange(stream: RpcStream, port: ReachedPort, method: str, path: str, query: Pairs, headers: Pairs) -> None:
    """Raises OriginalError when the job's answer breaks off; a job that gives none is a 502 without headers."""
    url = target(port, path, query)
    asked = sent(headers, without=("accept-encoding",))
    asked["Accept-Encoding"] = DECOMPRESSED
    async with session(port) as asking:
        try:
            answer = await asking.request(method, url, headers=asked, data=_body(stream, port), allow_redirects=False)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.info("a job gave no answer to %s: %s", method[:20], type(error).__name__)
            await stream.send(502)
            await stream.send([])
            return
        try:
            await _tell(stream, port, answer)
        except (aiohttp.ClientError, OSError) as error:
            raise OriginalError(type(error).__name__, str(error) or "the job's answer broke off") from error
        finally:
            answer.close()  # and with it our sending of a body that the job did not wait for


async def _tell(stream: RpcStream, port: ReachedPort, answer: aiohttp.ClientResponse) -> None:
    await stream.send(answer.status)
    await stream.send(told(answer.headers))
    while data := await answer.content.readany():
        port.outward.passed(len(data))
        for start in range(0, len(data), CHUNK_BYTES):
            await stream.send(data[start : start + CHUNK_BYTES])


async def _body(stream: RpcStream, port: ReachedPort) -> AsyncIterator[bytes]:
    """An empty chunk is its end, as is the end of the stream."""
    while chunk := await stream.receive():
        if not isinstance(chunk, bytes):
            raise ValueError("a chunk of a body is bytes")
        port.inward.passed(len(chunk))
        yield chunk
