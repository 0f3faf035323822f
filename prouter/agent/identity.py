"""Who this agent is: its uid and name, the boot of this process, and the directory that it alone uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prouter import __version__
from prouter.agent.draining import DrainSwitch
from prouter.agent.settings import AgentSettings
from prouter.model import resources
from prouter.model.agents import PRODUCT_CAPABILITIES, Hello, Identity, MachineFacts, this_platform
from prouter.model.ids import new_uid
from prouter.model.resources import JOBS
from prouter.model.skew import NEEDED
from prouter.pluginkit.state import StateDirectory


@dataclass(frozen=True, slots=True)
class Self:
    """What the agent says of itself in every handshake."""

    identity: Identity
    boot: str
    """One random id for each start of the process."""
    platform: Mapping[str, str]
    properties: dict[str, str]
    capacity: dict[str, int]
    """Of each counted resource, how much there is in all; `jobs` is one."""
    draining: DrainSwitch
    limits: Mapping[str, str]
    """How each limit of a job is kept here; one that is not named can not be."""

    def learn(self, facts: MachineFacts) -> None:
        """Facts of the machine beside what was said of it before, which stays; not after the first handshake.

        Raises ValueError for facts that no handshake can carry; nothing of them is taken then.
        """
        capacity = resources.parse(facts.capacity)
        properties = {str(name): str(text) for name, text in facts.properties.items()}
        self.properties.update({name: text for name, text in properties.items() if name not in self.properties})
        self.capacity.update({name: count for name, count in capacity.items() if name not in self.capacity})

    def hello(self, link: int, token: str = "") -> Hello:
        """`link` is the number of the link whose handshake this is; `token` only where we dial."""
        return Hello(
            uid=self.identity.uid,
            name=self.identity.name,
            token=token,
            platform=self.platform,
            properties=self.properties,
            version=__version__,
            boot=self.boot,
            link=link,
            capabilities=frozenset(PRODUCT_CAPABILITIES),
            needs=NEEDED,
            capacity=self.capacity,
            drain=self.draining.drain,
            limits=self.limits,
        )


def open_state(settings: AgentSettings) -> StateDirectory:
    """The agent's directory, locked: `jobs.root`, or the first of the platform's that no other agent uses.

    So a second agent on a machine has a directory and with it a uid of its own. Raises StartupError.
    """
    return StateDirectory.open(settings.root, "agent")


def introduce(settings: AgentSettings, state: StateDirectory, draining: DrainSwitch, limits: Mapping[str, str]) -> Self:
    """Raises StartupError when the uid can not be kept."""
    identity = Identity(settings.uid or state.uid(), settings.name)
    slots = {} if settings.capacity is None else {JOBS: settings.capacity}
    capacity = slots | dict(settings.resources)
    return Self(identity, new_uid(), this_platform(), dict(settings.properties), capacity, draining, limits)


def jobs_directory(state: StateDirectory) -> Path:
    """Where each job has a directory of its own, 0700."""
    path = state.path / "jobs"
    path.mkdir(mode=0o700, exist_ok=True)
    return path
