"""The numbers of an original, each one a flag of both programs so that tests can press where it hurts."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class LinkSettings:
    queue_messages: int = 32
    """What a stream queues before the whole connection is no longer read."""
    queue_seconds: float = 5.0
    """How long it is not read before that call fails."""
    heartbeat_seconds: float = 10.0
    """Of the connecting side: silence after which it pings; half of it is waited for the pong."""
    handshake_seconds: float = 60.0
    """Until a link without a handshake is dropped."""
    largest_message_bytes: int = 4 * 1024 * 1024
    """A larger one ends the link: aiohttp's default."""
    connected_turns: int = 3
    """Turns of the loop until the connecting side has noticed that it is connected: a call that came in the same packet
    as the handshake's answer is dropped by an original. 0: it is connected at once."""
    receive_delay_seconds: float = 0.0
    """A quirk that originals do not have: a slow reader of every stream, for tests of pacing."""
    cancel_delay_seconds: float = 0.0
    """A quirk that originals do not have: a cancel takes effect that late, so that results and chunks do cross it."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    for field in fields(LinkSettings):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=type(field.default), default=field.default)


def from_flags(flags: argparse.Namespace) -> LinkSettings:
    return LinkSettings(**{field.name: getattr(flags, field.name) for field in fields(LinkSettings)})
