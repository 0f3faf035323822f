"""What a plugin would take over of a configuration that was read again: checked first, taken over with all others'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prouter.model.access import Guards


@dataclass(frozen=True, slots=True)
class TakeOver:
    """A plugin's answer to `prouter_reload`: nothing of it is in force before `apply` is called."""

    keys: Sequence[str]
    """Of the configuration ("control.tokens") that are in force afterwards."""
    apply: Callable[[], None]
    """Swaps old for new: no I/O, nothing that can fail, no awaiting. Not called when anybody found a mistake."""
    guards: Guards | None = None
    """Of an authenticator: what it will guard then. None: what `prouter_guards` says stays true."""
