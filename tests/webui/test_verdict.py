"""What the cluster can survive, for every size and every loss."""

from __future__ import annotations

import msgspec
import pytest

from peerdisco_webui.messages import ClusterFacts, Level, MemberState, MemberView
from peerdisco_webui.verdict import judge

FACTS = ClusterFacts(cluster="c", node="n", name="a", version="1", replicas=3)


def members(alive: int, dead: int = 0, suspect: int = 0) -> list[MemberView]:
    states = [MemberState.ALIVE] * alive + [MemberState.DEAD] * dead
    states += [MemberState.SUSPECT] * suspect
    return [
        MemberView(id=f"{number:032}", name=f"n{number}", address="a:1", state=state, storage=True)
        for number, state in enumerate(states)
    ]


@pytest.mark.parametrize(
    ("alive", "dead", "suspect", "level", "can_lose", "words"),
    [
        (1, 0, 0, Level.WARNING, 0, "1 node alive; cannot survive the loss of one: add 2 nodes"),
        (2, 0, 0, Level.WARNING, 0, "2 nodes alive; cannot survive the loss of one: add 1 node "),
        (3, 0, 0, Level.GOOD, 1, "3 nodes alive; can lose 1 of them"),
        (9, 0, 0, Level.GOOD, 1, "9 nodes alive; can lose 1"),
        (2, 1, 0, Level.WARNING, 0, "no further node may be lost"),
        (4, 0, 1, Level.WARNING, 0, "1 not answering (n4)"),
        (1, 2, 0, Level.DANGER, 0, "out of reach"),
    ],
)
def test_verdicts(
    alive: int, dead: int, suspect: int, level: Level, can_lose: int, words: str
) -> None:
    verdict = judge(FACTS, members(alive, dead, suspect))
    assert (verdict.level, verdict.can_lose) == (level, can_lose)
    assert words in verdict.headline


def test_more_copies_survive_more() -> None:
    facts = ClusterFacts(cluster="c", node="n", name="a", version="1", replicas=5)
    assert judge(facts, members(5)).can_lose == 2
    assert "can lose 1 more" in judge(facts, members(4, dead=1)).headline


def test_a_node_without_storage_that_dies_takes_nothing_along() -> None:
    worker = MemberView(id="w", name="w", address="a:1", state=MemberState.DEAD)
    assert judge(FACTS, [*members(3), worker]).level is Level.GOOD


def test_groups_that_stand_still_come_first() -> None:
    """Whatever else is wrong."""
    facts = msgspec.structs.replace(FACTS, stuck=("job/a", "job/b", "job/c", "layout"))
    verdict = judge(facts, members(1, 2))
    assert verdict.level is Level.DANGER
    assert "stand still: job/a, job/b, job/c and 1 more" in verdict.headline
    assert "raft recover" in verdict.detail
