"""Sandboxes with something in them, and archives of them and for them."""

from __future__ import annotations

import io
import os
import tarfile

from prouter.client import Client, Job
from prouter.testing import AgentDaemon

FILES = {"a.txt": b"a", "dir/c.txt": b"c" * 3000, "dir/ü.txt": b"u", "dir/deep/b.bin": os.urandom(70000), "empty": b""}


async def sandbox(client: Client, agent: AgentDaemon) -> Job:
    job = await client.create({"type": "uid", "uid": agent.uid}, "archives")
    for name, content in FILES.items():
        place = agent.sandbox(job) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return job


async def fetched(client: Client, job: Job, **query: str) -> tuple[str, bytes]:
    async with client.session.get(f"{client.url}{job.path}/archive", params=query) as answer:
        assert answer.status == 200, await answer.text()
        return answer.content_type, await answer.read()


def untarred(data: bytes, mode: str = "r:") -> dict[str, bytes | None]:
    """Contents by path; None for a directory."""
    with tarfile.open(fileobj=io.BytesIO(data), mode=mode, errors="surrogateescape") as archive:  # type: ignore[call-overload]
        return {m.name: archive.extractfile(m).read() if m.isfile() else None for m in archive}


async def send(client: Client, job: Job, data: bytes) -> tuple[int, dict[str, object]]:
    headers = {"Content-Type": "application/octet-stream"}
    async with client.session.post(f"{client.url}{job.path}/archive", data=io.BytesIO(data), headers=headers) as answer:
        return answer.status, await answer.json()


def tarred(files: dict[str, bytes], **fields: object) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", errors="surrogateescape") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def there(agent: AgentDaemon, job: Job) -> dict[str, bytes]:
    root = agent.sandbox(job)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
