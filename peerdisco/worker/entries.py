"""From the inputs of a task to the entries that its function sees, counted on the way.

What a map function gets, as an entry:

- of a text, also of a chunk that holds one compressed, each line as `str` *with* its newline,
  exactly as `for line in open(path)` gives it (universal newlines); bytes that are not UTF-8 become
  U+FFFD;
- of a `raw://` input, its whole text, without a newline;
- of a result of another job, each record as a (key, value) pair;
- of a stream in Disco's format, each record as it is, strings of Python 2 as `str`;
- of a job with `map_reader(fd, size, url[, params])`, whatever that yields; `fd` is a binary
  file, and of a chunk the text in it, unless the reader is `chain_reader`.

A reduce function gets the records of the stage before it. If it is the first stage itself, it gets
entries as above, with `reduce_reader` in place of `map_reader`.

Counting costs no step of Python's per entry: `itertools.repeat` knows how often it was asked.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from itertools import chain, compress, islice, repeat
from operator import length_hint
from typing import Any, BinaryIO

from peerdisco.dataflow.collect import CHUNK_RECORDS, columns
from peerdisco.dataflow.disco_format import is_disco_stream, read_disco
from peerdisco.dataflow.files import Files
from peerdisco.dataflow.format import MAGIC, Batch, is_record_stream, read_batches
from peerdisco.dataflow.lines import decoded
from peerdisco.dataflow.records import chain_reader
from peerdisco.dataflow.runs import expand
from peerdisco.util import argument_count
from peerdisco.worker.messages import InputKind, LocalInput

TICKS = (1 << 63) - 1

Reader = Callable[..., Any]
Read = Callable[[LocalInput, BinaryIO], Iterator[Any]]


class InputError(OSError):
    """An input could not be opened. The task did nothing with it."""


class Ticks:
    """Counts the items of an iterator that runs in C."""

    def __init__(self) -> None:
        self._left = repeat(True, TICKS)

    @property
    def count(self) -> int:
        """Items that passed so far."""
        return TICKS - length_hint(self._left)

    def through(self, items: Iterator[Any]) -> Iterator[Any]:
        """The same items, counted."""
        return compress(items, self._left)


class Entries:
    """The inputs of one task as one stream.

    Attributes:
        stream: All entries, counted.
        url: The input being read; empty before the first and after the last.
    """

    def __init__(
        self,
        files: Files,
        inputs: Sequence[LocalInput],
        reader: Reader | None,
        params: Any,
    ) -> None:
        self._files = files
        self._inputs = inputs
        self._reader = reader
        self._params = params
        self._ticks = Ticks()
        self._input_began = 0
        self.url = ""
        self._text: io.TextIOWrapper | None = None
        self._opening = self._opened(self._entries)
        self.stream = self._ticks.through(chain.from_iterable(self._opening))

    @property
    def count(self) -> int:
        """Entries that were handed out."""
        return self._ticks.count

    @property
    def position(self) -> int:
        """Number of the last entry in the current input, from 0; -1 when there is none."""
        return self.count - self._input_began - 1 if self.url else -1

    def counted(self, records: Iterator[Any]) -> Iterator[Any]:
        """Count records that stand for the entries, as the sorted ones do."""
        return self._ticks.through(records)

    def close(self) -> None:
        """Close the input being read."""
        self._opening.close()

    def batches(self) -> Iterator[Batch]:
        """All inputs as batches of records, for sorting. `count` does not see them."""
        self._opening = self._opened(self._batches)
        return chain.from_iterable(self._opening)

    def _opened(self, read: Read) -> Generator[Iterator[Any], None, None]:
        """What each input holds, one after another; each is closed when the next begins."""
        for local in self._inputs:
            self._input_began = self.count
            self.url = local.url
            with self._open(local) as file:
                yield read(local, file)
        self.url = ""

    def _open(self, local: LocalInput) -> BinaryIO:
        if local.kind is InputKind.TEXT:
            return io.BytesIO(local.text.encode())
        failures: list[OSError] = []
        for path in (local.path, *local.replicas):
            try:
                return self._files.open_read(path)
            except OSError as error:
                failures.append(error)
        first = failures[0]
        raise InputError(f"cannot open {local.url}: {first.strerror or first}") from first

    def _batches(self, local: LocalInput, file: BinaryIO) -> Iterator[Batch]:
        if local.kind is InputKind.RECORDS or (self._reader is None and _is_records(local, file)):
            return read_batches(file, trusted=True)
        chunks = iter(partial(_take, self._entries(local, file)), [])
        return (Batch(*columns(chunk), None) for chunk in chunks)

    def _entries(self, local: LocalInput, file: BinaryIO) -> Iterator[Any]:
        if self._reader is not None and local.kind is not InputKind.RECORDS:
            return self._read_by_user(self._reader, local, file)
        if _is_records(local, file):
            return chain.from_iterable(map(expand, read_batches(file, trusted=True)))
        if local.kind is InputKind.TEXT:
            return iter((local.text,))
        if is_disco_stream(_head(file)):
            return read_disco(file, trusted=True)
        file, _ = decoded(file)
        # Kept until its file is closed: a text file that is dropped before warns.
        self._text = io.TextIOWrapper(file, encoding="utf-8", errors="replace")
        return self._text

    def _read_by_user(self, reader: Reader, local: LocalInput, file: BinaryIO) -> Iterator[Any]:
        if reader is chain_reader:
            size = local.size
        else:
            file, size = decoded(file)
        arguments = (file, size, local.url, self._params)
        return iter(reader(*arguments[: 4 if argument_count(reader) == 4 else 3]))


def _is_records(local: LocalInput, file: BinaryIO) -> bool:
    """Results of other jobs are recognised by their head: no text begins like that."""
    if local.kind is InputKind.LINES:
        return is_record_stream(_head(file))
    return local.kind is InputKind.RECORDS


def _head(file: BinaryIO) -> bytes:
    """How a file begins."""
    head = file.read(len(MAGIC))
    file.seek(0)
    return head


def _take(entries: Iterator[Any]) -> list[Any]:
    return list(islice(entries, CHUNK_RECORDS))
