"""Chunks of any records, from any input, in any format; and what is said when that cannot be."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from peerdisco.client import DDFS, BadInput, Cluster, result_iterator
from peerdisco.client.chunking import line_blocks
from peerdisco.dataflow.disco_format import is_disco_stream
from peerdisco.dataflow.format import is_record_stream
from peerdisco.dataflow.lines import is_lines

if TYPE_CHECKING:
    from tests.webui.backend import Backend

LINES = [f"line {number} {'x' * (number % 50)}\n" for number in range(20_000)]
TEXT = "".join(LINES).encode()


@pytest.fixture
def ddfs(cluster: Cluster) -> DDFS:
    return DDFS(cluster)


def words(fd: Any, size: int, url: str) -> Iterator[str]:
    for line in fd:
        yield from line.decode().split()


def pairs(fd: Any, size: int, url: str, params: Any) -> Iterator[tuple[int, str]]:
    assert params is None
    for number, line in enumerate(fd):
        yield number, line.decode()


def stored(ddfs: DDFS, urls: list[list[str]]) -> list[list[Any]]:
    """The records of each chunk."""
    return [list(result_iterator([entry], peer=ddfs.cluster)) for entry in urls]


@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress],
    ids=["plain", "gzip", "bzip2", "xz", "zstd"],
)
def test_inputs_of_every_compression_are_read_as_what_is_in_them(
    ddfs: DDFS, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "no-telling-name"
    path.write_bytes(compress(TEXT))
    for source in (path, str(path), f"file://{path}", io.BytesIO(compress(TEXT))):
        _, urls = ddfs.chunk("t", [source], chunk_size=50_000)
        chunks = stored(ddfs, urls)
        assert len(chunks) > 5
        assert [line for chunk in chunks for line in chunk] == LINES


def test_inputs_and_chunks_keep_their_order(ddfs: DDFS, tmp_path: Path, backend: Backend) -> None:
    paths = []
    for number in range(6):
        paths.append(tmp_path / f"{number}")
        data = "".join(LINES[number * 1000 : (number + 1) * 1000]).encode()
        paths[-1].write_bytes(gzip.compress(data) if number % 2 else data)
    tag, urls = ddfs.chunk("t", paths, chunk_size=5000)
    assert [list(entry) for entry in tag.urls] == urls
    assert [line for chunk in stored(ddfs, urls) for line in chunk] == LINES[:6000]
    assert all(is_lines(backend.files.blobs[url.removeprefix("blob:")]) for [url] in urls)


@pytest.mark.parametrize("form", ["zstd", "disco"])
def test_records_of_any_reader_are_chunked_and_none_is_split(
    ddfs: DDFS, backend: Backend, form: str
) -> None:
    recognise = {"zstd": is_record_stream, "disco": is_disco_stream}[form]
    random_words = random.Random(3).randbytes(200_000).hex()
    text = "\n".join(random_words[at : at + 40] for at in range(0, len(random_words), 40)).encode()
    _, urls = ddfs.chunk("w", io.BytesIO(text), reader=words, chunk_size=30_000, format=form)
    records = [record for chunk in stored(ddfs, urls) for record in chunk]
    expected = text.decode().split()
    assert len(urls) > 3
    assert records == (expected if form == "disco" else [(word, None) for word in expected])
    assert all(recognise(backend.files.blobs[url.removeprefix("blob:")]) for [url] in urls)
    _, urls = ddfs.chunk("p", io.BytesIO(b"a\nb\n"), reader=pairs, format=form)
    assert stored(ddfs, urls) == [[(0, "a\n"), (1, "b\n")]]


@pytest.mark.parametrize("form", ["plain", "disco", "zstd"])
def test_lines_come_back_from_every_format(ddfs: DDFS, backend: Backend, form: str) -> None:
    _, urls = ddfs.chunk("t", io.BytesIO(TEXT), format=form, chunk_size=20_000)
    assert len(urls) > 1
    if form == "plain":
        blobs = [backend.files.blobs[url.removeprefix("blob:")] for [url] in urls]
        assert b"".join(blobs) == TEXT
        assert all(blob.endswith(b"\n") for blob in blobs)
    else:
        assert [line for chunk in stored(ddfs, urls) for line in chunk] == LINES


def test_an_input_without_records_makes_no_chunk(ddfs: DDFS, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for form in ("zstd", "plain", "disco"):
        tag, urls = ddfs.chunk("t", [tmp_path / "empty", io.BytesIO()], format=form)
        assert (urls, tag.urls) == ([], ())


def test_a_record_over_the_limit_is_named_with_input_place_and_limit(
    ddfs: DDFS, tmp_path: Path
) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"short\n" * 10 + b"x" * 500 + b"\n" + b"short\n" * 10)
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(BadInput, match="the line at byte 60 is longer than 400 bytes"):
            ddfs.chunk("t", [source], max_record_size=400)
    with pytest.raises(BadInput, match=r"data: record 10, which ends at or before byte \d+,"):
        ddfs.chunk("t", [path], reader=words, max_record_size=400)
    with pytest.raises(BadInput, match="around byte 100 is longer than 400"):
        ddfs.chunk("t", [path], chunk_size=100, max_record_size=400)
    _, urls = ddfs.chunk("t", [path], max_record_size=501)
    assert len(urls) == 1
    assert len(list(ddfs.list())) == 1


def test_damage_and_failing_readers_are_told_and_nothing_is_tagged(
    ddfs: DDFS, tmp_path: Path
) -> None:
    def fails(fd: Any, size: int, url: str) -> Iterator[str]:
        yield "one"
        raise KeyError("two")

    for number, data in enumerate(
        [
            gzip.compress(TEXT)[:-9],
            bz2.compress(TEXT)[:-9],
            lzma.compress(TEXT)[:-9],
            zstandard.compress(TEXT)[:-9],
            gzip.compress(TEXT)[:100] + b"\0" * 100,
            bz2.compress(TEXT)[:100] + b"\0" * 100,
            b"\x28\xb5\x2f\xfd" + b"\xff" * 100,
        ]
    ):
        path = tmp_path / f"damaged-{number}"
        path.write_bytes(data)
        with pytest.raises(BadInput, match=f"damaged-{number} is damaged or cut short"):
            ddfs.chunk("t", [path], chunk_size=1000)
    with pytest.raises(BadInput, match="failed after 1 records: KeyError: 'two'"):
        ddfs.chunk("t", io.BytesIO(b"x"), reader=fails)
    with pytest.raises(BadInput, match="cannot be pickled"):
        ddfs.chunk("t", io.BytesIO(b"x"), reader=lambda fd, size, url: [fd], format="disco")
    with pytest.raises(BadInput, match="no lines"):
        ddfs.chunk("t", io.BytesIO(b"x"), reader=words, format="plain")
    with pytest.raises(BadInput, match="zstd, plain, disco"):
        ddfs.chunk("t", io.BytesIO(b"x"), format="rar")
    with pytest.raises(FileNotFoundError):
        ddfs.chunk("t", [tmp_path / "damaged-0", tmp_path / "nowhere"])
    assert not ddfs.exists("t")


def test_an_input_with_the_url_of_a_blob_is_fetched(ddfs: DDFS, backend: Backend) -> None:
    blob = backend.files.add(gzip.compress(b"one\ntwo\n"))
    _, urls = ddfs.chunk("t", [f"blob:{blob.id}"])
    assert stored(ddfs, urls) == [["one\n", "two\n"]]


def test_the_blobs_of_a_tag_are_chunked_anew(ddfs: DDFS) -> None:
    ddfs.chunk("small", io.BytesIO(TEXT), chunk_size=50_000)
    ddfs.push("more", io.BytesIO(gzip.compress(b"the end\n")))
    ddfs.put("all", ["tag://small", "tag://more"])
    _, urls = ddfs.chunk("plain", "tag://all", format="plain", chunk_size=10**9)
    assert len(urls) > 1, "blobs are not joined"
    records = b"".join(ddfs.cluster.open_blob(url.removeprefix("blob:")).read() for [url] in urls)
    assert records == TEXT + b"the end\n"


@given(
    text=st.text("ab\n", max_size=200).map(str.encode),
    size=st.integers(1, 30),
    limit=st.integers(1, 40),
)
def test_blocks_of_lines_split_none_and_find_every_line_that_is_too_long(
    text: bytes, size: int, limit: int
) -> None:
    lines = list(io.BytesIO(text))
    longest = max(map(len, lines), default=0)
    if longest > limit:
        first = next(at for at, line in enumerate(lines) if len(line) > limit)
        place = len(b"".join(lines[:first])) + 7
        with pytest.raises(BadInput, match=f"the line at byte {place} is"):
            list(line_blocks(io.BytesIO(text), "input", limit, 7, size))
        return
    blocks = list(line_blocks(io.BytesIO(text), "input", limit, 7, size))
    assert b"".join(blocks) == text
    assert all(block.endswith(b"\n") for block in blocks[:-1])
