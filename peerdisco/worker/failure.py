"""From an exception in a task to words for the user: whose fault, where, at which record."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from peerdisco.dataflow.errors import BadRecord, CorruptRecords
from peerdisco.jobpack import BadPack, PythonMismatch
from peerdisco.messages import ErrorKind, TaskError
from peerdisco.worker.entries import InputError
from peerdisco.worker.functions import BadFunctions

MESSAGE_CHARACTERS_MAX = 500
TRACEBACK_CHARACTERS_MAX = 20_000

_OURS = str(Path(__file__).parents[1])
_LIBRARY = sysconfig.get_paths()["stdlib"]


def explain(error: BaseException, *, url: str, record: int, place: str) -> TaskError:
    """The TaskError for an exception that ended a task.

    `url` and `record` tell where the task was reading; `place` names the worker, in the last line
    of the traceback.
    """
    kind = _blame(error)
    message = str(error) if _is_plain(error) else _line(error)
    trace = "" if kind is not ErrorKind.USER else _user_traceback(error)
    if trace:
        trace = f"{trace[-TRACEBACK_CHARACTERS_MAX:]}  ({place})\n"
    return TaskError(kind, message[:MESSAGE_CHARACTERS_MAX], trace, url, record)


def _blame(error: BaseException) -> ErrorKind:
    if isinstance(error, CorruptRecords | InputError):
        return ErrorKind.INPUT
    if isinstance(error, MemoryError | PythonMismatch):
        return ErrorKind.NODE
    if isinstance(error, OSError) and _raised_by_us(error):
        return ErrorKind.NODE
    return ErrorKind.USER


def _is_plain(error: BaseException) -> bool:
    """Our own errors are sentences already; a user's error needs the name of its type."""
    return isinstance(error, CorruptRecords | InputError | BadRecord | BadFunctions | BadPack)


def _line(error: BaseException) -> str:
    text = "".join(traceback.format_exception_only(error)).strip()
    return text.splitlines()[-1] if text else type(error).__name__


def _raised_by_us(error: BaseException) -> bool:
    """Whether we made the call that failed: a full disk, say, and not the user's own file."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(_OURS):
            return True
        if not frame.filename.startswith((_LIBRARY, "<frozen")):
            return False
    return False


def _user_traceback(error: BaseException) -> str:
    summary = traceback.TracebackException.from_exception(error)
    for part in _chain(summary):
        kept = [frame for frame in part.stack if not frame.filename.startswith(_OURS)]
        part.stack = traceback.StackSummary.from_list(kept)
    if not any(part.stack for part in _chain(summary)):
        return ""  # the message says it all
    return "".join(summary.format())


def _chain(
    summary: traceback.TracebackException | None,
) -> Iterator[traceback.TracebackException]:
    while summary is not None:
        yield summary
        summary = summary.__cause__ or summary.__context__
