"""The first line on a pipe, from the router, and the agent's verdict on it. Pure text.

`job JOB_UID PORT_NAME LINK` or `agent LINK`, then `ok` or `no STATUS TEXT`; ASCII, a newline at the end, 4 KiB at most.
LINK is the number of the control link, so that a line of an older link is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from prouter.errors import RemoteProtocolError
from prouter.model.ids import JobUid

MAX_LINE_BYTES = 4096
OK = b"ok\n"
AGENT_LINE = b"agent "
"""How a line begins that binds to the agent's own service: behind it is no job's server."""


@dataclass(frozen=True, slots=True)
class JobBinding:
    """To a port of a job."""

    job: JobUid
    port: str
    link: int

    def line(self) -> bytes:
        return job_line(self.job, self.port, self.link)


@lru_cache(1024)
def job_line(job: str, port: str, link: int) -> bytes:
    """That of a JobBinding. Asked for with each request, mostly for one of a few ports."""
    return f"job {job} {quote(port, safe='')} {link}\n".encode("ascii")


@dataclass(frozen=True, slots=True)
class AgentBinding:
    """To the agent's own HTTP service."""

    link: int

    def line(self) -> bytes:
        return f"agent {self.link}\n".encode("ascii")


Binding = JobBinding | AgentBinding


@dataclass(frozen=True, slots=True)
class BindRefused:
    """`no STATUS TEXT`: 404 no such job or port, 409 not serving, 502 nothing listens there, 503 no descriptors."""

    status: int
    text: str

    def line(self) -> bytes:
        text = "".join(c if " " <= c <= "~" else "?" for c in self.text)[: MAX_LINE_BYTES - 16]
        return f"no {self.status} {text}\n".encode("ascii")


def parse_binding(line: bytes) -> Binding:
    """A bind line without its newline. Raises RemoteProtocolError."""
    try:
        match line.decode("ascii").split(" "):
            case ["job", job, port, link]:
                return JobBinding(JobUid(job), unquote(port), int(link))
            case ["agent", link]:
                return AgentBinding(int(link))
    except ValueError:
        pass
    raise RemoteProtocolError("a pipe began with a line that binds it to nothing")


def parse_verdict(line: bytes) -> BindRefused | None:
    """The agent's answer without its newline; None is `ok`. Raises RemoteProtocolError."""
    if line == b"ok":
        return None
    word, _, rest = line.decode("ascii", "replace").partition(" ")
    status, _, text = rest.partition(" ")
    if word == "no" and status.isdecimal() and 400 <= int(status) <= 599:
        return BindRefused(int(status), text)
    raise RemoteProtocolError("the agent answered a pipe's bind line with something else than ok or no")
