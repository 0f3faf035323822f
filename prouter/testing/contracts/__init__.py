"""What prouter expects of the things that a plugin hands over, as checks that say what is wrong and what to do.

A test asks for one by name, and gives the samples that only its author knows::

    await assert_contract(MySelector(), "selector", locators=[{"type": "mine", "rack": "7"}])
    await assert_contract(plugin, "authenticator", right=[a_head(x_api_key="s3cret")], wrong=[a_head(x_api_key="no")])

What each takes is told by the functions of the modules beside this one; samples.py makes values as hooks get them.
"""

from __future__ import annotations

from typing import Any, Literal

from prouter.testing.contracts.authenticators import assert_agent_authenticator, assert_authenticator
from prouter.testing.contracts.changing import assert_job_hook
from prouter.testing.contracts.deciding import assert_score, assert_veto
from prouter.testing.contracts.drivers import assert_driver
from prouter.testing.contracts.heads import assert_request_hook
from prouter.testing.contracts.observers import assert_observer
from prouter.testing.contracts.selectors import assert_selector
from prouter.testing.contracts.watching import ContractBroken
from prouter.testing.contracts.whole import assert_plugin

ContractKind = Literal[
    "plugin",
    "selector",
    "authenticator",
    "agent authenticator",
    "veto",
    "score",
    "request hook",
    "job hook",
    "observer",
    "driver",
]
CONTRACTS: dict[str, Any] = {
    "plugin": assert_plugin,
    "selector": assert_selector,
    "authenticator": assert_authenticator,
    "agent authenticator": assert_agent_authenticator,
    "veto": assert_veto,
    "score": assert_score,
    "request hook": assert_request_hook,
    "job hook": assert_job_hook,
    "observer": assert_observer,
    "driver": assert_driver,
}


async def assert_contract(subject: Any, kind: ContractKind, *things: Any, **samples: Any) -> None:
    """Raises ContractBroken with what is wrong. `subject` is the object or the plugin, ready to be asked."""
    if kind not in CONTRACTS:
        raise TypeError(f"there is no contract {kind!r}; there are: {', '.join(CONTRACTS)}")
    await CONTRACTS[kind](subject, *things, **samples)


__all__ = [
    "CONTRACTS",
    "ContractBroken",
    "ContractKind",
    "assert_agent_authenticator",
    "assert_authenticator",
    "assert_contract",
    "assert_driver",
    "assert_job_hook",
    "assert_observer",
    "assert_plugin",
    "assert_request_hook",
    "assert_score",
    "assert_selector",
    "assert_veto",
]
