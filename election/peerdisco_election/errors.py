"""How a proposal, a read or a recovery can fail, and what each failure left unchanged."""

from __future__ import annotations


class RaftError(Exception):
    """Base of everything that this package raises to its callers."""


class NotLeader(RaftError):
    """This node does not lead the group. Nothing was proposed.

    Attributes:
        leader: Who does, as far as this node knows.
    """

    def __init__(self, leader: str | None) -> None:
        super().__init__(f"not the leader; it is {leader or 'unknown'}")
        self.leader = leader


class Dropped(RaftError):
    """The proposal will never be committed: repeating it is safe.

    Attributes:
        reason: Why, for people.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unknown(RaftError):
    """The proposal was sent and nobody can say whether it is or will be committed.

    Attributes:
        reason: Why, for people.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CorruptLog(RaftError):
    """What the store holds of a group is damaged. Nothing was changed and nothing is trusted.

    Attributes:
        group: Name of the group.
    """

    def __init__(self, group: str, reason: str) -> None:
        super().__init__(f"group {group!r}: {reason}")
        self.group = group
