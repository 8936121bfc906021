"""The host disk keeps the promises of `peerdisco.machine.Disk`."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerdisco.host.disk import HostDisk


@pytest.fixture
def disk(tmp_path: Path) -> HostDisk:
    return HostDisk(tmp_path)


async def test_a_file_is_written_in_pieces_and_read_in_ranges(disk: HostDisk) -> None:
    writer = await disk.create("deep/er/file")
    await writer.write([b"abc"] * 2000)
    await writer.write([b"", b"end"])
    await writer.sync()
    await writer.close()
    await writer.close()
    assert await disk.size("deep/er/file") == 6003
    assert await disk.read("deep/er/file", 5999, 3) == b"ce" + b"n"
    assert await disk.read("deep/er/file", 6000) == b"end"
    disk.close()


async def test_renaming_replaces_and_listing_is_sorted(disk: HostDisk) -> None:
    await disk.write("b", b"1")
    await disk.write("a", b"2")
    await disk.rename("a", "dir/b")
    await disk.write("dir/a", b"3")
    assert await disk.list("dir") == ["a", "b"]
    assert await disk.list("nowhere") == []
    assert await disk.read("dir/b") == b"2"
    assert await disk.size("a") is None
    disk.close()


async def test_removing_what_is_not_there_is_no_error(disk: HostDisk) -> None:
    await disk.remove("nothing")
    await disk.remove_tree("nothing")
    await disk.write("tree/a/b", b"1")
    await disk.remove_tree("tree")
    assert await disk.list("tree") == []
    disk.close()


@pytest.mark.parametrize("path", ["/etc/passwd", "../out", "a/../../out", "", "a\0b"])
async def test_a_path_that_leaves_the_directory_is_refused(disk: HostDisk, path: str) -> None:
    with pytest.raises(ValueError, match="inside the data directory"):
        await disk.read(path)
    disk.close()


async def test_reading_a_missing_file_raises_as_the_system_does(disk: HostDisk) -> None:
    with pytest.raises(FileNotFoundError):
        await disk.read("missing")
    assert (await disk.space()).total_bytes > 0
    disk.close()
