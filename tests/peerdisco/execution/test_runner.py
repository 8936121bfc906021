"""Attempts from assignment to outcome, on nodes without a network."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from peerdisco.execution import ExecutionConfig, Runner
from peerdisco.messages import (
    ErrorKind,
    Failed,
    Finished,
    Input,
    InputsLost,
    Outcome,
)
from peerdisco.util import kvgroup

TEXT = "".join(f"the quick {number % 7} fox\n" for number in range(500))


def words(line: str, params: Any) -> Any:
    for word in line.split():
        yield word, 1


def total(records: Any, params: Any) -> Any:
    for word, counts in kvgroup(sorted(records)):
        yield word, sum(counts)


def failing(line: str, params: Any) -> Any:
    print("about to fail")
    raise ValueError("no good")


SEED = {"map": words, "reduce": total}


def segments(outcome: Outcome, producer: int = 0) -> list[Input]:
    assert isinstance(outcome, Finished), outcome
    return [
        Input((output.url,), output.label, output.size, producer, output.records)
        for output in outcome.outputs
    ]


async def test_a_job_on_two_nodes_counts_exactly_and_leaves_nothing(world: Any, until: Any) -> None:
    one, two = await world.start("one"), await world.start("two")
    pack = world.pack(SEED)
    blob = Input((f"blob:{world.blobs.add(TEXT.encode())}",))
    mapped = [
        await node.runner.run(world.assignment(pack, "map", [blob], partitions=2))
        for node in (one, two)
    ]
    inputs = [segment for outcome in mapped for segment in segments(outcome)]
    assert {"segment://one/segments", "segment://two/segments"} == {
        segment.urls[0].rpartition("/job@1/")[0] for segment in inputs
    }
    counts: Counter[str] = Counter()
    for label in (0, 1):
        chosen = [segment for segment in inputs if segment.label == label]
        reduce = world.assignment(pack, "reduce", chosen, label=label, final=True)
        outcome = await one.runner.run(reduce)
        counts.update(dict(world.results(outcome)))
        assert [label] == [output.label for output in outcome.outputs]
    assert counts == {word: 2 * count for word, count in Counter(TEXT.split()).items()}
    assert await one.runner.jobs() == ["job@1"]
    for node in (one, two):
        await node.runner.forget("job@1")
    await until(lambda: one.files() == two.files() == [])


async def test_a_pack_is_fetched_once_for_all_attempts_of_a_job(world: Any) -> None:
    node = await world.start("one", slots=2)
    pack = world.pack(SEED)
    raw = Input(("raw://a%20b",))
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(node.runner.run(world.assignment(pack, "map", [raw])))
    assert world.blobs.gets == 1


async def test_lost_segments_name_all_their_producers(world: Any) -> None:
    node = await world.start("one")
    inputs = [
        Input((f"segment://{where}/segments/job@1/{number}.0/0",), producer=number)
        for number, where in [(5, "gone"), (3, "one"), (4, "gone")]
    ]
    outcome = await node.runner.run(world.assignment(world.pack(SEED), "reduce", inputs))
    assert InputsLost((3, 4, 5)) == outcome


async def test_a_damaged_segment_is_lost_like_a_missing_one(world: Any) -> None:
    node = await world.start("one")
    pack = world.pack(SEED)
    mapped = await node.runner.run(world.assignment(pack, "map", [Input(("raw://a b",))]))
    [segment] = segments(mapped, producer=8)
    path = node.root / segment.urls[0].removeprefix("segment://one/")
    path.write_bytes(path.read_bytes()[:-1])
    outcome = await node.runner.run(world.assignment(pack, "reduce", [segment]))
    assert InputsLost((8,)) == outcome


async def test_an_input_nobody_can_read_is_named_with_every_reason(world: Any) -> None:
    node = await world.start("one")
    bad = Input(("blob:b3-absent", "ftp://x/y", "file://elsewhere/x", "file:relative"))
    outcome = await node.runner.run(world.assignment(world.pack(SEED), "map", [bad]))
    assert isinstance(outcome, Failed)
    error = outcome.error
    assert (ErrorKind.INPUT, "blob:b3-absent", "host-one") == (error.kind, error.input, error.node)
    for reason in (
        "no node has b3-absent",
        "ftp: inputs of this kind cannot be read",
        "names elsewhere",
        "needs an absolute path",
    ):
        assert reason in error.message


async def test_an_input_without_any_replica_is_the_inputs_fault(world: Any) -> None:
    node = await world.start("one")
    outcome = await node.runner.run(world.assignment(world.pack(SEED), "map", [Input(())]))
    assert isinstance(outcome, Failed)
    assert (ErrorKind.INPUT, "") == (outcome.error.kind, outcome.error.input)
    assert "it has no replica" in outcome.error.message


async def test_a_file_url_is_a_file_of_the_nodes_own_disk(world: Any) -> None:
    node = await world.start("one")
    (node.root.parent / "own file.txt").write_text("a a\n")
    urls = [f"file://{node.root.parent}/own%20file.txt", f"file://{node.root.parent}/none.txt"]
    pack = world.pack(SEED)
    good, bad = [
        await node.runner.run(world.assignment(pack, "map", [Input((url,))], final=True))
        for url in urls
    ]
    assert [("a", 1), ("a", 1)] == world.results(good)
    assert isinstance(bad, Failed)
    assert (ErrorKind.INPUT, urls[1]) == (bad.error.kind, bad.error.input)


async def test_a_users_exception_comes_with_the_node_and_the_printed_lines(
    world: Any, until: Any
) -> None:
    node = await world.start("one")
    pack = world.pack({"map": failing})
    task = world.assignment(pack, "map", [Input(("raw://x",))])
    outcome = await node.runner.run(task)
    assert isinstance(outcome, Failed)
    error = outcome.error
    assert (ErrorKind.USER, "host-one", "raw://x", 0) == (
        error.kind,
        error.node,
        error.input,
        error.record,
    )
    assert "ValueError: no good" in error.traceback
    assert ["about to fail"] == node.runner.log("job@1", task.attempt)
    await until(lambda: node.files() == [f"spool/job@1/pack-{pack}"])


async def test_a_worker_that_dies_loses_the_attempt_and_is_replaced(world: Any, until: Any) -> None:
    node = await world.start("one")
    pack = world.pack(SEED)
    await until(lambda: node.processes.started)
    [first] = node.processes.started
    first.dies = True
    task = world.assignment(pack, "map", [Input(("raw://a",))])
    outcome = await node.runner.run(task)
    assert isinstance(outcome, Failed)
    assert outcome.error.kind is ErrorKind.WORKER_LOST
    assert "killed by SIGKILL" in outcome.error.message
    assert "last words" in outcome.error.traceback
    again = await node.runner.run(world.assignment(pack, "map", [Input(("raw://a",))]))
    assert isinstance(again, Finished)


async def test_cancelling_kills_the_worker_and_removes_what_was_written(
    world: Any, until: Any
) -> None:
    node = await world.start("one")
    pack = world.pack(SEED)
    await node.runner.run(world.assignment(pack, "map", [Input(("raw://a",))], final=True))
    [worker] = node.processes.started
    worker.stalls, worker.busy = True, False
    attempt = asyncio.ensure_future(
        node.runner.run(world.assignment(pack, "map", [Input(("raw://a",))]))
    )
    await until(lambda: worker.busy)
    attempt.cancel()
    await asyncio.wait([attempt])
    assert not worker.alive
    assert node.runner.running() == []
    await until(lambda: node.files() == [f"spool/job@1/pack-{pack}"])


async def test_a_job_forgotten_amid_an_attempt_leaves_nothing(world: Any, until: Any) -> None:
    node = await world.start("one")
    entered, leave = asyncio.Event(), asyncio.Event()
    local_path = world.blobs.local_path

    async def slow_local_path(blob_id: str) -> Any:
        if entered.is_set():
            return await local_path(blob_id)
        entered.set()
        await leave.wait()
        return await local_path(blob_id)

    world.blobs.local_path = slow_local_path
    task = world.assignment(world.pack(SEED), "map", [Input(("raw://a",))])
    attempt = asyncio.ensure_future(node.runner.run(task))
    await entered.wait()
    await node.runner.forget("job@1")
    leave.set()
    assert isinstance(await attempt, Finished)
    await until(lambda: not any(path.startswith("segments") for path in node.files()))


async def test_a_missing_pack_is_an_input_error(world: Any) -> None:
    node = await world.start("one")
    outcome = await node.runner.run(world.assignment("b3-absent", "map", []))
    assert isinstance(outcome, Failed)
    assert outcome.error.message == "cannot read the job pack: no node has b3-absent"


async def test_a_node_that_cannot_start_workers_says_so(world: Any) -> None:
    node = await world.start("one", workers_warm=0)
    node.processes.broken = True
    outcome = await node.runner.run(world.assignment(world.pack(SEED), "map", []))
    assert isinstance(outcome, Failed)
    assert (ErrorKind.NODE, "the node could not run it: no more processes") == (
        outcome.error.kind,
        outcome.error.message,
    )


async def test_inputs_beyond_the_spool_limit_are_the_nodes_failure(world: Any) -> None:
    node = await world.start("one", spool_bytes_max=5000)
    big = Input((f"blob:{world.blobs.add(bytes(6000))}",))
    outcome = await node.runner.run(world.assignment(world.pack(SEED), "map", [big]))
    assert isinstance(outcome, Failed)
    assert outcome.error.kind is ErrorKind.NODE
    assert "over 5000 bytes of spool" in outcome.error.message


async def test_leftovers_of_the_spool_are_removed_at_the_start(world: Any, until: Any) -> None:
    node = await world.start("one", workers_warm=0)
    leftover = node.root / "spool/old/1.0/in-0"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("x")
    restarted = asyncio.ensure_future(node.runner.serve())
    await until(lambda: not leftover.exists())
    restarted.cancel()
    await asyncio.wait([restarted])


async def test_running_attempts_show_their_progress(world: Any) -> None:
    node = await world.start("one")
    blob = Input((f"blob:{world.blobs.add(bytes([10]) * 530_000)}",))
    pack = world.pack({"map": lambda line, params: [(line, 1)]})
    seen = []
    attempt = asyncio.ensure_future(node.runner.run(world.assignment(pack, "map", [blob])))
    while not attempt.done():
        seen += [running.records_in for running in node.runner.running()]
        await asyncio.sleep(0)
    assert isinstance(attempt.result(), Finished)
    assert max(seen) > 0
    assert seen == sorted(seen)


async def test_a_node_that_never_gets_ready_refuses_in_time(world: Any) -> None:
    node = await world.start("one", workers_warm=0)
    idle = Runner(
        "one",
        "host-one",
        node.disk,
        node.processes,
        world.blobs,
        node.rpc,
        ExecutionConfig(start_timeout_s=0.01),
    )
    outcome = await idle.run(world.assignment(world.pack(SEED), "map", []))
    assert isinstance(outcome, Failed)
    assert outcome.error.message == "the node is not ready to run tasks"
