"""`ddfs://` through fsspec's own interface."""

from __future__ import annotations

import contextlib
import io
import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from peerdisco.client import BadInput, Refused, TokenNeeded
from peerdisco.client.filesystem import DDFSFileSystem

if TYPE_CHECKING:
    from tests.webui.backend import Backend, Servers

LINES = [f"line {number} {'x' * (number % 60)}\n" for number in range(30_000)]
TEXT = "".join(LINES).encode()


@pytest.fixture
def files(servers: Servers) -> Iterator[Any]:
    fsspec.register_implementation("ddfs", DDFSFileSystem, clobber=True)
    made = fsspec.filesystem("ddfs", peer=servers.addresses[0], skip_instance_cache=True)
    yield made
    made.ddfs.cluster.session.close()


def test_the_package_names_the_protocol() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["fsspec.specs"] == {
        "ddfs": f"{DDFSFileSystem.__module__}:{DDFSFileSystem.__qualname__}"
    }


def test_a_file_is_written_when_it_is_closed_and_read_back(files: Any) -> None:
    with files.open("ddfs://logs/2026", "wb", block_size=1000) as file:
        file.write(TEXT[:5000])
        file.write(TEXT[5000:])
        assert not files.exists("logs/2026")
    assert files.cat("logs/2026") == TEXT
    assert files.ddfs.exists("logs:2026")
    with files.open("logs/2026", "rt", newline="") as file:
        assert list(file) == LINES
    with files.open("logs/2026", "wt") as file:
        file.write("new")
    assert files.cat_file("ddfs://logs:2026") == b"new"
    files.pipe_file("empty", b"")
    assert (files.cat("empty"), files.info("empty")["size"]) == (b"", 0)


def test_a_file_whose_block_fails_changes_nothing(files: Any, backend: Backend) -> None:
    files.pipe_file("t", b"old")
    with (
        contextlib.suppress(RuntimeError),
        files.open("t", "wb", block_size=10) as file,
    ):
        file.write(b"half of the new contents")
        raise RuntimeError
    assert files.cat("t") == b"old"
    assert len(backend.files.blobs) == 1
    with files.transaction, files.open("t", "wb") as file:
        file.write(b"in a transaction")
    assert files.cat("t") == b"in a transaction"
    with pytest.raises(Refused), files.open("t", "xb") as file:
        file.write(b"there is one already")
    with pytest.raises(ValueError, match="replaced as a whole"):
        files.open("t", "ab")


@pytest.mark.parametrize("cache", ["readahead", "blockcache", "bytes", "none"])
def test_any_range_of_a_chunked_tag_is_read_without_the_rest(
    files: Any, backend: Backend, cache: str
) -> None:
    files.ddfs.chunk("t", io.BytesIO(TEXT), chunk_size=200_000)
    files.ddfs.push("raw", io.BytesIO(b"-- the last part\n"))
    files.ddfs.put("both", ["tag://t", "tag://raw"])
    whole = TEXT + b"-- the last part\n"
    assert files.info("both")["size"] == len(whole)
    assert len(files.ddfs.urls("t")) > 3
    rng = random.Random(5)
    with files.open("both", cache_type=cache, block_size=10_000) as file:
        for _ in range(25):
            start = rng.randrange(len(whole))
            size = rng.choice([1, 100, 60_000])
            file.seek(start)
            assert file.read(size) == whole[start : start + size]
        file.seek(0)
        assert file.read() == whole
    assert files.cat_file("both", start=-30, end=-10) == whole[-30:-10]
    assert files.read_block("both", 100, 50, delimiter=b"\n").endswith(b"\n")


def test_colons_are_slashes_and_directories_are_where_something_is(files: Any) -> None:
    for name in ("logs:2026:11", "logs:2026:12", "logs:2025", "logs", "table"):
        files.ddfs.tag(name, [])
    assert files.ls("", detail=False) == ["logs", "table"]
    assert files.ls("ddfs://logs", detail=False) == ["logs/2025", "logs/2026"]
    assert [entry["type"] for entry in files.ls("logs")] == ["file", "directory"]
    assert files.ls("table", detail=False) == ["table"]
    assert files.glob("logs/*/1*") == ["logs/2026/11", "logs/2026/12"]
    assert files.glob("ddfs://logs/**") == [
        "logs/2025",
        "logs/2026",
        "logs/2026/11",
        "logs/2026/12",
    ]
    assert files.find("logs/2026") == ["logs/2026/11", "logs/2026/12"]
    assert (files.isdir("logs/2026"), files.isfile("logs"), files.isfile("logs/2026")) == (
        True,
        True,
        False,
    )
    files.pipe_file("table.csv", b"a,b")
    assert files.ddfs.exists("table@csv")
    assert files.glob("*.csv") == ["table.csv"]
    assert files.cat("ddfs://table@csv") == b"a,b"
    assert not files.exists("log")
    with pytest.raises(FileNotFoundError):
        files.info("log")
    with pytest.raises(FileNotFoundError):
        files.ls("log")
    with pytest.raises(FileNotFoundError):
        files.open("log")


def test_files_are_copied_moved_and_removed(files: Any, backend: Backend) -> None:
    files.pipe({"a/1": b"one", "a/2": b"two"})
    files.cp_file("a/1", "b/1")
    files.mv("a/2", "b/2")
    assert files.find("") == ["a/1", "b/1", "b/2"]
    assert len(backend.files.blobs) == 2
    with pytest.raises(IsADirectoryError):
        files.rm("b")
    files.rm("b", recursive=True)
    files.rm("ddfs://a/1")
    assert files.find("") == []
    with pytest.raises(FileNotFoundError):
        files.rm("a/1")
    with pytest.raises(FileNotFoundError):
        files.rm_file("a/1")


def test_info_tells_version_owner_and_time(files: Any) -> None:
    files.pipe_file("t", b"x")
    first, key = files.info("t"), files.ukey("t")
    assert (first["version"], first["size"]) == (1, 1)
    assert "@" in first["owner"]
    assert files.modified("t") == files.created("t") == first["modified"]
    files.pipe_file("t", b"y")
    assert files.ukey("t") != key


def test_tags_with_tokens_are_files_too(files: Any, servers: Servers) -> None:
    peer = servers.addresses[0]
    mine = fsspec.filesystem("ddfs", peer=peer, token="s3cret", skip_instance_cache=True)
    mine.pipe_file("t", b"x")
    assert mine.cat("t") == b"x"
    assert files.exists("t")
    with pytest.raises(TokenNeeded):
        files.cat("t")
    assert fsspec.open("ddfs://t", "rb", peer=peer, token="s3cret").open().read() == b"x"
    mine.ddfs.cluster.session.close()


def test_what_is_no_blob_is_no_file(files: Any) -> None:
    files.ddfs.put("t", ["raw://x"])
    with pytest.raises(BadInput, match="raw://x is no blob"):
        files.open("t")
