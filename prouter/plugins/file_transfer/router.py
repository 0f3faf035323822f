"""The router's half: file requests go to the agent's own service as they are, their path made the job's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prouter import hookimpl
from prouter.model.plugin import Call, Relay, Route, relay_to_agent
from prouter.model.query import SWITCH
from prouter.model.schemas import FILE_ENTRIES, FILE_ENTRY, UPLOADED
from prouter.plugins.file_transfer.listing import CHANGE, LIST_QUERY

BYTES = "application/octet-stream"
DOWNLOAD: Mapping[str, Mapping[str, Any]] = {"remove": SWITCH | {"description": "1: delete it once it was sent."}}
UPLOAD: Mapping[str, Mapping[str, Any]] = {"executable": SWITCH | {"description": "1: a program, mode 755."}}
DOWNLOADED = {206: "The range that was asked for.", 304: "The client has it already, as If-None-Match says."}
FILE, FILES = "/jobs/{job}/file/{rest...}", "/jobs/{job}/files"


class FileTransfer:
    """Plugin `file_transfer` of the router."""

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        return [
            Route(
                ("GET", "HEAD"),
                FILE,
                "files.read",
                "Download a file.",
                relay=_one_file,
                query=DOWNLOAD,
                answers=DOWNLOADED,
                media_type=BYTES,
            ),
            Route(
                ("POST", "PUT"),
                FILE,
                "files.write",
                "Upload a file.",
                relay=_one_file,
                query=UPLOAD,
                answer=UPLOADED,
                answers={202: "A part was taken; `offset` is where the next one begins."},
                binary_body=True,
            ),
            Route(
                ("DELETE",),
                FILE,
                "files.delete",
                "Delete a file, a symlink, or an empty directory.",
                relay=_one_file,
                answers={204: "It is gone."},
                binary_body=True,
            ),
            Route(
                ("GET", "HEAD"),
                FILES,
                "files.read",
                "What is in a directory.",
                relay=_directory,
                query=LIST_QUERY,
                answer=FILE_ENTRIES,
            ),
            Route(
                ("POST",),
                FILES,
                "files.write",
                "Make a directory, or move a file or directory.",
                relay=_directory,
                schema=CHANGE,
                answer=FILE_ENTRY,
            ),
        ]


async def _one_file(call: Call) -> Relay:
    return relay_to_agent(call, f"file/{call.raw['rest']}")


async def _directory(call: Call) -> Relay:
    return relay_to_agent(call, "files")
