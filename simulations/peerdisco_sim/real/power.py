"""A disk that can lose power: an ext4 of its own in a file, mounted through a loop device.

`cut` is what a power cut is to a file system: what was not synced is gone, the journal is replayed
at the next mount. It uses ext4's own shutdown call (EXT4_IOC_SHUTDOWN without flushing the log),
made for exactly such tests. Needs root, loop devices and e2fsprogs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from pathlib import Path

from peerdisco_sim.real.shell import ToolFailed, attempt, call

_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2
_UNMOUNT_S_MAX = 10.0
_BALLOON = "balloon"


class PowerDisk:
    """One file system in one file.

    Args:
        root: A directory of the run; image and mount point are made in it.
        name: Of the node.
        size_mib: Of the file system; the file is sparse.
    """

    def __init__(self, root: Path, name: str, size_mib: int = 512) -> None:
        self._image = root / f"{name}.ext4"
        self._point = root / f"{name}.disk"
        self._size_bytes = size_mib << 20
        self._mounted = False

    @property
    def directory(self) -> Path:
        """Where data can be put while it is mounted."""
        return self._point / "data"

    def make(self) -> None:
        """Make the file system and mount it."""
        with self._image.open("xb") as image:
            image.truncate(self._size_bytes)
        self._point.mkdir()
        call("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))
        self.mount()
        self.directory.mkdir()
        _sync(self._point)

    def mount(self) -> None:
        """Switch it on; the journal is replayed."""
        call("mount", "-t", "ext4", "-o", "loop", str(self._image), str(self._point))
        self._mounted = True

    def cut(self) -> None:
        """Lose power now. Whoever still uses it gets EIO."""
        descriptor = os.open(self._point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def fill(self) -> None:
        """Leave no room: every write that needs some fails with ENOSPC."""
        balloon = os.open(self._point / _BALLOON, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        end = os.fstat(balloon).st_size
                        os.posix_fallocate(balloon, end, size)
        finally:
            os.close(balloon)

    def empty(self) -> None:
        """Give the room back."""
        with contextlib.suppress(OSError):
            (self._point / _BALLOON).unlink()

    def unmount(self) -> None:
        """Take it down, waiting for its last users to be gone."""
        deadline = time.monotonic() + _UNMOUNT_S_MAX
        while self._mounted:
            try:
                call("umount", str(self._point))
                self._mounted = False
            except ToolFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def close(self) -> None:
        """Remove it. Idempotent."""
        try:
            self.unmount()
        except ToolFailed:
            attempt([("umount", "--lazy", str(self._point))])
            self._mounted = False
        with contextlib.suppress(OSError):
            self._point.rmdir()
        self._image.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
