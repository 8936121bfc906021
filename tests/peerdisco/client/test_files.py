"""DDFS and blobs through the client."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdisco.client import DDFS, BadInput, Cluster, NotFound, Refused, result_iterator
from peerdisco.client.chunks import Piece, cut, size_for, whole

if TYPE_CHECKING:
    from tests.webui.backend import Backend, Servers


@pytest.fixture
def ddfs(cluster: Cluster) -> DDFS:
    return DDFS(cluster)


def test_files_are_pushed_whole_and_pulled_back(ddfs: DDFS, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"one\n" * 1000)
    second.write_bytes(b"")
    tag, urls = ddfs.push("t", [first, str(second), io.BytesIO(b"three")])
    assert [list(entry) for entry in tag.urls] == ddfs.urls("t") == urls
    contents = [(file.url, len(file), file.read()) for file in ddfs.pull("t")]
    assert [data for _, _, data in contents] == [b"one\n" * 1000, b"", b"three"]
    assert [size for _, size, _ in contents] == [4000, 0, 5]
    assert [[url] for url, _, _ in contents] == urls


def test_texts_are_chunked_on_line_ends(ddfs: DDFS, tmp_path: Path) -> None:
    text = b"".join(b"line %d\n" % number for number in range(20_000))
    path = tmp_path / "text"
    path.write_bytes(text)
    _, urls = ddfs.chunk("t", [path], chunk_size=10_000)
    chunks = [list(result_iterator([entry], peer=ddfs.cluster)) for entry in urls]
    assert len(chunks) > 15
    assert "".join(line for chunk in chunks for line in chunk) == text.decode()
    assert all(line.endswith("\n") for chunk in chunks for line in chunk)


def test_tags_are_listed_tagged_replaced_and_deleted(ddfs: DDFS) -> None:
    ddfs.tag("a:1", ["raw://x", ["raw://y", "raw://z"]])
    ddfs.tag("a:2", ["tag://a:1"])
    ddfs.tag("a:1", ["raw://x"], update=True)
    assert ddfs.urls("tag://a:1") == [["raw://x"], ["raw://y", "raw://z"]]
    assert ddfs.blobs("a:2") == ddfs.urls("a:1")
    assert list(ddfs.list("a:")) == ["a:1", "a:2"]
    ddfs.put("a:1", [])
    assert ddfs.urls("a:1") == []
    assert ddfs.exists("a:1")
    ddfs.delete("a:1")
    assert not ddfs.exists("a:1")
    ddfs.delete("a:1")


def test_tags_that_name_each_other_end(ddfs: DDFS) -> None:
    ddfs.tag("a", ["tag://b", "raw://x"])
    ddfs.tag("b", ["tag://a", "raw://y"])
    assert ddfs.blobs("a") == [["raw://y"], ["raw://x"]]


def test_attributes(ddfs: DDFS) -> None:
    ddfs.tag("t", [])
    ddfs.setattr("t", "owner", "Ännchen / x")
    assert ddfs.getattr("t", "owner") == "Ännchen / x"
    assert ddfs.attrs("t") == {"owner": "Ännchen / x"}
    ddfs.delattr("t", "owner")
    with pytest.raises(NotFound, match="no attribute owner"):
        ddfs.getattr("t", "owner")
    with pytest.raises(Refused, match="at most 4096"):
        ddfs.setattr("t", "owner", "x" * 5000)


def test_a_repeated_append_is_applied_once(cluster: Cluster, backend: Backend) -> None:
    cluster.append("t", [["raw://1"]])
    cluster.append("t", [["raw://2"]])
    assert len(backend.files.operations) == len(set(backend.files.operations)) == 2
    assert all(session for session, _ in backend.files.operations)


def test_reading_goes_on_where_the_stream_broke(cluster: Cluster, backend: Backend) -> None:
    data = bytes(range(256)) * 8192
    blob = backend.files.add(data)
    backend.files.break_after = 300_000
    with cluster.open_blob(blob.id) as file:
        assert len(file) == len(data)
        assert file.read() == data
    assert backend.files.break_after is None


def test_reading_goes_on_at_another_node(
    cluster: Cluster, backend: Backend, servers: Servers
) -> None:
    cluster.status()
    data = bytes(range(256)) * 8192
    blob = backend.files.add(data)
    with cluster.open_blob(blob.id) as file:
        head = file.read(10)
        cluster.session.close()
        backend.files.break_after = 0
        servers.stop(0)
        assert head + file.read() == data


def test_a_blob_that_does_not_exist_is_not_found(cluster: Cluster) -> None:
    with pytest.raises(NotFound), cluster.open_blob("b3-none") as file:
        file.read()


@given(st.binary(max_size=300), st.integers(1, 60))
def test_pieces_join_to_the_file_and_end_with_lines(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut"
    path.write_bytes(data)
    pieces = list(cut(path, size))
    contents = []
    for piece in pieces:
        with piece.open() as file:
            contents.append(file.read())
    assert b"".join(contents) == data
    assert all(content.endswith(b"\n") and len(content) >= size for content in contents[:-1])


def test_a_piece_looks_like_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    with Piece(path, 2, 7).open() as file:
        assert file.seek(0, 2) == 5
        assert file.seek(1) == 1
        assert file.read() == b"3456"
        assert file.read() == b""
    assert whole(path) == Piece(path, 0, 10)


def test_a_file_without_lines_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"x" * 5000)
    monkeypatch.setattr("peerdisco.client.chunks.LINE_BYTES_MAX", 1000)
    with pytest.raises(BadInput, match="ddfs push"):
        list(cut(path, 100))


def test_chunks_suit_the_cluster() -> None:
    assert size_for(10, 4) == 1 << 20
    assert size_for(64 << 20, 4) == 4 << 20
    assert size_for(1 << 40, 4) == 32 << 20
    assert size_for(1 << 30, 0) == 32 << 20
