"""What the REST API says and hears about Raft groups; the rules are those of `messages.py`."""

from __future__ import annotations

import enum

from peerdisco_webui.messages import View


class GroupState(enum.StrEnum):
    """How a Raft group is doing."""

    LED = "led"
    """A leader is known."""
    ELECTING = "electing"
    """None is, but a majority of the voters is alive."""
    STUCK = "no majority"
    """Too few voters are alive: nothing can be agreed on until they are back."""


class GroupView(View, frozen=True, kw_only=True):
    """A Raft group in a list.

    Attributes:
        name: `layout`, or `job/` and the job's name.
        state: How it is doing.
        detail: What is wrong and what to do about it; empty when nothing is.
        leader: Name of the node that leads; empty when none is known to.
        term: How often a leader was elected, or somebody stood.
        voters: Names of the nodes that vote.
    """

    name: str
    state: GroupState
    detail: str = ""
    leader: str = ""
    term: int = 0
    voters: tuple[str, ...] = ()


class GroupList(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/raft`."""

    groups: tuple[GroupView, ...]


class GroupMember(View, frozen=True, kw_only=True):
    """One member of a Raft group; -1 stands for what is not known.

    Attributes:
        node: Name of its node.
        id: Identity of its node.
        part: `voter`, `leaving voter`, `learner` or `none`.
        role: What it does, or `silent` when it does not answer.
        term: The latest that it has seen.
        last: Newest entry of its log.
        commit: Newest entry that it knows to be committed.
        applied: Newest entry that its state machine has seen.
        snapshot: Last entry in its snapshot.
        match: Newest entry that the leader knows to be durable there.
    """

    node: str
    id: str
    part: str
    role: str
    term: int = -1
    last: int = -1
    commit: int = -1
    applied: int = -1
    snapshot: int = -1
    match: int = -1


class ElectionView(View, frozen=True, kw_only=True):
    """The latest election that anybody is known to have stood in.

    Attributes:
        node: Who stood.
        term: For which term.
        cause: Why.
        seconds_ago: How long ago.
    """

    node: str
    term: int
    cause: str
    seconds_ago: float


class GroupDetail(GroupView, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/raft/{name}`.

    Attributes:
        members: Who belongs to it, or did.
        election: The latest.
        era: How often it was recovered by force.
        recovery: What the latest recovery by force kept, and what may have been lost.
    """

    members: tuple[GroupMember, ...] = ()
    election: ElectionView | None = None
    era: int = 0
    recovery: str = ""


class Recover(View, frozen=True, kw_only=True):
    """Body of `POST /api/v1/raft/{name}/recover`.

    Attributes:
        keep: Name or id of the node whose copy of the group is kept.
        confirmed: Do it; otherwise only say what would be done.
    """

    keep: str
    confirmed: bool = False


class Recovery(View, frozen=True, kw_only=True):
    """Answer of `POST /api/v1/raft/{name}/recover`.

    Attributes:
        name: The group.
        kept: Name of the node that is the whole group, or would be.
        consequence: What is kept, and what may be lost.
        done: Whether it has happened.
    """

    name: str
    kept: str
    consequence: str
    done: bool
