"""From inputs to chunks: records are never split, and each chunk is a file that stands for itself.

| format  | of lines                                    | of a reader's records               |
|---------|---------------------------------------------|-------------------------------------|
| `zstd`  | compressed text, see `dataflow/lines.py`    | a record stream, `dataflow/format.py` |
| `plain` | the text as it is                           | not possible                        |
| `disco` | Disco's own stream, `dataflow/disco_format.py` | the same                         |

Jobs and `cat` know all of them by how they begin. Several inputs, and the parts of one big text,
are worked on at the same time; what is on its way lies in temporary files, of which there are only
so many, so memory does not depend on the size of chunks or inputs.
"""

from __future__ import annotations

import enum
import io
import pickle
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast

from peerdisco.client.chunks import (
    CHUNK_BYTES,
    LINE_BYTES_MAX,
    Piece,
    cut,
    too_long,
    whole,
)
from peerdisco.client.cluster import Cluster
from peerdisco.client.decompression import DAMAGES, decompressed, is_compressed
from peerdisco.client.errors import BadInput, PeerdiscoError
from peerdisco.client.sources import Source
from peerdisco.dataflow.disco_format import HUNK_BYTES, DiscoWriter
from peerdisco.dataflow.errors import BadRecord
from peerdisco.dataflow.format import Batch, RecordWriter
from peerdisco.dataflow.lines import FRAME_BYTES, FRAME_BYTES_MAX, LinesWriter
from peerdisco.util import argument_count, iskv
from peerdisco_webui.messages import BlobView

UPLOADS_MAX = 4
CHUNKS_ON_DISK_MAX = 8
"""Finished chunks that wait to be sent, over all inputs."""
BATCH_RECORDS = 4096
RECORD_BYTES_MAX = FRAME_BYTES_MAX - FRAME_BYTES
ROOM_CHECK_S = 0.5
_END = object()

Reader = Callable[..., Iterable[Any]]
"""Like a map_reader: gets a binary file, its size (0: unknown), its name and perhaps None for
params, and yields records."""


class Format(enum.StrEnum):
    """What chunks look like."""

    ZSTD = "zstd"
    PLAIN = "plain"
    DISCO = "disco"

    @classmethod
    def of(cls, name: str) -> Format:
        """The format of a name. Raises BadInput."""
        try:
            return cls(name)
        except ValueError:
            raise BadInput(f"chunks are {', '.join(cls)}, not {name!r}") from None


@dataclass(frozen=True, slots=True)
class Chunking:
    """How to chunk.

    Attributes:
        format: What the chunks look like.
        reader: Yields records; None for lines.
        chunk_bytes: A chunk ends with the first record that reaches this many bytes; of Disco's
            format, that many bytes compressed, as in Disco.
        record_bytes_max: A longer record is an error.
    """

    format: Format = Format.ZSTD
    reader: Reader | None = None
    chunk_bytes: int = CHUNK_BYTES
    record_bytes_max: int = LINE_BYTES_MAX

    def __post_init__(self) -> None:
        """Raises BadInput for what does not go together."""
        if self.reader is not None and self.format is Format.PLAIN:
            raise BadInput("a reader's records are no lines: use the format zstd or disco")
        if self.chunk_bytes < 1 or not 1 <= self.record_bytes_max <= RECORD_BYTES_MAX:
            raise BadInput(f"chunks have at least 1 byte, records 1 to {RECORD_BYTES_MAX}")


def store(
    cluster: Cluster,
    sources: Iterable[Source],
    chunking: Chunking,
    *,
    replicas: int | None = None,
    tag: str = "",
) -> list[BlobView]:
    """Store inputs as chunks; the blobs in the order of the inputs and of each input.

    The first failure is raised; what was stored stays unnamed. Raises BadInput for a record over
    the limit, a damaged input and a reader that fails, and OSError.
    """
    with (
        tempfile.TemporaryDirectory(prefix="peerdisco-") as directory,
        ThreadPoolExecutor(UPLOADS_MAX, "peerdisco-upload") as uploads,
        ThreadPoolExecutor(UPLOADS_MAX, "peerdisco-chunk") as makers,
    ):
        maker = _Maker(cluster, chunking, replicas, tag, Path(directory), uploads)
        try:
            parts = [part for source in sources for part in maker.parts(source)]
            made = [makers.submit(maker.guard, part) for part in parts]
            return [put.result() for each in made for put in each.result()]
        except BaseException as error:
            maker.stop(error)
            makers.shutdown(cancel_futures=True)
            uploads.shutdown(cancel_futures=True)
            raise maker.failure from None


_Puts = list[Future[BlobView]]


class _Stopped(Exception):
    """Something else has failed."""


class _Maker:
    """Makes chunks, in several threads at a time, and hands them to those that send.

    Attributes:
        failure: What failed first.
    """

    def __init__(
        self,
        cluster: Cluster,
        chunking: Chunking,
        replicas: int | None,
        tag: str,
        directory: Path,
        uploads: ThreadPoolExecutor,
    ) -> None:
        self._cluster = cluster
        self._chunking = chunking
        self._replicas = replicas
        self._tag = tag
        self._directory = directory
        self._uploads = uploads
        self._room = threading.Semaphore(CHUNKS_ON_DISK_MAX)
        self._stopped = threading.Event()
        self.failure: BaseException = _Stopped()

    def stop(self, error: BaseException) -> None:
        """Let everything end as soon as it can; the first error is the one that counts."""
        if not self._stopped.is_set():
            self.failure = error
            self._stopped.set()

    def parts(self, source: Source) -> Iterator[Callable[[], _Puts]]:
        """The work that an input is, in parts that can be done at the same time."""
        chunking = self._chunking
        cuttable = chunking.reader is None and chunking.format is not Format.DISCO
        if not cuttable or source.path is None or is_compressed(source.path):
            yield partial(self._stream, source)
            return
        for piece in cut(source.path, chunking.chunk_bytes, chunking.record_bytes_max):
            yield partial(self._piece, source.name, piece)

    def guard(self, part: Callable[[], _Puts]) -> _Puts:
        """Do a part; when it fails, everything stops."""
        try:
            return part()
        except BaseException as error:
            self.stop(error)
            raise

    def _piece(self, name: str, piece: Piece) -> _Puts:
        """A part of a text file is one chunk, whatever its size."""
        with piece.open() as file:
            blocks = self._blocks(file, name, piece.start)
            return self._send(_lines_writer(self._chunking.format), blocks, None)

    def _stream(self, source: Source) -> _Puts:
        with source.open(self._cluster) as raw, decompressed(raw, source.name) as file:
            try:
                return self._read(source, file)
            except BadRecord as error:
                raise BadInput(f"{source.name}: {error}") from error

    def _read(self, source: Source, file: BinaryIO) -> _Puts:
        chunking = self._chunking
        if chunking.reader is not None:
            records = _records(chunking.reader, file, source, chunking.record_bytes_max)
            kind: _MakeWriter = _Batches if chunking.format is Format.ZSTD else self._disco
            return self._send(kind, records, chunking.chunk_bytes)
        blocks = self._blocks(file, source.name, 0)
        if chunking.format is Format.DISCO:
            lines = ((line, len(line)) for block in blocks for line in io.BytesIO(block))
            return self._send(self._disco, lines, chunking.chunk_bytes)
        return self._send(_lines_writer(chunking.format), blocks, chunking.chunk_bytes)

    def _disco(self, file: BinaryIO) -> _Writer:
        return _DiscoRecords(file, min(HUNK_BYTES, self._chunking.chunk_bytes))

    def _blocks(self, file: BinaryIO, name: str, start: int) -> Iterator[bytes]:
        size = min(FRAME_BYTES, self._chunking.chunk_bytes)
        return line_blocks(file, name, self._chunking.record_bytes_max, start, size)

    def _send(self, make_writer: _MakeWriter, records: Iterator[Any], size: int | None) -> _Puts:
        """Chunks of so many bytes, or one of all records; an empty input has none."""
        puts = []
        for first in records:
            self._wait_for_room()
            with tempfile.NamedTemporaryFile(dir=self._directory, delete=False) as file:
                writer = make_writer(cast("BinaryIO", file))
                writer.write(first)
                while size is None or writer.size < size:
                    self._check()
                    record = next(records, _END)
                    if record is _END:
                        break
                    writer.write(record)
                writer.close()
            puts.append(self._uploads.submit(self._put, Path(file.name)))
        return puts

    def _wait_for_room(self) -> None:
        while not self._room.acquire(timeout=ROOM_CHECK_S):
            self._check()

    def _check(self) -> None:
        if self._stopped.is_set():
            raise _Stopped

    def _put(self, path: Path) -> BlobView:
        try:
            self._check()
            opened = whole(path).open
            return self._cluster.put_blob(opened, replicas=self._replicas, tag=self._tag)
        except BaseException as error:
            self.stop(error)
            raise
        finally:
            path.unlink()
            self._room.release()


def line_blocks(
    file: BinaryIO, name: str, limit: int, start: int = 0, size: int = FRAME_BYTES
) -> Iterator[bytes]:
    """A text in blocks of whole lines, of about `size` bytes as a rule.

    Args:
        file: The text.
        name: Of the input, for the error.
        limit: Bytes of the longest line that is allowed.
        start: Where in the input the text begins.
        size: Bytes read at a time.

    Raises BadInput for a longer line, with its place.
    """
    parts: list[bytes] = []
    held, offset = 0, start
    while block := file.read(size):
        end = block.rfind(b"\n") + 1
        parts.append(block[:end] or block)
        held += len(parts[-1])
        if not end:
            if held > limit:
                raise too_long(name, f"the line at byte {offset}", limit)
            continue
        lines = b"".join(parts)
        _check_lines(lines, name, limit, offset)
        yield lines
        offset += len(lines)
        parts, held = [block[end:]], len(block) - end
    if held:
        lines = b"".join(parts)
        _check_lines(lines, name, limit, offset)
        yield lines


def _check_lines(lines: bytes, name: str, limit: int, offset: int) -> None:
    if len(lines) <= limit:
        return
    position = 0
    for line in io.BytesIO(lines):
        if len(line) > limit:
            raise too_long(name, f"the line at byte {offset + position}", limit)
        position += len(line)


def _records(
    reader: Reader, file: BinaryIO, source: Source, limit: int
) -> Iterator[tuple[Any, int]]:
    """The records that a reader yields, and their sizes."""
    size = 0 if source.path is None or is_compressed(source.path) else source.path.stat().st_size
    arguments = (file, size, source.name, None)[: 4 if argument_count(reader) == 4 else 3]
    number = 0
    try:
        for record in reader(*arguments):
            length = _size(record)
            if length > limit:
                break
            yield record, length
            number += 1
        else:
            return
    except (PeerdiscoError, OSError, *DAMAGES):
        raise
    except Exception as error:
        raise BadInput(
            f"{source.name}: the reader failed after {number} records: "
            f"{type(error).__name__}: {error}"
        ) from error
    where = f"record {number}, which ends at or before byte {file.tell()},"
    raise too_long(source.name, where, limit)


def _size(record: object) -> int:
    if isinstance(record, bytes):
        return len(record)
    if isinstance(record, str):
        return len(record.encode("utf-8", "surrogatepass"))
    try:
        return len(pickle.dumps(record, 5))
    except Exception:  # the writer has another way, and says what is wrong if that fails too
        return 0


class _Writer(Protocol):
    @property
    def size(self) -> int:
        """Bytes so far, as the size of chunks is counted."""

    def write(self, record: Any, /) -> None:
        """Append a record, or a block of lines."""

    def close(self) -> None:
        """Make the chunk complete; the file stays open."""


_MakeWriter = Callable[[BinaryIO], _Writer]


def _lines_writer(format: Format) -> _MakeWriter:  # noqa: A002 - the word of the field
    return LinesWriter if format is Format.ZSTD else _PlainLines


class _PlainLines:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0

    def write(self, record: bytes, /) -> None:
        self.size += self._file.write(record)

    def close(self) -> None:
        self._file.flush()


class _DiscoRecords:
    def __init__(self, file: BinaryIO, hunk_bytes: int) -> None:
        self._writer = DiscoWriter(file, hunk_bytes)

    @property
    def size(self) -> int:
        return self._writer.size

    def write(self, record: tuple[Any, int], /) -> None:
        self._writer.write(record[0])

    def close(self) -> None:
        self._writer.close()


class _Batches:
    """Any records: those that are no pairs become keys, each with None for a value."""

    def __init__(self, file: BinaryIO) -> None:
        self._writer = RecordWriter(file)
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self.size = 0

    def write(self, record: tuple[Any, int], /) -> None:
        key, value = record[0] if iskv(record[0]) else (record[0], None)
        self._keys.append(key)
        self._values.append(value)
        self.size += record[1]
        if len(self._keys) >= BATCH_RECORDS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.finish()

    def _flush(self) -> None:
        self._writer.write(Batch(self._keys, self._values, None))
        self._keys, self._values = [], []
