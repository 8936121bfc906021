"""Errors that end a command, each with its exit code.

Whoever raises one says what happened, where, and what to do; nothing was changed unless the
message says so. The codes: 1 error, 2 usage, 3 job failed, 4 no cluster reachable, 5 timeout,
78 bad configuration (systemd does not restart on it).
"""

from __future__ import annotations


class PeerdiscoError(Exception):
    """Base of everything that a person is told about."""

    exit_code = 1


class ConfigurationError(PeerdiscoError):
    """The settings, the data directory or the environment cannot work as they are."""

    exit_code = 78


class StoreFailed(PeerdiscoError):
    """The node stopped because its disk refused a write; what was acknowledged is safe."""


class NoCluster(PeerdiscoError):
    """No peer answered at any known address."""

    exit_code = 4


class TimedOut(PeerdiscoError):
    """It did not happen in the time given; it may still happen."""

    exit_code = 5


class JoinFailed(PeerdiscoError):
    """The node could not become a member; its own data is unchanged."""

    exit_code = 4


class JoinRefused(JoinFailed):
    """The cluster or the node itself refuses; trying again changes nothing."""

    exit_code = 78
