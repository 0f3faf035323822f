"""Which mount something open is of: what a job, a plugin or an administrator mounted in a sandbox is not the job's.

A bind mount of the same disk has the same device and even the same inode as what is mounted: only the kernel's number
of the mount tells them apart.
"""

from __future__ import annotations

import contextlib
import os
import sys

Mount = tuple[str, int]
"""To be compared with others of this process."""
FDINFO_BYTES = 4096
"""The number is in one of the first lines."""


def mount_of(descriptor: int) -> Mount:
    """Of a file or directory that is open, with O_PATH too: its mount, or its device where the system tells no more.
    Raises OSError."""
    if sys.platform == "linux":
        with contextlib.suppress(FileNotFoundError):  # no /proc
            info = os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                lines = os.read(info, FDINFO_BYTES).splitlines()
            finally:
                os.close(info)
            for line in lines:
                name, _, number = line.partition(b":")
                if name == b"mnt_id":
                    return "mount", int(number)
    return "device", os.fstat(descriptor).st_dev
