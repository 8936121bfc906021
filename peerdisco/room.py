"""How full bulk data may make a disk.

Blobs, spools and segments leave the last of a disk to the metadata: a file that does not fit fails
by itself, while a store that cannot write ends its node. Small files of the node's own do not ask.
"""

from __future__ import annotations

import errno
import os

RESERVE_BYTES_MAX = 64 << 20
RESERVE_PART = 64
"""The reserve is this fraction of the file system, at most `RESERVE_BYTES_MAX`."""


def check_room(descriptor: int, size_bytes: int) -> None:
    """Raises OSError with ENOSPC when the reserve would be touched by so many bytes more."""
    system = os.fstatvfs(descriptor)
    total = system.f_blocks * system.f_frsize
    if not total:
        return  # a file system that does not tell
    free = system.f_bavail * system.f_frsize
    if free - size_bytes < min(RESERVE_BYTES_MAX, total // RESERVE_PART):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
