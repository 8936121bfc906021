"""How the daemon keeps memory: freed buffers stay with the process for the next stream.

The C library gives freed memory back to the kernel as soon as it can, and a stream that passes in
parts of 256 KiB then has the kernel clear every page of every part anew: 130,000 page faults for
each GiB served under TLS, a quarter of its CPU. What this changes is one process's habit; what a
worker process does with its memory is its own affair.
"""

from __future__ import annotations

import ctypes

TRIM_BYTES = 16 << 20
"""Free memory at the end of the heap beyond which it is given back."""
MMAP_BYTES = 4 << 20
"""Blocks from this size on are taken from the kernel alone, and go back there at once."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Ask the C library to keep what it would give back; False where it cannot be asked."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # only glibc has it
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES) and mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES))
