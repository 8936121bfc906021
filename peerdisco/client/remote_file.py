"""A blob as a binary file: streamed, and resumed at another node where it broke off.

A blob is named by its content, so any copy continues where another ended, to the byte; readers of
records above notice nothing.
"""

from __future__ import annotations

import io
from contextlib import ExitStack
from http.client import HTTPResponse
from typing import TYPE_CHECKING

from peerdisco.client.connection import NETWORK_ERRORS
from peerdisco.client.errors import NoCluster

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from peerdisco.client.session import Session

BUFFER_BYTES = 256 * 1024
RESUMES_WITHOUT_PROGRESS_MAX = 8


class RemoteFile(io.BufferedReader):
    """Reads one blob, or a part of it, from beginning to end.

    Args:
        session: How to reach the cluster.
        path: Of the blob in the REST API.
        url: Of the blob.
        start: First byte of the part.
        stop: Byte behind the part, which the blob must have; None for the end of the blob.

    Attributes:
        url: As it stands in tags.
    """

    def __init__(
        self,
        session: Session,
        path: str,
        url: str = "",
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        super().__init__(_Stream(session, path, start, stop), BUFFER_BYTES)
        self.url = url or "blob:" + path.rpartition("/")[2]

    def __len__(self) -> int:
        """Size of the blob in bytes; opens it when nothing was read yet."""
        stream = self.raw
        assert isinstance(stream, _Stream)
        return stream.size()


class _Stream(io.RawIOBase):
    """The bytes of one blob, over as many answers as it takes."""

    def __init__(self, session: Session, path: str, start: int, stop: int | None) -> None:
        self._session = session
        self._path = path
        self._position = start
        self._stop = stop
        self._size = stop
        self._answer = ExitStack()
        self._response: HTTPResponse | None = None
        self._resumes = 0

    def readable(self) -> bool:
        return True

    def size(self) -> int:
        """Size of the blob. Raises like `Session.call`."""
        self._open()
        assert self._size is not None
        return self._size

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while self._position != self._size:
            response = self._open()
            try:
                count = response.readinto(view) if self._position != self._size else 0
            except NETWORK_ERRORS:
                count = 0
            if count:
                self._position += count
                self._resumes = 0
                return count
            self._break_off()
        self._end()
        return 0

    def close(self) -> None:
        self._end()
        super().close()

    def _open(self) -> HTTPResponse:
        """The answer that is being read, asked for anew from the position where one broke."""
        if self._response is None:
            last = "" if self._stop is None else self._stop - 1
            whole = not self._position and self._stop is None
            headers = {} if whole else {"Range": f"bytes={self._position}-{last}"}
            self._response = self._answer.enter_context(
                self._session.stream("GET", self._path, headers=headers)
            )
            length = int(self._response.headers.get("Content-Length", "0"))
            self._size = self._position + length
        return self._response

    def _break_off(self) -> None:
        if self._position == self._size:
            return
        self._end()
        self._resumes += 1
        if self._resumes > RESUMES_WITHOUT_PROGRESS_MAX:
            raise NoCluster(f"no node of the cluster can serve {self._path} to its end")

    def _end(self) -> None:
        self._response = None
        self._answer.close()
