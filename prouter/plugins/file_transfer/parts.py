"""`PUT PATH/file/REL` with Content-Range: one part of an upload, or the question where to go on."""

from __future__ import annotations

import re

from prouter.errors import Conflict, InvalidRequest
from prouter.model.http import Reply
from prouter.model.plugin import Call
from prouter.model.services import PartedUpload, PartsBounds, SandboxFiles
from prouter.plugins.file_transfer.conditions import Conditions

_PART = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})")


async def part_taken(call: Call, files: SandboxFiles, bounds: PartsBounds, *, executable: bool) -> Reply:
    """202 and where to go on, or 200 once all is there; then the file has taken its place."""
    path = call.params["rest"]
    part, total = _meant(call)
    async with files.in_parts(path, total, bounds) as upload:
        if part is None:
            await _nothing(call)
        else:
            await _take(call, part, upload)
        if upload.offset < total:
            return Reply.json({"offset": upload.offset}, 202)
        condition = Conditions(call.head).refuse
        async with files.writing(path, executable=executable, expected_size=total, condition=condition) as whole:
            async for chunk in upload.content():
                await whole.write(chunk)
            size, digest = await whole.commit()
        await upload.done()
    return Reply.json({"size": size, "sha256": digest})


def _meant(call: Call) -> tuple[range | None, int]:
    """Which bytes come, None for none, of how many. Raises InvalidRequest."""
    lines = call.head.all("content-range")
    found = _PART.fullmatch(lines[0].strip()) if len(lines) == 1 else None
    if found is None:
        raise InvalidRequest("Invalid request: Content-Range is `bytes FIRST-LAST/TOTAL` or `bytes */TOTAL`")
    total = int(found[3])
    if not total:
        raise InvalidRequest("Invalid request: an upload in parts has at least one byte; an empty file goes up whole")
    if found[1] is None:
        return None, total
    part = range(int(found[1]), int(found[2]) + 1)
    if not part or part.stop > total:
        raise InvalidRequest(f"Invalid request: bytes {found[1]}-{found[2]} are no part of {total}")
    assert call.request is not None
    length = call.request.content_length
    if length is not None and length != len(part):
        raise InvalidRequest(f"Invalid request: Content-Range says {len(part)} bytes, Content-Length {length}")
    return part, total


async def _take(call: Call, part: range, upload: PartedUpload) -> None:
    """What came of a part that was cut is kept."""
    assert call.request is not None
    if part.start != upload.offset:
        raise Conflict(f"the next part begins at {upload.offset}", extra={"offset": upload.offset})
    left = len(part)
    async for chunk in call.request.content.iter_any():
        left -= len(chunk)
        if left < 0:
            raise InvalidRequest("Invalid request: more bytes came than Content-Range says")
        await upload.write(chunk)
    await upload.keep()


async def _nothing(call: Call) -> None:
    assert call.request is not None
    async for chunk in call.request.content.iter_any():
        if chunk:
            raise InvalidRequest("Invalid request: bytes came with the question where to go on")
