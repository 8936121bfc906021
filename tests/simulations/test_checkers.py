"""Checkers in the arena: silent over a healthy cluster, loud over one with a fault of ours.

Each test damages one method of the product for the time of a short play and names the rule that
must complain. The bugs that take a storm to show are in `peerdisco_sim.planted`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from peerdisco.coordination.directory import Directory
from peerdisco.coordination.messages import JobStatus
from peerdisco.execution.runner import Runner
from peerdisco.machine import Machine
from peerdisco.node import Node
from peerdisco.views import FileViews, JobViews
from peerdisco.worker.tasks import Task
from peerdisco_dht.blobs.putting import BlobInfo, Putter
from peerdisco_dht.blobs.reading import Reading
from peerdisco_dht.kademlia.service import Kademlia
from peerdisco_election.core import Core
from peerdisco_gossip.ledger import Ledger
from peerdisco_gossip.messages import Alive
from peerdisco_sim import play as playing
from peerdisco_sim.checkers import CHECKERS
from peerdisco_sim.crash_points import sweep
from peerdisco_sim.play import play
from peerdisco_sim.processes import SimProcess
from peerdisco_sim.schedule import Fault, Schedule, Value, WorkloadSpec, read_schedule
from peerdisco_sim.workloads import WORKLOADS
from peerdisco_webui.messages import JobState, JobView

CORPUS = Path(__file__).parents[2] / "simulations" / "corpus"


def violations(*kinds: str, faults: Sequence[Fault] = (), duration_s: float = 3.0) -> list[str]:
    """The rules that complain about a short play of a small cluster."""
    work = tuple(WorkloadSpec(kind) for kind in kinds)
    schedule = Schedule(
        seed=7, nodes=3, duration_s=duration_s, workloads=work, faults=tuple(faults), heal=False
    )
    return list(dict.fromkeys(failure.name for failure in play(schedule).failures))


def unrest(
    fault: Fault | None,
    patch: pytest.MonkeyPatch,
    *,
    work: Sequence[str] = (),
    knobs: Mapping[str, Value] | None = None,
) -> str:
    """What a cluster is still waiting for long after a storm of one fault, which stays."""
    patch.setattr(playing, "LIVENESS_S_MAX", 40.0)
    schedule = Schedule(
        seed=7,
        nodes=3,
        duration_s=2.0,
        knobs=dict(knobs or {}),
        workloads=tuple(map(WorkloadSpec, work)),
        faults=(fault,) if fault else (),
    )
    failures = play(schedule).failures
    assert [failure.name for failure in failures] == ["calm takes too long"]
    return failures[0].detail


def damage(patch: pytest.MonkeyPatch, owner: type, method: str, wrong: Callable[..., Any]) -> None:
    """Let `wrong(original, self, ...)` take the place of a method."""
    original = getattr(owner, method)

    @functools.wraps(original)
    def damaged(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrong(original, self, *args, **kwargs)

    patch.setattr(owner, method, damaged)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(WORKLOADS))
def test_nobody_complains_about_a_healthy_cluster(kind: str) -> None:
    duration_s = 12.0 if kind == "churn" else 4.0
    schedule = Schedule(seed=3, nodes=3, duration_s=duration_s, workloads=(WorkloadSpec(kind),))
    outcome = play(schedule)
    assert [failure.line() for failure in outcome.failures] == []
    assert outcome.undecided == 0
    assert outcome.operations > 0


def test_a_parameter_that_no_workload_has_is_refused() -> None:
    with pytest.raises(ValueError, match="speed"):
        WORKLOADS["tags"]({"speed": 3})


def test_a_logged_error_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        logging.getLogger("peerdisco").error("event=something_broke")
        return await original(self, *args, **kwargs)

    damage(monkeypatch, FileViews, "append", wrong)
    assert violations("tags") == ["N1 logged an error"]


def test_a_task_that_outlives_its_daemon_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(original: Any, self: Any) -> None:
        await original(self)
        monkeypatch.stray = asyncio.create_task(asyncio.sleep(99))  # type: ignore[attr-defined]  # keeps it alive

    damage(monkeypatch, Node, "_say_goodbye", wrong)
    rules = violations("tags", faults=[Fault(0.5, "stop", "n2")], duration_s=5.0)
    assert "N2 tasks left" in rules


def test_wrong_bytes_of_a_blob_are_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(original: Any, self: Any, *args: Any) -> AsyncIterator[bytes]:
        async for piece in original(self, *args):
            yield piece[:-1] + bytes((piece[-1] ^ 1,)) if piece else piece

    damage(monkeypatch, Reading, "pieces", wrong)
    assert "B2 wrong bytes" in violations("blobs", duration_s=6.0)


def test_an_acknowledgement_before_anybody_has_a_copy_is_a_violation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def wrong(original: Any, self: Putter, *args: Any) -> BlobInfo:
        del original, self
        return BlobInfo(args[0], args[1], 3)

    damage(monkeypatch, Putter, "_spread", wrong)
    assert "B1 acknowledged too early" in violations("blobs", duration_s=6.0)


def test_a_false_death_in_peace_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(original: Any, self: Ledger, now: float) -> None:
        original(self, now)
        others = [each for each in self.members.present() if each is not self.me]
        if len(others) == 2 and now % 60 > 0:
            self.suspect(others[0], now, due_by=now)
            original(self, now + 1)

    damage(monkeypatch, Ledger, "declare_overdue_dead", wrong)
    assert "M3 false death" in violations("tags", duration_s=6.0)


def test_views_that_differ_from_the_truth_for_good_are_a_violation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(monkeypatch, Ledger, "suspect", lambda *_, **__: None)
    lost = Fault(1.0, "power_cut", "n3", {"back_s": -1.0})
    assert "M1: on n1 n3 is down, but ALIVE here" in unrest(lost, monkeypatch)


def test_a_crash_that_nobody_notices_in_time_is_a_violation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(monkeypatch, Ledger, "suspect", lambda *_, **__: None)
    lost = Fault(1.0, "power_cut", "n3", {"back_s": -1.0})
    assert violations(faults=[lost], duration_s=30.0) == ["M2 crash unnoticed"]


def test_a_group_that_nobody_leads_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(original: Any, self: Core, *args: Any, **kwargs: Any) -> None:
        if not self.term:
            original(self, *args, **kwargs)

    damage(monkeypatch, Core, "stand", wrong)
    lost = Fault(1.0, "power_cut", "leader:layout", {"back_s": -1.0})
    assert "R10: layout is led by" in unrest(lost, monkeypatch)


def test_a_node_that_counts_its_lives_by_the_calendar_is_a_violation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """N4: clocks that are set back must not matter."""

    def wrong(original: Any, self: Node, machine: Machine, config: Any, me: Any, *a: Any) -> None:
        lives = int(machine.wall_time())
        original(self, machine, config, dataclasses.replace(me, generation=lives), *a)

    damage(monkeypatch, Node, "__init__", wrong)
    faults = [Fault(0.5, "clock_jump", "n2", {"by_s": -3600.0}), Fault(1.0, "kill", "n2")]
    assert violations(faults=faults, duration_s=8.0) == ["M4 numbers reused"]


def test_a_stranger_in_a_view_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(original: Any, self: Ledger, now: float) -> None:
        original(self, now)
        self.apply(Alive("z" * 32, 1, 0, "10.9.9.9", 1), now)

    damage(monkeypatch, Ledger, "declare_overdue_dead", wrong)
    assert "M7 stranger" in violations("tags")


def test_lookups_that_miss_the_nearest_are_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(original: Any, self: Kademlia, *args: Any) -> Any:
        return (await original(self, *args))[1:]

    damage(monkeypatch, Kademlia, "lookup", wrong)
    assert violations("tags") == ["B7 lookup failed"]


def test_a_lost_record_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(original: Any, self: Task, pairs: list[Any], collector: Any) -> None:
        original(self, pairs[:-1] if len(pairs) > 3 else pairs, collector)

    damage(monkeypatch, Task, "collect", wrong)
    assert "J1 wrong result" in violations("sort")


def test_a_status_from_the_past_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, list[JobStatus]] = {}

    async def wrong(original: Any, self: Directory, name: str, **kwargs: Any) -> JobStatus:
        answers = told.setdefault(name, [])
        answers.append(await original(self, name, **kwargs))
        return answers[0] if len(answers) == 3 else answers[-1]

    damage(monkeypatch, Directory, "wait", wrong)
    assert "J4 time went back" in violations("wordcount", "small_jobs")


def test_what_a_job_leaves_behind_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(original: Any, self: Runner, job: str) -> None:
        del original, self, job

    monkeypatch.setattr(playing, "LIVENESS_S_MAX", 25.0)
    damage(monkeypatch, Runner, "forget", wrong)
    assert violations("wordcount") == ["calm takes too long"]


def test_a_worker_process_that_nobody_ends_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    damage(monkeypatch, SimProcess, "kill", lambda *_: None)
    knobs: dict[str, Value] = {"execution.worker_tasks_max": 1}
    waiting = unrest(None, monkeypatch, work=("wordcount",), knobs=knobs)
    assert "J6:" in waiting
    assert "worker processes that nobody knows" in waiting


def test_a_task_that_may_take_more_memory_than_there_is_is_a_violation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(original: Any, self: Runner, *args: Any) -> None:
        *others, config = args
        original(self, *others, dataclasses.replace(config, memory_bytes_max=1 << 40))

    damage(monkeypatch, Runner, "__init__", wrong)
    assert "J7 too much memory" in violations("wordcount")


def test_a_job_that_comes_back_to_life_for_an_onlooker_is_a_violation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def wrong(original: Any, self: JobViews, name: str, *args: Any) -> JobView:
        view: JobView = await original(self, name, *args)
        return msgspec.structs.replace(view, state=JobState.ACTIVE) if args[0] == 0 else view

    damage(monkeypatch, JobViews, "wait", wrong)
    assert violations("small_jobs") == ["R7 not linearizable"]


def test_a_disk_that_fails_under_a_worker_is_not_the_users_fault() -> None:
    """On a real machine nothing stands between our call and the system's error."""
    faults = [Fault(at, "disk_error", "all", {"for_s": 0.4, "what": "read"}) for at in (0.3, 1.2)]
    schedule = Schedule(seed=4, nodes=3, duration_s=6.0, faults=tuple(faults))
    work = (WorkloadSpec("mistake", {"pause_s": 0.1}),)
    outcome = play(msgspec.structs.replace(schedule, workloads=work))
    assert [failure.line() for failure in outcome.failures] == []


def test_all_checkers_take_part_unless_told_otherwise() -> None:
    assert [CHECKERS[name]().name for name in CHECKERS] == list(CHECKERS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule", list(sweep(5, first=4, last=160, every=39)), ids=lambda each: each.why
)
def test_a_crash_at_any_step_of_the_disk_leaves_what_boots_again(schedule: Schedule) -> None:
    assert [failure.line() for failure in play(schedule).failures] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.json")), ids=lambda path: path.stem)
def test_what_once_failed_does_not_fail_again(path: Path) -> None:
    schedule = read_schedule(path)
    assert schedule.why
    assert [failure.line() for failure in play(schedule).failures] == []
