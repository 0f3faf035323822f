"""One stream of a job's output on its way into a file, or into the agent's own output. Its newest bytes are kept."""

from __future__ import annotations

import os

READ_BYTES = 65536
KEPT_BYTES = 4096


class Outlet:
    """Reads the pipe `source`, which does not block, and writes `target`."""

    def __init__(self, source: int, target: int, *, owned: bool) -> None:
        self.source = source
        self.open = True
        self.kept = b""
        """The newest bytes."""
        self._target = target
        self._owned = owned
        self._dropped = 0

    def pump(self) -> bool:
        """Pass on what is there; False once the stream has ended. A full disk never stops the job: output is lost."""
        try:
            data = os.read(self.source, READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        self.kept = (self.kept + data)[-KEPT_BYTES:]
        self._write(data)
        return True

    def drain(self) -> None:
        """What is still in the pipe, once nobody writes any more."""
        while self.open and self._more():
            pass
        self.close()

    def close(self) -> None:
        if self.open:
            self.open = False
            os.close(self.source)
            if self._owned:
                os.close(self._target)

    def _more(self) -> bool:
        before = self.kept
        return self.pump() and self.kept is not before

    def _write(self, data: bytes) -> None:
        if self._dropped:
            data = f"\n[{self._dropped} bytes were dropped here: no room]\n".encode() + data
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._target, view) :]
            self._dropped = 0
        except OSError:
            self._dropped += len(view)
