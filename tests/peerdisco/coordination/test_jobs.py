"""Whole jobs on the pretended cluster: they end, and with the right results, whatever happens."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from peerdisco.coordination import JobHandle, JobPhase, JobRefused, NoSuchJob
from peerdisco.coordination.facts import Assigned, Batch
from peerdisco.coordination.messages import Form, JobPointer, PointerState
from peerdisco.coordination.replica import JobReplica
from peerdisco.messages import ErrorKind, Grouping, Stage, decode, encode

if TYPE_CHECKING:
    from tests.peerdisco.coordination.conftest import MakeFailure, MakePack, World

ANSWER = {"a": 2, "b": 2, "c": 1}
MAP = Stage("map", Grouping.SPLIT)


async def submit(world: World, node: str, pack: bytes) -> JobHandle:
    return await world.nodes[node].directory.submit(pack)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
async def test_a_job_runs_to_its_end_on_a_cluster_of_any_size(
    world: World, pack: MakePack, size: int
) -> None:
    names = [f"n{number}" for number in range(size)]
    await world.start(*names)
    handle = await submit(world, "n0", pack())
    assert len(handle.voters) == (3 if size >= 3 else 1)
    status = await world.ended(names[-1], "job@1")
    assert status.status is JobPhase.READY
    assert world.counts(status) == ANSWER
    assert [stage.done for stage in status.stages] == [2, 2]


async def test_an_ended_job_is_archived_and_its_group_dissolved_everywhere(
    world: World, pack: MakePack
) -> None:
    await world.start("n0", "n1", "n2", "n3")
    await submit(world, "n0", pack())
    await world.ended("n3", "job@1")
    await world.until(lambda: not any(world.stored.values()))
    await world.until(lambda: all(n.execution.forgotten for n in world.nodes.values()))
    status = await world.nodes["n2"].directory.status("job@1")
    assert world.counts(status) == ANSWER
    assert "disco:job:job@1" in world.tags.urls
    assert "disco:results:job@1" not in world.tags.urls
    assert not any(node.execution.segments for node in world.nodes.values())


async def test_results_get_discos_tag_when_the_job_asks(world: World, pack: MakePack) -> None:
    await world.start("n0")
    await submit(world, "n0", pack(save_results=True))
    status = await world.ended("n0", "job@1")
    await world.until(lambda: "disco:job:job@1" in world.tags.urls)
    assert world.tags.urls["disco:results:job@1"] == status.results


async def test_a_trivial_job_on_one_node_needs_few_commits_in_series(
    world: World, pack: MakePack
) -> None:
    await world.start("n0")
    await submit(world, "n0", pack(stages=(MAP, Stage("reduce", Grouping.GROUP_ALL))))
    await world.ended("n0", "job@1")
    assert world.commits <= 5


async def test_a_job_without_inputs_is_ready_at_once(world: World, pack: MakePack) -> None:
    await world.start("n0")
    await submit(world, "n0", pack(inputs=()))
    status = await world.ended("n0", "job@1")
    assert (status.status, status.results) == (JobPhase.READY, ())


async def test_tags_are_expanded_and_may_name_tags(world: World, pack: MakePack) -> None:
    await world.start("n0", "n1", "n2")
    world.tags.urls["texts"] = (("raw://a",), ("tag://more",), ("raw://b c",))
    world.tags.urls["more"] = (("raw://a b",), ("tag://texts",))
    await submit(world, "n1", pack(inputs=("tag://texts",)))
    status = await world.ended("n0", "job@1")
    assert world.counts(status) == ANSWER
    assert status.inputs == 3


async def test_a_missing_tag_is_named_in_the_error(world: World, pack: MakePack) -> None:
    await world.start("n0")
    await submit(world, "n0", pack(inputs=("tag://nowhere",)))
    status = await world.ended("n0", "job@1")
    assert status.status is JobPhase.DEAD
    assert status.error is not None
    assert status.error.kind is ErrorKind.INPUT
    assert "'nowhere'" in status.error.message


async def test_tags_that_cannot_be_read_now_are_read_later(world: World, pack: MakePack) -> None:
    await world.start("n0")
    world.tags.urls["texts"] = (("raw://a b a",), ("raw://b c",))
    world.tags.fail = 3
    await submit(world, "n0", pack(inputs=("tag://texts",)))
    assert world.counts(await world.ended("n0", "job@1")) == ANSWER


async def test_an_archive_that_cannot_be_written_now_is_written_later(
    world: World, pack: MakePack
) -> None:
    await world.start("n0")
    world.gates["reduce"] = asyncio.Event()
    await submit(world, "n0", pack())
    world.tags.fail = 3
    world.gates["reduce"].set()
    await world.ended("n0", "job@1")
    await world.until(lambda: "disco:job:job@1" in world.tags.urls)


async def test_a_deterministic_user_error_ends_the_job_with_the_users_traceback(
    world: World, pack: MakePack, fails: MakeFailure
) -> None:
    await world.start("n0", "n1", "n2")
    world.misbehave = lambda node, task: fails() if task.task == 1 else None
    await submit(world, "n0", pack())
    status = await world.ended("n2", "job@1")
    assert status.status is JobPhase.DEAD
    assert status.error is not None
    assert status.error.kind is ErrorKind.USER
    assert status.error.traceback == "Traceback ..."
    tried = [n for n in world.nodes for a in world.nodes[n].execution.ran if a.task == 1]
    assert len(tried) == len(set(tried)) == 2


async def test_a_task_that_fails_on_one_node_succeeds_on_another(
    world: World, pack: MakePack, fails: MakeFailure
) -> None:
    await world.start("n0", "n1", "n2")
    bad = fails(ErrorKind.NODE, "disk full")
    world.misbehave = lambda node, task: bad if node == "n1" else None
    await submit(world, "n1", pack(inputs=("raw://a b", "raw://a", "raw://b", "raw://c")))
    assert world.counts(await world.ended("n0", "job@1")) == ANSWER


async def test_outputs_lost_with_a_node_are_made_again(world: World, pack: MakePack) -> None:
    await world.start("n0", "n1", "n2", "n3", slots=1)
    world.gates["reduce"] = asyncio.Event()
    handle = await submit(world, "n0", pack(inputs=[f"raw://w{n}" for n in range(8)]))
    group = world.groups["job/job@1"]
    replica = group.members[handle.coordinator].machine
    assert isinstance(replica, JobReplica)
    await world.until(lambda: len(replica.state.stages) == 2)
    victim = next(n for n in replica.state.holders() if n != handle.coordinator)
    await world.crash(victim)
    world.gates["reduce"].set()
    status = await world.ended("n0", "job@1")
    assert world.counts(status) == {f"w{n}": 1 for n in range(8)}
    assert any("node lost" in event.message for event in status.events)


async def test_a_node_that_dies_while_it_maps_costs_only_its_attempts(
    world: World, pack: MakePack
) -> None:
    await world.start("n0", "n1", "n2", "n3", slots=1)
    world.gates["map"] = asyncio.Event()
    await submit(world, "n0", pack(inputs=[f"raw://w{n}" for n in range(8)]))
    await world.until(lambda: world.nodes["n3"].execution.ran)
    await world.crash("n3")
    world.gates["map"].set()
    status = await world.ended("n1", "job@1")
    assert world.counts(status) == {f"w{n}": 1 for n in range(8)}


async def test_a_job_survives_its_coordinator_and_attempts_outlive_it(
    world: World, pack: MakePack
) -> None:
    await world.start("n0", "n1", "n2", "n3", slots=1)
    world.gates["map"] = asyncio.Event()
    handle = await submit(world, "n0", pack(inputs=[f"raw://w{n}" for n in range(8)]))
    others = [node for name, node in world.nodes.items() if name != handle.coordinator]
    await world.until(lambda: all(node.execution.ran for node in others))
    await world.crash(handle.coordinator)
    world.gates["map"].set()
    reader = others[0].name
    status = await world.ended(reader, "job@1")
    assert world.counts(status) == {f"w{n}": 1 for n in range(8)}
    assert any("Took over" in event.message for event in status.events)
    ran = [a.task for node in others for a in node.execution.ran if a.stage_name == "map"]
    assert len(ran) == len(set(ran)) == 8


async def test_attempts_are_numbered_once_although_a_commit_comes_after_its_timeout(
    world: World, pack: MakePack
) -> None:
    """The coordinator begins again while what it decided before is on its way into the log."""
    await world.start("n0", "n1", "n2", slots=1)
    world.gates["map"] = asyncio.Event()
    await submit(world, "n0", pack(inputs=[f"raw://w{n}" for n in range(8)]))
    await world.until(lambda: all(node.execution.ran for node in world.nodes.values()))
    group = world.groups["job/job@1"]
    group.late = 1
    world.gates["map"].set()
    status = await world.ended("n1", "job@1")
    assert world.counts(status) == {f"w{n}": 1 for n in range(8)}
    facts = [fact for entry in group.log for fact in decode(entry, Batch).facts]
    numbers = [fact.attempt for fact in facts if isinstance(fact, Assigned)]
    assert group.late == 0
    assert numbers == sorted(set(numbers))


async def test_a_dead_voter_is_replaced_so_that_a_job_survives_failures_one_by_one(
    world: World, pack: MakePack
) -> None:
    await world.start("n0", "n1", "n2", "n3", "n4")
    world.gates["map"] = asyncio.Event()
    await submit(world, "n0", pack())
    group = world.groups["job/job@1"]
    for _ in range(2):
        assert group.leader is not None
        await world.crash(group.leader)
        await world.until(lambda: all(world.is_alive(node) for node in group.voters))
        assert len(group.voters) == 3
    world.gates["map"].set()
    reader = next(name for name in world.nodes if world.is_alive(name))
    assert world.counts(await world.ended(reader, "job@1")) == ANSWER


async def test_a_group_of_one_grows_with_the_cluster(world: World, pack: MakePack) -> None:
    await world.start("n0")
    world.gates["map"] = asyncio.Event()
    await submit(world, "n0", pack())
    await world.start("n1", "n2")
    group = world.groups["job/job@1"]
    await world.until(lambda: len(group.voters) == 3)
    await world.crash("n0")
    world.gates["map"].set()
    assert world.counts(await world.ended("n1", "job@1")) == ANSWER


async def test_the_same_submission_at_two_nodes_is_one_job(world: World, pack: MakePack) -> None:
    await world.start("n0", "n1", "n2", "n3", "n4")
    first, second = await asyncio.gather(submit(world, "n0", pack()), submit(world, "n4", pack()))
    assert (first.name, first.coordinator) == (second.name, second.coordinator)
    assert world.counts(await world.ended("n2", "job@1")) == ANSWER
    maps = [a.task for n in world.nodes.values() for a in n.execution.ran if a.stage == 0]
    assert sorted(maps) == [0, 1]


async def test_repeating_a_submission_of_a_job_that_has_ended_changes_nothing(
    world: World, pack: MakePack
) -> None:
    await world.start("n0", "n1", "n2")
    await submit(world, "n0", pack())
    await world.ended("n0", "job@1")
    await world.until(lambda: not any(world.stored.values()))
    assert (await submit(world, "n1", pack())).name == "job@1"
    assert world.counts(await world.nodes["n2"].directory.status("job@1")) == ANSWER
    assert not any(world.stored.values())


async def test_another_pack_under_the_same_name_is_refused(world: World, pack: MakePack) -> None:
    await world.start("n0")
    await submit(world, "n0", pack())
    with pytest.raises(JobRefused, match="another job"):
        await submit(world, "n0", pack(inputs=("raw://x",)))


async def test_bytes_that_are_no_pack_are_refused(world: World) -> None:
    await world.start("n0")
    with pytest.raises(JobRefused):
        await submit(world, "n0", b"\xff")


async def test_a_submission_survives_a_first_voter_that_does_not_answer(
    world: World, pack: MakePack
) -> None:
    await world.start("n0", "n1", "n2")
    world.gates["map"] = asyncio.Event()
    await submit(world, "n0", pack())
    await world.crash("n0", elect=True, notice=False)
    assert (await submit(world, "n1", pack())).coordinator in ("n1", "n2")
    world.gates["map"].set()
    world.seen_alive.remove("n0")
    world.members_changed()
    assert world.counts(await world.ended("n2", "job@1")) == ANSWER


async def test_a_killed_job_stops_its_attempts(world: World, pack: MakePack) -> None:
    await world.start("n0", "n1", "n2")
    world.gates["map"] = asyncio.Event()
    await submit(world, "n0", pack())
    await world.until(lambda: any(n.room.agent.running() for n in world.nodes.values()))
    await world.nodes["n1"].directory.kill("job@1")
    await world.nodes["n1"].directory.kill("job@1")
    status = await world.ended("n2", "job@1")
    assert status.status is JobPhase.KILLED
    await world.until(lambda: not any(n.room.agent.running() for n in world.nodes.values()))


async def test_a_purged_job_is_unknown_and_its_clients_files_are_gone(
    world: World, pack: MakePack
) -> None:
    await world.start("n0", "n1", "n2")
    world.tags.urls["files"] = (("raw://a b a",), ("raw://b c",))
    directory = world.nodes["n1"].directory
    await submit(world, "n0", pack(inputs=("tag://files",), temporary_tag="files"))
    await world.ended("n0", "job@1")
    assert {"job@1": None} in world.blobs.owners.values()
    await directory.purge("job@1")
    await directory.purge("job@1")
    assert world.tags.urls == {}
    assert world.blobs.data == {}
    with pytest.raises(NoSuchJob):
        await directory.status("job@1")
    with pytest.raises(JobRefused, match="purged"):
        await submit(world, "n0", pack(inputs=("tag://files",), temporary_tag="files"))


async def test_a_running_job_can_be_purged(world: World, pack: MakePack) -> None:
    await world.start("n0", "n1", "n2")
    world.gates["map"] = asyncio.Event()
    await submit(world, "n0", pack())
    await world.nodes["n2"].directory.purge("job@1")
    with pytest.raises(NoSuchJob):
        await world.nodes["n1"].directory.status("job@1")


async def test_an_unknown_job_is_called_so(world: World) -> None:
    await world.start("n0")
    for ask in ("status", "kill", "results"):
        with pytest.raises(NoSuchJob):
            await getattr(world.nodes["n0"].directory, ask)("nothing")


async def test_any_node_lists_live_and_archived_jobs(world: World, pack: MakePack) -> None:
    await world.start("n0", "n1", "n2", "n3")
    await submit(world, "n0", pack("old@1"))
    await world.ended("n0", "old@1")
    await world.until(lambda: "disco:job:old@1" in world.tags.urls)
    world.gates["map"] = asyncio.Event()
    await submit(world, "n1", pack("new@1"))
    directory = world.nodes["n3"].directory
    found = await directory.list()
    assert [(job.name, job.status) for job in found.jobs] == [
        ("new@1", JobPhase.ACTIVE),
        ("old@1", JobPhase.READY),
    ]
    assert found.whole
    assert [job.name for job in (await directory.list("old")).jobs] == ["old@1"]


async def test_a_list_says_when_ended_jobs_may_be_lacking(world: World, pack: MakePack) -> None:
    """A node on the small side of a partition listed what it had, as if that were all."""
    await world.start("n0")
    await submit(world, "n0", pack())
    await world.ended("n0", "job@1")
    await world.until(lambda: "disco:job:job@1" in world.tags.urls)
    world.tags.missing = (3,)
    found = await world.nodes["n0"].directory.list()
    assert [job.name for job in found.jobs] == ["job@1"]
    assert not found.whole


async def test_waiting_returns_when_something_has_changed(world: World, pack: MakePack) -> None:
    await world.start("n0")
    world.gates["map"] = asyncio.Event()
    await submit(world, "n0", pack())
    await world.until(lambda: len(world.nodes["n0"].execution.ran) == 2)
    directory = world.nodes["n0"].directory
    seen = await directory.status("job@1")
    assert [attempt.node for attempt in seen.running] == ["n0", "n0"]
    waiting = asyncio.get_running_loop().create_task(
        directory.wait("job@1", since=seen.version, timeout_s=10.0)
    )
    await asyncio.sleep(0.01)
    assert not waiting.done()
    world.gates["map"].set()
    assert (await waiting).version > seen.version


async def test_a_restarted_node_goes_on_with_its_groups(world: World, pack: MakePack) -> None:
    await world.start("n0")
    world.gates["map"] = asyncio.Event()
    await submit(world, "n0", pack())
    await world.crash("n0", elect=False)
    await world.restart("n0")
    await world.until(lambda: "n0" in world.groups["job/job@1"].members)
    world.elect()
    world.gates["map"].set()
    assert world.counts(await world.ended("n0", "job@1")) == ANSWER


async def test_a_voter_that_slept_through_the_end_forgets_the_group(
    world: World, pack: MakePack
) -> None:
    await world.start("n0", "n1", "n2")
    world.gates["map"] = asyncio.Event()
    handle = await submit(world, "n0", pack())
    sleeper = next(node for node in handle.voters if node != handle.coordinator)
    await world.crash(sleeper)
    world.gates["map"].set()
    await world.ended(handle.coordinator, "job@1")
    await world.until(lambda: not world.stored[handle.coordinator])
    assert world.stored[sleeper]
    await world.restart(sleeper)
    await world.until(lambda: not world.stored[sleeper])


async def test_who_joins_a_group_that_is_over_forgets_it_although_it_believes_in_a_leader(
    world: World, pack: MakePack
) -> None:
    await world.start("n0", "n1", "n2", "n3")
    handle = await submit(world, "n0", pack())
    await world.ended(handle.coordinator, "job@1")
    await world.until(lambda: not world.stored[handle.coordinator])
    outsider = next(name for name in world.nodes if name not in handle.voters)
    await world.crash(outsider)
    await world.restart(outsider)
    form = encode(Form("job@1", handle.voters, campaign=False))
    await world.nodes["n0"].rpc.call(outsider, "job/form", form, timeout=1.0)
    assert world.groups["job/job@1"].leader, "the leader that it believes in"
    assert world.stored[outsider]
    await world.until(lambda: not world.stored[outsider])


async def test_attempts_that_a_restarted_node_does_not_know_are_run_again(
    world: World, pack: MakePack
) -> None:
    await world.start("n0", "n1", "n2", "n3", slots=1)
    world.gates["map"] = asyncio.Event()
    handle = await submit(world, "n0", pack(inputs=[f"raw://w{n}" for n in range(8)]))
    outsider = next(name for name in world.nodes if name not in handle.voters)
    await world.until(lambda: world.nodes[outsider].execution.ran)
    await world.crash(outsider, notice=False)
    await world.restart(outsider, slots=1)
    world.gates["map"].set()
    status = await world.ended(handle.coordinator, "job@1")
    assert world.counts(status) == {f"w{n}": 1 for n in range(8)}


async def test_many_jobs_share_the_slots_and_all_end(world: World, pack: MakePack) -> None:
    await world.start("n0", "n1", "n2", slots=1)
    names = [f"job@{number}" for number in range(6)]
    await asyncio.gather(*(submit(world, "n0", pack(name)) for name in names))
    for name in names:
        assert world.counts(await world.ended("n1", name)) == ANSWER


async def test_a_job_is_taken_although_its_first_voter_is_gone(
    world: World, pack: MakePack
) -> None:
    """The others had formed its group, and of those one was never counted."""
    await world.start("n0", "n1", "n2")
    data = pack()
    digest = hashlib.sha256(data).digest()
    pointer = JobPointer(PointerState.ACTIVE, ("n2", "n0", "n1"), digest)
    await world.registers.create("job/job@1", encode(pointer))
    await world.crash("n2")
    await submit(world, "n0", data)
    assert world.counts(await world.ended("n1", "job@1")) == ANSWER


async def test_a_group_that_never_receives_its_job_ends(world: World, pack: MakePack) -> None:
    """And whoever goes on submitting it is not told that it was accepted."""
    world.config = replace(world.config, abandoned_s=0.02)
    await world.start("n0")
    late = pack("lost")
    pointer = JobPointer(PointerState.ACTIVE, ("n0",), hashlib.sha256(late).digest())
    await world.registers.create("job/lost", encode(pointer))
    form = encode(Form("lost", ("n0",), campaign=True))
    await world.nodes["n0"].rpc.call("n0", "job/form", form, timeout=1.0)
    status = await world.ended("n0", "lost")
    assert status.status is JobPhase.DEAD
    await world.until(lambda: not world.stored["n0"])
    with pytest.raises(JobRefused, match="given up"):
        await submit(world, "n0", late)
