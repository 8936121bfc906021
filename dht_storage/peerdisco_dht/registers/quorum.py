"""Quorum arithmetic of a proposer: pure functions over sets of acceptors.

While the layout moves, a register has several home sets and needs a majority of each (joint
consensus). Quorums of consecutive epochs therefore always intersect.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from peerdisco_dht.keeper import QuorumSets
from peerdisco_dht.registers.messages import ZERO, Held


def acceptors(sets: QuorumSets) -> tuple[str, ...]:
    """Everybody to ask, current homes first."""
    return tuple(dict.fromkeys(node for members in sets for node in members))


def reached(granted: Collection[str], sets: QuorumSets) -> bool:
    """Whether these nodes are a majority of every set. An empty set has no majority."""
    return all(sum(node in granted for node in members) > len(members) // 2 for members in sets)


def unanimous(granted: Collection[str], sets: QuorumSets) -> bool:
    """Whether these nodes are all acceptors: the quorum of round 0."""
    return all(node in granted for members in sets for node in members)


def hopeless(lost: Collection[str], sets: QuorumSets) -> bool:
    """Whether no quorum is left once these nodes refused or failed."""
    return any(sum(node not in lost for node in members) <= len(members) // 2 for members in sets)


def newest(answers: Mapping[str, Held]) -> Held:
    """The answer with the highest accepted ballot: the value to go on from."""
    return max(answers.values(), key=lambda held: held.accepted)


def settled(answers: Mapping[str, Held], sets: QuorumSets) -> Held | None:
    """The value that is certainly chosen, when these answers show one.

    A majority of every set reports the same accepted ballot, so that ballot is chosen; no later
    one was chosen before the first of them was asked (a later one would intersect them). A ballot
    of round 0 is chosen only when everybody reports it.
    """
    best = newest(answers) if answers else Held(granted=True)
    same = [node for node, held in answers.items() if held.accepted == best.accepted]
    first = best.accepted.round == 0 and not is_absent(best)
    return best if (unanimous if first else reached)(same, sets) else None


def is_absent(held: Held) -> bool:
    """Whether nothing was ever accepted."""
    return held.accepted == ZERO
