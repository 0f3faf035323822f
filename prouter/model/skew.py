"""Whether two of ours, of whatever versions, can work together: what each needs of the other, by capabilities.

Product versions say nothing here: they are for people to read.
"""

from __future__ import annotations

from prouter.model.agents import Hello

NEEDED = frozenset(("jobs/1", "watch/1", "pipes/1"))
"""Without these the other side is of no use to this version; all other capabilities are used where both have them."""


def why_apart(here: Hello, there: Hello) -> str | None:
    """A sentence for both logs; None when they can work together, or `there` is an original, which needs nothing."""
    if there.original:
        return None
    lacking = NEEDED - there.capabilities
    if lacking:
        return _sentence(there, here, lacking)
    lacking = there.needs - here.capabilities
    return _sentence(here, there, lacking) if lacking else None


def _sentence(old: Hello, new: Hello, lacking: frozenset[str]) -> str:
    return (
        f"{old.uid!r} (version {old.version}) lacks {', '.join(sorted(lacking))}, which {new.uid!r} "
        f"(version {new.version}) needs: install versions that fit together"
    )
