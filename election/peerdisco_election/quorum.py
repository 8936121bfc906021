"""The arithmetic of majorities, also of two at once (paper, sections 5.2, 5.4 and 6).

Pure functions over a `Configuration`. While a configuration is joint, everything needs a majority
of the incoming voters and a majority of the outgoing ones. Learners never count.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from peerdisco_election.messages import Configuration


class Vote(enum.Enum):
    """How a ballot stands."""

    WON = "won"
    LOST = "lost"
    PENDING = "pending"


def size(voters: tuple[str, ...]) -> int:
    """How many of these voters make a majority."""
    return len(voters) // 2 + 1


def halves(configuration: Configuration) -> tuple[tuple[str, ...], ...]:
    """The sets of voters that must each agree: one, or two while joint."""
    if configuration.outgoing:
        return (configuration.voters, configuration.outgoing)
    return (configuration.voters,)


def everyone(configuration: Configuration) -> tuple[str, ...]:
    """All voters of both halves and all learners, sorted."""
    return tuple(sorted({*electorate(configuration), *configuration.learners}))


def electorate(configuration: Configuration) -> tuple[str, ...]:
    """All voters of both halves, sorted."""
    return tuple(sorted({*configuration.voters, *configuration.outgoing}))


def agreed(configuration: Configuration, values: Mapping[str, int]) -> int:
    """The greatest value that a quorum has reached; who is missing has reached 0."""
    reached = []
    for voters in halves(configuration):
        ordered = sorted((values.get(voter, 0) for voter in voters), reverse=True)
        reached.append(ordered[size(voters) - 1] if ordered else 0)
    return min(reached)


def tally(configuration: Configuration, votes: Mapping[str, bool]) -> Vote:
    """How the ballot stands when these have answered."""
    results = [_tally_half(voters, votes) for voters in halves(configuration)]
    if Vote.LOST in results:
        return Vote.LOST
    return Vote.PENDING if Vote.PENDING in results else Vote.WON


def present(configuration: Configuration, here: Mapping[str, bool]) -> bool:
    """Whether a quorum is here."""
    return tally(configuration, here) is Vote.WON


def _tally_half(voters: tuple[str, ...], votes: Mapping[str, bool]) -> Vote:
    granted = sum(votes.get(voter, False) for voter in voters)
    missing = sum(voter not in votes for voter in voters)
    if voters and granted >= size(voters):
        return Vote.WON
    return Vote.PENDING if granted + missing >= size(voters) else Vote.LOST
