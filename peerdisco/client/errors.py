"""What can go wrong for a client, in words for its user.

The base class and the exit codes are in `peerdisco.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerdisco.errors import NoCluster, PeerdiscoError, TimedOut

if TYPE_CHECKING:
    from peerdisco_webui.messages import ErrorView


class JobError(PeerdiscoError):
    """The job died.

    Attributes:
        job: Its name.
        error: What the cluster knows of the cause; None when there is nothing more to know.
    """

    exit_code = 3

    def __init__(self, job: str, message: str, error: ErrorView | None = None) -> None:
        super().__init__(job, message, error)
        self.job = job
        self.message = message
        self.error = error

    def __str__(self) -> str:
        """The message, with the user's traceback from the node."""
        heading = f"Job {self.job} failed: {self.message}"
        if self.error is None:
            return heading
        lines = [heading, *_circumstances(self.error)]
        if self.error.traceback:
            lines += ["", self.error.traceback.rstrip()]
        return "\n".join(lines)


def _circumstances(error: ErrorView) -> list[str]:
    where = [f"in {error.stage} task {error.task}"] if error.stage else []
    if error.node:
        where.append(f"on node {error.node}")
    record = f"record {error.record} of " if error.record >= 0 else ""
    lines = ["  " + " ".join(where)] if where else []
    if error.input or record:
        lines.append(f"  at {record}{error.input or 'its input'}")
    return lines


class Refused(PeerdiscoError):
    """A node understood the request and refused it; repeating it elsewhere will not help.

    Attributes:
        status: Of the HTTP answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        """The node's own words."""
        return self.message


class NotFound(Refused):
    """There is no such job, tag or blob."""


class TokenNeeded(Refused):
    """The tag has a token, and it did not come with the request."""


class Unavailable(PeerdiscoError):
    """Nodes answer, but too few of them; whether a change happened is unknown."""


class BadInput(PeerdiscoError):
    """An input of a job is neither here nor there. Nothing was submitted."""

    exit_code = 2


class BadJob(PeerdiscoError):
    """The job cannot be sent as it is. Nothing was submitted."""

    exit_code = 2


class WrongCluster(PeerdiscoError):
    """The peer cannot prove that it belongs to the cluster of the client string."""

    exit_code = 4


__all__ = [
    "PeerdiscoError",
    "NoCluster",
    "TimedOut",
    "JobError",
    "Refused",
    "NotFound",
    "TokenNeeded",
    "Unavailable",
    "BadInput",
    "BadJob",
    "WrongCluster",
]
