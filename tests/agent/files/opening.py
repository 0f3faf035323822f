"""What the tests of this directory do with a sandbox, each time opened anew as for a request."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from prouter.agent.files.sandbox import SandboxOpener
from prouter.model.services import SandboxFiles


class Opening:
    """Opens one sandbox again and again."""

    def __init__(self, opener: SandboxOpener, path: Path) -> None:
        self._opener = opener
        self.path = path

    def __call__(self) -> AbstractAsyncContextManager[SandboxFiles]:
        return self._opener(self.path)

    async def read(self, path: str) -> bytes:
        async with self() as files, files.reading(path) as opened:
            return os.pread(opened.fd, opened.size + 1, 0)

    async def write(self, path: str, *chunks: bytes, executable: bool = False, expected: int | None = None) -> str:
        """The SHA-256 that the commit says."""
        async with (
            self() as files,
            files.writing(path, executable=executable, expected_size=expected) as upload,
        ):
            for chunk in chunks:
                await upload.write(chunk)
            size, digest = await upload.commit()
            assert size == sum(map(len, chunks))
            return digest

    def left(self) -> list[str]:
        """All that is there, as relative paths."""
        return sorted(str(found.relative_to(self.path)) for found in self.path.rglob("*"))
