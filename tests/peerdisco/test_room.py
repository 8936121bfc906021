"""Bulk data leaves the last of a disk to the metadata."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from peerdisco.room import check_room
from peerdisco.worker.local_files import LocalFiles


def test_what_fits_may_be_written_and_what_would_fill_the_disk_may_not(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        check_room(file.fileno(), 1)
        with pytest.raises(OSError, match="No space left") as caught:
            check_room(file.fileno(), shutil.disk_usage(tmp_path).free)
    assert errno.ENOSPC == caught.value.errno


def test_a_worker_writes_whole_files(tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    with LocalFiles(tmp_path).open_write("deep/er/file") as file:
        file.write(data[:5])
        file.write(memoryview(data)[5:])
    assert data == (tmp_path / "deep" / "er" / "file").read_bytes()
