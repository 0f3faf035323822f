"""`prouter undrain AGENT`; see drain.py."""

from __future__ import annotations

from collections.abc import Sequence

from prouter.cli import drain


def run(words: Sequence[str]) -> int:
    return drain.run(words, on=False)
