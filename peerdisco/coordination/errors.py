"""What can go wrong when somebody asks for something about a job."""

from __future__ import annotations

from peerdisco.errors import PeerdiscoError, TimedOut


class NoSuchJob(PeerdiscoError):
    """No job of that name was ever submitted here, or it was purged."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown job {name!r}")
        self.name = name


class JobRefused(PeerdiscoError):
    """The job pack cannot be accepted; nothing was changed."""


class JobUnreachable(TimedOut):
    """No coordinator or storage answered in time. What was asked for may still happen."""


class JobOver(Exception):
    """The job's group is gone: what is left of it lies in the archive."""
