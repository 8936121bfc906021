"""Which voters a group should have."""

from __future__ import annotations

import random

import pytest

from peerdisco.coordination.upkeep import choose_voters, plan_voters

ALL = ["n0", "n1", "n2", "n3", "n4"]


def plan(voters: list[str], missing: list[str], alive: list[str]) -> tuple[str, ...] | None:
    return plan_voters(voters[0], voters, missing, alive, 3, random.Random(1))


def test_a_new_group_begins_with_this_node_and_has_three_voters() -> None:
    chosen = choose_voters("n1", ALL, 3, random.Random(1))
    assert chosen[0] == "n1"
    assert len(set(chosen)) == 3


@pytest.mark.parametrize("alive", [["n1"], ["n0", "n1"]])
def test_a_small_cluster_has_one_voter(alive: list[str]) -> None:
    assert choose_voters("n1", alive, 3, random.Random(1)) == ("n1",)


def test_a_healthy_group_is_left_alone() -> None:
    assert plan(["n0", "n1", "n2"], [], ALL) is None


def test_a_missing_voter_is_replaced_by_one_that_is_alive() -> None:
    chosen = plan(["n0", "n1", "n2"], ["n2"], ["n0", "n1", "n3"])
    assert chosen == ("n0", "n1", "n3")


def test_nobody_leaves_without_a_successor() -> None:
    assert plan(["n0", "n1", "n2"], ["n2"], ["n0", "n1"]) is None


def test_one_voter_grows_to_three_when_the_cluster_has_three() -> None:
    assert plan(["n0"], [], ["n0", "n1"]) is None
    chosen = plan(["n0"], [], ["n0", "n1", "n2"])
    assert chosen is not None
    assert sorted(chosen) == ["n0", "n1", "n2"]
