"""The text of a scrape, made a little at a time: thousands of samples take ten milliseconds, and nobody waits for that.

Belongs here: reading families and writing them in pieces, others having their turn in between. Does not: what is in
them.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Iterable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

TURN_SECONDS = 0.002
"""For which a scrape goes on before everybody else has their turn."""
PIECE = 100
"""Samples that are written at once."""

T = TypeVar("T")


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The same, and others have their turn before one that would come late."""
    end = perf_counter() + TURN_SECONDS
    for item in items:
        yield item
        if perf_counter() >= end:
            await asyncio.sleep(0)
            end = perf_counter() + TURN_SECONDS


async def written(families: Iterable[Family]) -> bytes:
    """As Prometheus reads them."""
    return b"".join([piece async for piece in in_turns(_pieces(families))])


def _pieces(families: Iterable[Family]) -> Iterator[bytes]:
    from prometheus_client.exposition import generate_latest

    for family in families:
        for at in range(0, max(1, len(family.samples)), PIECE):
            part = copy.copy(family)
            part.samples = family.samples[at : at + PIECE]
            text = generate_latest(_Scraped(part))
            yield text.split(b"\n", 2)[2] if at else text  # what it is stands above the first piece


class _Scraped:
    """What generate_latest asks of a registry."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterable[Family]:
        return (self._family,)
