"""What operators may ask about a group: plain values, made on demand."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from peerdisco_election.messages import Configuration, Recovery


class Role(enum.StrEnum):
    """What a member does in its term (paper, figure 4)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Cause(enum.StrEnum):
    """Why a member stood for election."""

    ASKED = "asked"
    CREATED = "created"
    TIMEOUT = "heartbeats missing"
    EVIDENCE = "evidence against the leader"
    DISOWNED = "the leader's node no longer leads"
    TRANSFER = "leadership transfer"


@dataclass(frozen=True, slots=True)
class Election:
    """The latest election that a member stood in.

    Attributes:
        cause: Why.
        term: The term it stood for.
        at: When, on the loop's clock.
    """

    cause: Cause
    term: int
    at: float


@dataclass(frozen=True, slots=True)
class CoreStatus:
    """A member of a group, as it sees itself.

    Attributes:
        me: The node.
        role: What it does.
        term: Its term.
        vote: Whom it voted for in that term.
        leader: Who leads, as far as it knows.
        configuration: The members.
        first: Oldest entry in its log.
        last: Newest entry.
        stable: Newest durable entry.
        commit: Newest committed entry.
        snapshot: Last entry in its snapshot.
        match: On a leader, what each peer is known to hold durably.
        election: The latest that it stood in.
        refused: Messages dropped since no correct peer would send them.
    """

    me: str
    role: Role
    term: int
    vote: str | None
    leader: str | None
    configuration: Configuration
    first: int
    last: int
    stable: int
    commit: int
    snapshot: int
    match: Mapping[str, int]
    election: Election | None
    refused: int


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A group on this node, for `raft list` and `raft show`.

    Attributes:
        name: The group's.
        core: The member's own view.
        applied: Last entry that the state machine has seen.
        waiting: Proposals of this node whose outcome is open.
        removed: This node was a member and is none any more.
        era: How often the group was recovered by force.
        superseded: It was, without this node, which takes part no more.
        recovery: What the latest recovery that kept this node kept, and gave up.
    """

    name: str
    core: CoreStatus
    applied: int
    waiting: int
    removed: bool
    era: int = 0
    superseded: bool = False
    recovery: Recovery | None = None
