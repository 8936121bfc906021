"""What the user's code prints, as lines for the node, and still on the worker's standard error.

Frames carry a bounded number of lines; what is beyond is counted, never kept. The copy on standard
error is what remains when the process dies.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

from peerdisco.worker.messages import LOG_LINE_CHARACTERS_MAX, LOG_LINES_MAX


class Log(io.TextIOBase):
    """Collects printed lines between two frames."""

    def __init__(self, copy: TextIO | None) -> None:
        super().__init__()
        self._copy = copy
        self._lines: list[str] = []
        self._dropped = 0
        self._rest = ""

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """While it lasts, `print` and its like write here."""
        with redirect_stdout(self), redirect_stderr(self):
            yield

    def write(self, text: str) -> int:
        """Take a piece of output; only whole lines are handed out."""
        if self._copy is not None:
            self._copy.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._add(line)
        self._rest = self._rest[:LOG_LINE_CHARACTERS_MAX]
        return len(text)

    def flush(self) -> None:
        """Hand the copy on."""
        if self._copy is not None:
            self._copy.flush()

    def fileno(self) -> int:
        """The copy's descriptor, for programs that the user's code starts."""
        if self._copy is None:
            raise io.UnsupportedOperation("this output has no descriptor")
        return self._copy.fileno()

    def writable(self) -> bool:
        """It is."""
        return True

    def take(self, *, last: bool = False) -> tuple[str, ...]:
        """The lines since the last call; with `last` an unfinished one, too."""
        if last and self._rest:
            self._add(self._rest)
            self._rest = ""
        if self._dropped:
            self._lines.append(f"({self._dropped} more lines were printed and not kept)")
        lines, self._lines, self._dropped = tuple(self._lines), [], 0
        return lines

    def _add(self, line: str) -> None:
        if len(self._lines) < LOG_LINES_MAX:
            self._lines.append(line[:LOG_LINE_CHARACTERS_MAX])
        else:
            self._dropped += 1
