"""The two forms of a job's path, `/jobs/AGENT_UID/JOB_UID/ACTION...` and `/jobs/JOB_UID/ACTION...`. Pure text.

Where both readings are possible it is the long form when the third segment is the name of an action and the second is
none. AGENT_UID is any string, percent-encoded.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import unquote

PREFIX = "/jobs/"


def split_job_path(path: str, actions: Collection[str]) -> tuple[str | None, str, str, str] | None:
    """(agent or None, job, action, raw rest of the path) of a raw path; None when it names none of the actions."""
    if not path.startswith(PREFIX):
        return None
    first, _, below = path[len(PREFIX) :].partition("/")
    second, slash, rest = below.partition("/")
    third, third_slash, third_rest = rest.partition("/")
    if not first:
        return None
    if third in actions and second not in actions:
        return decoded(first), decoded(second), third, third_slash + third_rest
    if second in actions:
        return None, decoded(first), second, slash + rest
    return None


def decoded(segment: str) -> str:
    """A percent-decoded segment; bytes that are no UTF-8 become surrogates."""
    return unquote(segment, errors="surrogateescape") if "%" in segment else segment
