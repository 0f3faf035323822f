"""Two machines of one link, the handshake done or about to be; what one sends is handed to the other by the test."""

from __future__ import annotations

from prouter.rpc.events import Event
from prouter.rpc.limits import Limits
from prouter.rpc.machine import IdCounter, Machine, Role

OURS = {"auth": {"uid": "u", "name": "n"}, "prouter": {"version": "1"}}
ORIGINAL = {"auth": {"uid": "u", "name": "n"}}


def ends(limits: Limits | None = None) -> tuple[Machine, Machine]:
    """The connecting and the accepting end, before the handshake."""
    limits = limits or Limits()
    return Machine(Role.CONNECTING, IdCounter(), limits), Machine(Role.ACCEPTING, IdCounter(7), limits)


def opened(
    data: dict[str, object] | None = None, limits: Limits | None = None, hello: dict[str, object] | None = None
) -> tuple[Machine, Machine]:
    """The same with an open link; `data` is what the accepting end says of itself, `hello` the connecting one."""
    near, far = ends(limits)
    far.receive(near.hello(hello or OURS))
    near.receive(far.welcome("c" * 32, data or OURS))
    return near, far


def hand(data: bytes | None, to: Machine) -> list[Event]:
    assert data is not None
    return to.receive(data)


def only(events: list[Event]) -> Event:
    (event,) = events
    return event
