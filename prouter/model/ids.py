"""Identifiers of agents, jobs and requests, and how they look."""

from __future__ import annotations

import itertools
import re
import secrets
from functools import lru_cache
from hashlib import sha256
from typing import NewType

AgentUid = NewType("AgentUid", str)
"""An arbitrary non-empty string that the agent's owner chose, or 32 hex digits made at its first start."""

JobUid = NewType("JobUid", str)
"""32 lower-case hex digits."""

_JOB_UID = re.compile(r"[0-9a-f]{32}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")


def new_uid() -> str:
    """128 random bits as 32 hex digits."""
    return secrets.token_hex(16)


_RUN = f"{secrets.token_hex(8)}%016x".encode("ascii")
_requests = itertools.count(int.from_bytes(secrets.token_bytes(4)))


def new_request_id() -> str:
    """32 hex digits that no other request has, here or elsewhere. They can be guessed: no tickets, no tokens."""
    return new_request_mark().decode("ascii")


def new_request_mark() -> bytes:
    """The same as it stands in a head."""
    return _RUN % next(_requests)


def is_job_uid(text: str) -> bool:
    """Whether `text` has the form of a job's uid."""
    return _JOB_UID.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def uid_digest(uid: JobUid) -> str:
    """By which one can ask for a job without telling its uid to who has no such job: SHA-256, 64 hex digits."""
    return sha256(uid.encode("utf-8", "surrogatepass")).hexdigest()


def is_request_id(text: str) -> bool:
    """Whether a client's X-Request-Id is sane enough to be kept: printable, no spaces, at most 128 characters."""
    return _REQUEST_ID.fullmatch(text) is not None
