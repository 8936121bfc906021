"""The layout: its commands, its state machine, and the decisions of its upkeep."""

from __future__ import annotations

import pytest

from peerdisco_dht import (
    AddNodes,
    Command,
    FinishHandover,
    Layout,
    LayoutMachine,
    MemberView,
    NodeState,
    RemoveNodes,
    SetReplicas,
    SetState,
    SetVoters,
    StorageNode,
    UpkeepConfig,
    choose_voters,
    decode,
    encode,
    plan,
)
from peerdisco_dht.layout import PREVIOUS_MAX, change

CONFIG = UpkeepConfig(join_after_s=30.0, dead_after_s=600.0, voters=3)


def grown(*commands: Command) -> Layout:
    layout = Layout()
    for command in commands:
        result = change(layout, command)
        assert not result.refused
        layout = result.layout
    return layout


def add(*names: str) -> AddNodes:
    return AddNodes(tuple(StorageNode(name) for name in names))


def member(name: str, since: float, *, alive: bool = True, zone: str = "") -> MemberView:
    return MemberView(StorageNode(name, zone), alive, since)


def test_the_first_nodes_need_no_handover() -> None:
    layout = grown(add("b", "a"))
    assert (layout.epoch, layout.since, layout.previous) == (1, 1, ())
    assert [node.id for node in layout.nodes] == ["a", "b"]


def test_every_older_placement_is_kept_until_the_handover_is_finished() -> None:
    layout = grown(add("a"), add("b"), SetVoters(("a",)), RemoveNodes(("a",)))
    assert [p.since for p in layout.previous] == [1, 2]
    assert change(layout, FinishHandover(2)).layout == layout
    done = change(layout, FinishHandover(layout.since)).layout
    assert (done.epoch, done.since, done.previous, done.voters) == (5, 4, (), ("a",))


def test_a_change_that_moves_nothing_needs_no_handover() -> None:
    layout = grown(add("a"), SetState("a", NodeState.UP))
    assert layout.epoch == 1
    gone = grown(add("a", "b"), SetState("b", NodeState.DRAINING), FinishHandover(2))
    assert grown_from(gone, SetState("b", NodeState.GONE)).previous == ()


def grown_from(layout: Layout, command: Command) -> Layout:
    return change(layout, command).layout


@pytest.mark.parametrize(
    "command",
    [
        RemoveNodes(("a", "b")),
        SetState("c", NodeState.GONE),
        SetReplicas(2),
        SetReplicas(8),
        AddNodes((StorageNode("c", capacity=0),)),
    ],
)
def test_impossible_commands_are_refused_and_change_nothing(command: Command) -> None:
    layout = grown(add("a", "b"))
    result = change(layout, command)
    assert result.refused
    assert result.layout == layout


def test_unfinished_handovers_are_limited() -> None:
    layout = grown(*(add(f"n{number}") for number in range(PREVIOUS_MAX + 1)))
    assert "unfinished" in change(layout, add("one more")).refused


def test_the_machine_tells_changes_once_and_survives_a_snapshot() -> None:
    seen: list[int] = []
    machine = LayoutMachine(lambda layout: seen.append(layout.epoch))
    machine.apply(1, encode(add("a")))
    machine.apply(2, encode(add("a")))
    machine.apply(3, b"\xff not a command")
    machine.apply(4, encode(add("b")))
    assert seen == [1, 2]
    copy = LayoutMachine(lambda layout: seen.append(layout.epoch))
    copy.restore(machine.snapshot())
    assert copy.layout == machine.layout == decode(encode(machine.layout), Layout)
    assert seen == [1, 2, 2]


def test_nodes_that_wait_are_added_together_when_one_has_waited_long_enough() -> None:
    layout = grown(add("a"))
    members = [member("a", 0.0), member("b", 10.0), member("c", 39.0)]
    assert plan(layout, members, 39.9, CONFIG) is None
    assert plan(layout, members, 40.0, CONFIG) == add("b", "c")
    assert plan(layout, [member("a", 0.0), member("b", 10.0, alive=False)], 99.0, CONFIG) is None


def test_a_node_that_an_operator_sent_away_is_not_added_again() -> None:
    layout = grown(add("a", "b", "c", "d"), SetState("d", NodeState.GONE))
    members = [member(name, 0.0) for name in "abcd"]
    assert plan(layout, members, 1e6, CONFIG) is None


def test_a_silent_node_is_dropped_after_its_time_when_others_can_take_its_data() -> None:
    names = "abcd"
    members = [member(name, 0.0, alive=name != "b") for name in names]
    assert plan(grown(add(*names)), members, 599.0, CONFIG) is None
    assert plan(grown(add(*names)), members, 600.0, CONFIG) == RemoveNodes(("b",))
    assert plan(grown(add("a", "b", "c")), members[:3], 9999.0, CONFIG) is None


def test_at_most_a_fifth_is_dropped_at_once_the_longest_silent_first() -> None:
    names = [f"{number:02}" for number in range(10)]
    members = [member(name, float(-i), alive=i < 5) for i, name in enumerate(names)]
    assert plan(grown(add(*names)), members, 1000.0, CONFIG) == RemoveNodes(("08", "09"))


def test_a_finished_handover_comes_before_everything_else() -> None:
    layout = grown(add("a"), add("b"))
    members = [member(name, 0.0) for name in "abc"]
    assert plan(layout, members, 99.0, CONFIG, handed_over=True) == FinishHandover(2)
    assert plan(layout, members, 99.0, CONFIG, handed_over=False) == add("c")


def test_voters_are_kept_while_they_live_and_replaced_by_other_zones_then_by_age() -> None:
    members = [
        member("a", 1.0, zone="x"),
        member("b", 2.0, zone="x"),
        member("c", 3.0, zone="y"),
        member("d", 4.0, zone="z"),
    ]
    assert choose_voters((), members[:1], 10.0, CONFIG) == ("a",)
    assert choose_voters(("b",), members[:2], 10.0, CONFIG) == ("b",)
    assert choose_voters(("b",), members, 10.0, CONFIG) == ("b", "c", "d")
    dead = [*members[:2], member("c", 9.0, alive=False, zone="y"), members[3]]
    assert choose_voters(("b", "c", "d"), dead, 10.0, CONFIG) == ("a", "b", "d")
    assert choose_voters(("a", "b"), [], 10.0, CONFIG) == ("a", "b")
    five = UpkeepConfig(voters=5)
    assert len(choose_voters((), members, 10.0, five)) == 3
    assert len(choose_voters((), [*members, member("e", 0.0)], 10.0, five)) == 5


def test_the_group_does_not_shrink_for_a_voter_that_may_only_be_restarting() -> None:
    members = [member("a", 1.0), member("b", 100.0, alive=False), member("c", 3.0)]
    assert choose_voters(("a", "b", "c"), members, 101.0, CONFIG) == ("a", "b", "c")
    assert choose_voters(("a", "b", "c"), members, 699.0, CONFIG) == ("a", "b", "c")
    assert choose_voters(("a", "b", "c"), members, 700.0, CONFIG) == ("a",)
    assert choose_voters(("a", "b", "c"), [members[0], members[2]], 101.0, CONFIG) == ("a",)
