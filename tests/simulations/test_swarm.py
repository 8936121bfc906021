"""Schedules from seeds, campaigns, and the knobs that they turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import pytest

import peerdisco_sim.daemon as daemon_module
from peerdisco.machine import Knob
from peerdisco_sim.arena import Arena
from peerdisco_sim.campaign import UNREACHED_SEEDS_MIN, UNUSED_SEEDS_MIN, Campaign
from peerdisco_sim.checkers.marks import MARKS
from peerdisco_sim.faults import FAULTS
from peerdisco_sim.knobs import KNOBS, USUAL, knobs_of
from peerdisco_sim.play import check
from peerdisco_sim.result import Result, unreached, unused
from peerdisco_sim.schedule import Schedule, Value
from peerdisco_sim.swarm import generate
from peerdisco_sim.workloads import WORKLOADS
from peerdisco_sim.world import World

T = TypeVar("T")
SEEDS = range(300)


def test_a_seed_gives_the_same_schedule_and_another_seed_another() -> None:
    assert generate(5, WORKLOADS) == generate(5, WORKLOADS)
    assert generate(5, WORKLOADS) != generate(6, WORKLOADS)


def test_every_schedule_can_be_played() -> None:
    for seed in SEEDS:
        check(generate(seed, WORKLOADS))


def test_the_swarm_uses_every_kind_of_fault_every_knob_and_every_workload() -> None:
    schedules = [generate(seed, WORKLOADS) for seed in SEEDS]
    kinds = dict.fromkeys(fault.kind for each in schedules for fault in each.faults)
    assert sorted(FAULTS) == sorted(kinds)
    assert sorted(KNOBS) == sorted(dict.fromkeys(name for each in schedules for name in each.knobs))
    work = dict.fromkeys(spec.kind for each in schedules for spec in each.workloads)
    assert sorted(WORKLOADS) == sorted(work)


def test_seeds_differ_in_what_they_leave_out() -> None:
    mixes = [frozenset(fault.kind for fault in generate(s, WORKLOADS).faults) for s in SEEDS]
    assert len(frozenset(mixes)) > 0.9 * len(mixes)


def test_what_was_never_used_or_reached_is_named() -> None:
    faults, knobs, marks = dict.fromkeys(FAULTS, 1), tuple(KNOBS), dict.fromkeys(MARKS, 1)
    marks[next(iter(MARKS))] = 0
    result = Result(label="", replay="", faults=faults, knobs=knobs[1:], marks=marks)
    assert [f"the knob {knobs[0]} was never turned"] == unused([result])
    assert [f"never reached: {next(iter(MARKS.values()))}"] == unreached([result])
    assert len(FAULTS) + len(KNOBS) == len(unused([]))
    assert len(MARKS) == len(unreached([]))


def test_a_campaign_that_uses_and_reaches_too_little_fails() -> None:
    nothing = Result(label="", replay="")
    few = Campaign([nothing] * (UNUSED_SEEDS_MIN - 1))
    enough = Campaign([nothing] * UNUSED_SEEDS_MIN)
    many = Campaign([nothing] * UNREACHED_SEEDS_MIN)
    assert [] == few.uncovered()
    assert unused([]) == enough.uncovered()
    assert unused([]) + unreached([]) == many.uncovered()
    assert Campaign(complaints=enough.uncovered()).failed


def test_a_node_asks_for_every_knob(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in the table that no room asks for would turn nothing."""
    asked: dict[str, object] = {}

    def noting(values: Mapping[str, Value]) -> Knob:
        usual = knobs_of(values)

        def knob(name: str, default: T) -> T:
            asked[name] = default
            return usual(name, default)

        return knob

    monkeypatch.setattr(daemon_module, "knobs_of", noting)
    with World(1) as world:
        Arena(world, Schedule()).add_node("n1")
        world.run_for(2.0)
        assert not world.failures
    assert not [name for name in [*KNOBS, *USUAL] if name not in asked]
    for name, allowed in KNOBS.items():
        assert type(asked[name]) is type(allowed.least) is type(allowed.most), name


def test_a_knob_answers_in_the_type_of_the_default() -> None:
    knob = knobs_of({"raft.election_timeout": 1, "raft.append_entries_max": 7})
    assert 1.0 == knob("raft.election_timeout", 2.0)
    assert isinstance(knob("raft.election_timeout", 2.0), float)
    assert 7 == knob("raft.append_entries_max", 4096)
    assert 3 == knob("something else", 3)
