"""`prouter clean --dry-run AGENT`: which finished jobs an agent would remove by itself, with their sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prouter.cli import asking

if TYPE_CHECKING:
    from prouter.client import Client

WORDS = "Tell which finished jobs an agent would remove by itself now, or under other limits; nothing is removed."


def run(words: Sequence[str]) -> int:
    parser = asking.make_parser("clean", WORDS)
    parser.add_argument("agent", metavar="AGENT", help="the agent's uid")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        required=True,
        help="say what would go: agents remove by themselves, by jobs.finished_ttl and jobs.disk_quota",
    )
    parser.add_argument("--finished-ttl", type=float, metavar="SECONDS", help="as if the agent had this")
    parser.add_argument("--disk-quota", type=int, metavar="BYTES", help="as if the agent had this")
    given = parser.parse_args(words)

    async def question(client: Client) -> str:
        ttl, quota = given.finished_ttl, given.disk_quota
        return shown(await client.clean_up(given.agent, finished_seconds=ttl, disk_bytes=quota))

    return asking.ask(given, question)


def shown(found: Mapping[str, Any]) -> str:
    """A line for each job, then the sum."""
    jobs = found["jobs"]
    lines = [
        f"{job['uid']}  finished {job['finished_at']}  {job['bytes']} bytes  {job['reason']}  {job['name']!r}"
        for job in jobs
    ]
    count, freed = found.get("count", len(jobs)), found.get("freed_bytes", sum(job["bytes"] or 0 for job in jobs))
    more = [f"and {count - len(jobs)} more"] if count > len(jobs) else []
    return "\n".join([*lines, *more, f"{count} jobs would go, {freed} of {found['total_bytes']} bytes"])
