"""A job's output through the API, with real daemons: order, offsets, streams, the end of a follow, tails, limits."""

from __future__ import annotations
