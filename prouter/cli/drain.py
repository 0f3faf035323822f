"""`prouter drain AGENT`, `prouter undrain AGENT`: an agent takes no new jobs, or takes them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prouter.cli import asking

if TYPE_CHECKING:
    from prouter.client import Client

DRAIN = "Tell an agent to take no new jobs; those that it has go on."
UNDRAIN = "Tell a draining agent to take new jobs again."


def run(words: Sequence[str], *, on: bool = True) -> int:
    parser = asking.make_parser("drain" if on else "undrain", DRAIN if on else UNDRAIN)
    parser.add_argument("agent", metavar="AGENT", help="the agent's uid")
    given = parser.parse_args(words)

    async def question(client: Client) -> str:
        agent = await (client.drain(given.agent) if on else client.undrain(given.agent))
        if not agent["draining"]:
            return f"agent {agent['uid']} takes new jobs"
        return f"agent {agent['uid']} takes no new jobs; {agent['capacity']['jobs']['used']} there have not finished"

    return asking.ask(given, question)
