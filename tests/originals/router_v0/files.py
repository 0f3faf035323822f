"""PATH/file/REL and PATH/archive: what was read of a request goes on as it is, downloads are checked by their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web
from prpc_v0.link import Link
from prpc_v0.messages import ISTREAM, OSTREAM

from router_v0 import checks
from router_v0.jobs_api import InvalidRequestError
from router_v0.links import Links

OCTETS = "application/octet-stream"


class FilesApi:
    def __init__(self, links: Links) -> None:
        self._links = links

    def routes(self) -> list[web.RouteDef]:
        job = "/jobs/{link}/{job}"
        return [
            web.get(job + "/file/{rest:.+}", self._download, allow_head=False),
            web.post(job + "/file/{rest:.+}", self._upload),
            web.get(job + "/archive", self._pack, allow_head=False),
            web.post(job + "/archive", self._unpack),
        ]

    def _link(self, request: web.Request) -> Link:
        return self._links.by_id(request.match_info["link"])

    async def _download(self, request: web.Request) -> web.StreamResponse:
        place = [request.match_info["job"], request.match_info["rest"]]
        return await _receive(
            request, self._link(request), "file_download", place, {"remove": _flag(request, "remove")}
        )

    async def _upload(self, request: web.Request) -> web.Response:
        place = [request.match_info["job"], request.match_info["rest"]]
        return await _send(
            request, self._link(request), "file_upload", place, {"executable": _flag(request, "executable")}
        )

    async def _pack(self, request: web.Request) -> web.StreamResponse:
        options = {
            "include_mask": request.query.get("include"),
            "exclude_mask": request.query.get("exclude"),
            "compress": _flag(request, "compress"),
        }
        return await _receive(request, self._link(request), "archive_download", [request.match_info["job"]], options)

    async def _unpack(self, request: web.Request) -> web.Response:
        return await _send(request, self._link(request), "archive_upload", [request.match_info["job"]], {})


def _flag(request: web.Request, name: str) -> bool:
    return bool(int(request.query.get(name, "0")))


async def _receive(
    request: web.Request, link: Link, method: str, place: Sequence[Any], options: Mapping[str, Any]
) -> web.StreamResponse:
    response = web.StreamResponse()
    async with link.call(ISTREAM, method, place, options) as call:
        assert call.stream is not None
        first = await call.stream.receive()
        if first is None:
            await link.result_of(call)
            checks.expect(False, "a download begins with its size", first)
            return web.Response(status=500)
        response.content_type, response.content_length = OCTETS, checks.size(first)
        await response.prepare(request)
        received = 0
        async for data in call.stream:
            chunk = checks.chunk(data, checks.LARGEST_CHUNK_BYTES)
            received += len(chunk)
            await response.write(chunk)
        if call.result.done() and call.result.exception() is None:
            sizes = (first["size"], received, call.result.result())
            checks.expect(len(set(sizes)) == 1, "the sizes of a download are one", sizes)
    return response


async def _send(
    request: web.Request, link: Link, method: str, place: Sequence[Any], options: Mapping[str, Any]
) -> web.Response:
    if request.content_type != OCTETS:
        raise InvalidRequestError("unsupported content type for HTTP upload")
    if request.content_length is None:
        raise InvalidRequestError("no Content-Length provided")
    sent = 0
    async with link.call(OSTREAM, method, place, options) as call:
        assert call.stream is not None
        while chunk := await request.content.readany():
            sent += len(chunk)
            await call.stream.send(chunk)
        accepted = await link.result_of(call)
        checks.expect(accepted == sent, f"an upload's result is its size, {sent}", accepted)
    return web.Response()
