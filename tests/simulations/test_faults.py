"""Every kind of fault does something, ends, and leaves a cluster that comes to rest."""

from __future__ import annotations

import pytest

from peerdisco_sim.faults import FAULTS
from peerdisco_sim.nemesis import SELECTORS
from peerdisco_sim.play import Outcome, play
from peerdisco_sim.schedule import Fault, Schedule, Value, WorkloadSpec

NEEDS_WORK = ("worker_kill", "worker_crash", "worker_hang", "worker_slow", "bit_rot")
PARAMS: dict[str, dict[str, Value]] = {
    "crash_at_step": {"steps": 2},
    "disk_error": {"what": "sync", "for_s": 1.0},
}


def played(*faults: Fault, work: tuple[WorkloadSpec, ...] = (), nodes: int = 3) -> Outcome:
    """A short play with these faults, judged for hygiene only."""
    last = max(fault.at for fault in faults)
    outcome = play(
        Schedule(
            seed=3,
            nodes=nodes,
            duration_s=last + 4.0,
            workloads=work,
            faults=faults,
            checkers=("hygiene",),
        )
    )
    assert not outcome.failures, "\n".join(each.line() for each in outcome.failures)
    return outcome


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind not in NEEDS_WORK])
def test_each_kind_happens_and_the_cluster_comes_to_rest(kind: str) -> None:
    target = "n2" if FAULTS[kind].needs_target else ""
    outcome = played(Fault(1.0, kind, target, PARAMS.get(kind, {})))
    assert {kind: 1} == outcome.fired
    assert outcome.calm_s < 60.0


def test_faults_of_workers_happen_where_attempts_run() -> None:
    work = (WorkloadSpec("wordcount", {"jobs_max": 2}),)
    faults = [
        Fault(0.2, "worker_slow", "all"),
        Fault(0.3, "worker_kill", "worker"),
        Fault(0.4, "worker_crash", "all", {"chance": 0.3, "for_s": 1.0}),
        Fault(0.5, "worker_hang", "all", {"chance": 0.1, "for_s": 1.0}),
    ]
    outcome = played(*faults, work=work)
    assert 4 == sum(outcome.fired.values()), (outcome.fired, outcome.missed)


def test_rot_spares_the_last_good_copy() -> None:
    work = (WorkloadSpec("ingest", {"jobs_max": 1}),)
    faults = [Fault(3.0 + number, "bit_rot", "all", {"files": 3}) for number in range(3)]
    outcome = played(*faults, work=work)
    assert outcome.fired.get("bit_rot", 0) + outcome.missed.get("bit_rot", 0) == 3


def test_a_dead_node_is_not_killed_twice() -> None:
    outcome = played(Fault(1.0, "kill", "n2", {"back_s": 3.0}), Fault(2.0, "kill", "n2"))
    assert {"kill": 1} == outcome.fired
    assert {"kill": 1} == outcome.missed


def test_one_machine_may_lose_its_disk_and_no_second() -> None:
    outcome = played(Fault(1.0, "disk_loss", "n2"), Fault(6.0, "disk_loss", "n3"))
    assert {"disk_loss": 1} == outcome.fired
    assert {"disk_loss": 1} == outcome.missed


def test_what_happened_is_written_down_with_names() -> None:
    outcome = played(Fault(1.0, "kill", "leader:layout"), Fault(2.0, "partition", "minority"))
    names = [fault.target for fault in outcome.fired_faults]
    assert all(name[:1] == "n" and name[1:].isdigit() for name in names), names
    events = [event for event in outcome.events if event.kind == "fault"]
    assert "leader:layout" == events[0].data["target"]


@pytest.mark.slow
@pytest.mark.parametrize("selector", sorted(SELECTORS))
def test_each_selector_finds_somebody_at_work(selector: str) -> None:
    target = {"leader": "leader:new", "joined": "joined:new"}.get(selector, selector)
    faults = [
        Fault(0.5, "join"),
        Fault(1.0, "pause", target, {"for_s": 0.2, "wait_s": 5.0}),
        Fault(1.5, "kill", "leader:layout"),
    ]
    work = (WorkloadSpec("ingest", {"jobs_max": 3}), WorkloadSpec("tags"))
    outcome = played(*faults, work=work)
    assert 1 == outcome.fired.get("pause", 0), outcome.missed


def test_outside_the_core_damage_stays_and_the_rest_finishes() -> None:
    outcome = played(
        Fault(1.0, "kill", "n4", {"back_s": -1.0}),
        work=(WorkloadSpec("wordcount", {"jobs_max": 2}),),
        nodes=4,
    )
    details = [event.detail for event in outcome.events if event.data.get("kind") == "permanent"]
    assert ["stays down"] == details
