"""What an original agent lets a router call, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prpc_v0.calls import IncomingCall
from prpc_v0.link import Link, Method

from agent_v0.files import Files
from agent_v0.jobs import Jobs
from agent_v0.proxy import Proxy


class Service:
    def __init__(self, jobs: Jobs, proxy: Proxy) -> None:
        self._jobs = jobs
        files = Files(jobs)
        self.methods: dict[str, Method] = {
            "job_create": self.job_create,
            "job_remove": self.job_remove,
            "job_wait": self.job_wait,
            "job_start": self.job_start,
            "job_info": self.job_info,
            "job_count_current_connection": self.job_count_current_connection,
            "http_request": proxy.http_request,
            "ws_connect": proxy.ws_connect,
            "file_upload": files.file_upload,
            "file_download": files.file_download,
            "archive_upload": files.archive_upload,
            "archive_download": files.archive_download,
        }

    async def job_create(self, link: Link, call: IncomingCall, name: str | None = None) -> dict[str, Any]:
        auth = link.peer["auth"]
        # The agent's own part in the link, as the original says it.
        direction = "CLIENT" if link.dials else "SERVER"
        sender = {"direction": direction, "uid": auth["uid"], "name": auth["name"]}
        return self._jobs.create(name, sender, link.connection_id).info()

    async def job_remove(self, link: Link, call: IncomingCall, job_uid: str) -> dict[str, Any]:
        job = self._jobs.find(job_uid)
        info = job.info()
        await self._jobs.remove(job)
        return info

    async def job_wait(self, link: Link, call: IncomingCall, job_uid: str) -> dict[str, Any]:
        job = self._jobs.find(job_uid)
        await self._jobs.wait(job)
        return self._jobs.find(job_uid).info()

    async def job_start(
        self,
        link: Link,
        call: IncomingCall,
        job_uid: str,
        args: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None = None,
        port_expected_count: int = 1,
        forward_stdout: bool = False,
    ) -> dict[str, Any]:
        job = self._jobs.find(job_uid)
        await self._jobs.start(job, args, env, cwd, port_expected_count, forward_stdout)
        return job.info()

    async def job_info(self, link: Link, call: IncomingCall, job_uid: str) -> dict[str, Any]:
        return self._jobs.find(job_uid).info()

    async def job_count_current_connection(self, link: Link, call: IncomingCall) -> int:
        return len(self._jobs.of_connection(link.connection_id))
