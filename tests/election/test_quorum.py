"""Majorities, also joint ones, against counting by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerdisco_election import quorum
from peerdisco_election.membership import configuration, enter_joint, leave_joint
from peerdisco_election.quorum import Vote

NAMES = st.sets(st.sampled_from("abcdefg"), min_size=1)
VALUES = st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 9))
VOTES = st.dictionaries(st.sampled_from("abcdefg"), st.booleans())


@given(NAMES, st.sets(st.sampled_from("abcdefg")), VALUES)
def test_what_is_agreed_is_held_by_a_majority_of_each_half_and_nothing_greater_is(
    voters: set[str], outgoing: set[str], values: dict[str, int]
) -> None:
    """Counted the slow way."""
    one = configuration(voters, outgoing)

    def held(value: int) -> bool:
        halves = [half for half in (voters, outgoing) if half]
        return all(
            2 * sum(values.get(name, 0) >= value for name in half) > len(half) for half in halves
        )

    agreed = quorum.agreed(one, values)
    assert held(agreed)
    assert not held(agreed + 1) or agreed >= 9


@given(NAMES, st.sets(st.sampled_from("abcdefg")), VOTES)
def test_a_ballot_is_won_or_lost_exactly_when_no_further_vote_can_change_it(
    voters: set[str], outgoing: set[str], votes: dict[str, bool]
) -> None:
    """Compared with the best and the worst of all ends."""
    one = configuration(voters, outgoing)
    best = quorum.tally(one, {name: votes.get(name, True) for name in "abcdefg"})
    worst = quorum.tally(one, {name: votes.get(name, False) for name in "abcdefg"})
    expected = {
        (Vote.WON, Vote.WON): Vote.WON,
        (Vote.LOST, Vote.LOST): Vote.LOST,
        (Vote.WON, Vote.LOST): Vote.PENDING,
    }
    assert expected[best, worst] == quorum.tally(one, votes)


def test_nobody_decides_in_a_group_without_voters() -> None:
    """As on a node that is to join one."""
    nobody = configuration("")
    assert 0 == quorum.agreed(nobody, {"a": 9})
    assert Vote.LOST is quorum.tally(nobody, {"a": True})


def test_a_change_goes_through_both_halves() -> None:
    """And learners that become voters are learners no more."""
    old = configuration("abc", (), "d")
    joint = enter_joint(old, "bcd", "ad")
    assert (("b", "c", "d"), ("a", "b", "c"), ("a",)) == (
        joint.voters,
        joint.outgoing,
        joint.learners,
    )
    assert ("a", "b", "c", "d") == quorum.everyone(joint)
    assert configuration("bcd", (), "a") == leave_joint(joint)
