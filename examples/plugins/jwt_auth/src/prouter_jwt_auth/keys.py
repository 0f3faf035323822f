"""The identity provider's public keys: a JWKS file (RFC 7517) that is read again when it changes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import jwt


class KeyFile:
    """Keys by their `kid`. The file is looked at off the event loop, and not more often than every `look_every`."""

    def __init__(self, path: str, algorithms: Collection[str], look_every: float, tell: Callable[[str], None]) -> None:
        self._path, self._algorithms, self._look_every, self._tell = path, algorithms, look_every, tell
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._seen: tuple[int, ...] = ()
        self._told = ""
        self._looked_at = -float("inf")
        self._looking = asyncio.Lock()

    async def key(self, kid: str) -> jwt.PyJWK | None:
        """As the file says now, or did `look_every` seconds ago. While it can not be read the old keys stay."""
        async with self._looking:  # all wait for one look: a key that was taken out is not used again
            if time.monotonic() - self._looked_at >= self._look_every:
                try:
                    await asyncio.to_thread(self.read)
                except ValueError as error:
                    if str(error) != self._told:
                        self._tell(f"{error}; the keys stay as they were")
                    self._told = str(error)
                self._looked_at = time.monotonic()
        return self._keys.get(kid)

    def read(self) -> None:
        """If it has changed. Blocks. Raises ValueError for a file that can not be used, once for each state of it."""
        path = Path(self._path).expanduser()
        try:
            found = path.stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            if state == self._seen:
                return
            self._seen = state
            keys = jwt.PyJWKSet.from_dict(json.loads(path.read_bytes())).keys
        except (OSError, ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
            raise ValueError(f"{path} can not be read as a set of keys ({type(error).__name__})") from error
        usable = {key.key_id: key for key in keys if key.key_id and key.algorithm_name in self._algorithms}
        if not usable:
            raise ValueError(f"{path} has no key with a kid for {' or '.join(self._algorithms)}")
        self._keys = usable
