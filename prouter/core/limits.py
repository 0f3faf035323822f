"""The limits of the data plane, from the configuration. Apart from settings.py, which must import light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prouter.pipe.pool import PoolLimits

Section = Callable[[str], Mapping[str, Any]]


def pool_limits(section: Section) -> PoolLimits:
    return PoolLimits(**section("pipes"))
