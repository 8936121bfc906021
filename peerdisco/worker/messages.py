"""What a node and its worker processes say to each other.

One RunTask goes in; any number of Progress and one Completed come out. Frames are CBOR arrays
like those of `peerdisco/messages.py`. Paths are relative to the node's data directory, which is
the worker's working directory; only `file://` inputs have absolute ones.
"""

from __future__ import annotations

import enum

from peerdisco.messages import Assignment, BadMessage, Failed, Finished, Message, decode, encode

LOG_LINES_MAX = 200
"""Lines of user output that one frame carries; what is beyond is counted and dropped."""

LOG_LINE_CHARACTERS_MAX = 2000
"""A longer line of user output is cut."""


class InputKind(enum.StrEnum):
    """How the bytes of an input become entries."""

    LINES = "lines"
    RECORDS = "records"
    TEXT = "text"


class LocalInput(Message, frozen=True, array_like=True):
    """An input that the worker can open by itself.

    Attributes:
        url: Where it came from, for messages and for `map_reader`.
        kind: LINES of a text file, RECORDS of a record stream, or one TEXT that stands here.
        path: The file; empty for TEXT.
        text: The entry itself, for TEXT.
        size: Bytes, 0 when unknown.
        replicas: Further files with the same content, for when `path` cannot be opened.
    """

    url: str
    kind: InputKind
    path: str = ""
    text: str = ""
    size: int = 0
    replicas: tuple[str, ...] = ()


class RunTask(Message, frozen=True, array_like=True, tag="run"):
    """Run one attempt.

    Attributes:
        assignment: The attempt.
        pack_path: The job pack.
        inputs: The assignment's inputs, in its order.
        output_directory: Where outputs and spills go; exists for this attempt alone.
        memory_bytes_max: What the records held by this task may take.
    """

    assignment: Assignment
    pack_path: str
    inputs: tuple[LocalInput, ...]
    output_directory: str
    memory_bytes_max: int


class Progress(Message, frozen=True, array_like=True, tag="progress"):
    """The task goes on.

    Attributes:
        records_in: Entries read so far.
        records_out: Records produced so far.
        log: Lines that the user's code printed since the last frame.
    """

    records_in: int
    records_out: int
    log: tuple[str, ...] = ()


class Completed(Message, frozen=True, array_like=True, tag="completed"):
    """The task is over.

    Attributes:
        outcome: Finished, whose output URLs are paths in the output directory, or Failed.
        log: Lines that the user's code printed since the last frame.
    """

    outcome: Finished | Failed
    log: tuple[str, ...] = ()


Response = Progress | Completed
"""A frame from the worker."""


def decode_request(frame: bytes) -> RunTask:
    """The request in a frame. Raises BadMessage."""
    return decode(frame, RunTask)


def decode_response(frame: bytes) -> Response:
    """The response in a frame. Raises BadMessage."""
    return decode(frame, Response)  # type: ignore[arg-type]  # a union is a type to msgspec, not to mypy


__all__ = [
    "RunTask",
    "LocalInput",
    "InputKind",
    "Progress",
    "Completed",
    "Response",
    "decode_request",
    "decode_response",
    "encode",
    "BadMessage",
    "LOG_LINES_MAX",
    "LOG_LINE_CHARACTERS_MAX",
]
