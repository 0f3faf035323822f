"""How many pipes there are to all agents together, and whose go first when there are too many."""

from __future__ import annotations

from typing import Protocol


class Pool(Protocol):
    """The pipes of one agent (pool.py)."""

    def close_unused(self, whose: Pool) -> bool:
        """Close a pipe that nobody uses, so that `whose` pool can have one more; whether there was one."""


class PipeTotal:
    """Counts pipes that are open or asked for, over all pools of a router."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._by_pool: dict[Pool, int] = {}
        """Those that have any."""

    @property
    def free(self) -> int:
        return self.limit - self.used

    @property
    def full(self) -> bool:
        return self.used >= self.limit

    def count(self, pool: Pool, more: int) -> None:
        """`pool` has so many more; fewer, when it is negative."""
        self.used += more
        has = self._by_pool.get(pool, 0) + more
        if has:
            self._by_pool[pool] = has
        else:
            self._by_pool.pop(pool, None)

    def close_unused(self, whose: Pool) -> bool:
        """Make room for one more of `whose`: its own go first, then anybody's. Whether there is room now."""
        if whose.close_unused(whose):
            return True
        return any(pool.close_unused(whose) for pool in list(self._by_pool) if pool is not whose)
