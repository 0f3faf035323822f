"""Work that is asked for with an Idempotency-Key and that no job's own record remembers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Repeats(Protocol):
    """What is asked twice with one key is done once; bounded, and of this run only."""

    async def do(self, key: Hashable, asked: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work, or wait for what the same key began; what fails or is left may be asked again.

        `key` begins with a word of the plugin's own. Raises Conflict for one that stood for something else, and what
        the work raises.
        """
