"""Repair: every peer takes part, the most urgent first, at a pace that yields to people."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdisco_dht import Durability, NodeState, RemoveNodes, SetState
from peerdisco_dht.backlog import BACKOFF_S_MAX, BACKOFF_S_MIN, Backlog, Errand
from peerdisco_dht.blobs.messages import Role
from peerdisco_dht.pacing import WAIT_S_MAX, Pace, Throttle, Traffic
from tests.dht_storage.conftest import CONFIG

if TYPE_CHECKING:
    from tests.dht_storage.conftest import Cluster, World

MIB = 1 << 20
LARGE = 100_000
"""Just more than what lies in the index."""


# -- the backlog, pure


def test_the_fewest_copies_go_first_and_then_the_smallest() -> None:
    backlog = Backlog()
    errands = [Errand(2, 1, "a", "n"), Errand(1, 9, "b", "n"), Errand(1, 3, "c", "n")]
    for errand in errands:
        backlog.add(errand, 0.0)
    taken = [backlog.take(), backlog.take(), backlog.take(), backlog.take()]
    assert [each and each.blob for each in taken] == ["c", "b", "a", None]


def test_a_copy_that_is_known_already_is_not_sent_twice() -> None:
    backlog = Backlog()
    errand = Errand(1, 10, "a", "n")
    backlog.add(errand, 0.0)
    backlog.add(replace(errand, copies=2), 0.0)
    assert len(backlog) == 1
    assert backlog.take() == errand
    backlog.add(errand, 0.0)
    assert backlog.take() is None, "it is under way"
    backlog.finish(errand, 1.0, sent=False)
    assert "a" not in backlog
    backlog.add(errand, 2.0)
    assert backlog.take() == errand


def test_who_was_found_lacking_a_copy_before_it_arrived_is_not_sent_it_again() -> None:
    backlog = Backlog()
    backlog.add(Errand(1, 10, "a", "n", asked=1.0), 1.1)
    first = backlog.take()
    assert first
    backlog.finish(first, 2.0, sent=True)
    assert backlog.add(Errand(1, 10, "a", "n", asked=1.9), 2.1)
    assert backlog.take() is None, "its question is older than the delivery"
    assert backlog.add(Errand(1, 10, "a", "n", asked=2.5), 2.6)
    assert backlog.take() is not None, "it has lost its copy since"


def test_to_whom_a_copy_could_not_be_given_it_is_offered_ever_more_seldom() -> None:
    backlog = Backlog()
    now, pauses = 0.0, []
    for _ in range(9):
        errand = Errand(1, 10, "a", "n", asked=now)
        assert backlog.add(errand, now)
        assert backlog.take() is errand
        backlog.finish(errand, now, sent=False, failed=True)
        failed = now
        while not backlog.add(replace(errand, asked=now), now):
            assert len(backlog) == 0
            now += 0.25
        taken = backlog.take()
        assert taken
        backlog.finish(taken, now, sent=False)
        pauses.append(now - failed)
    assert pauses[:3] == [BACKOFF_S_MIN, 2 * BACKOFF_S_MIN, 4 * BACKOFF_S_MIN]
    assert pauses[-1] == BACKOFF_S_MAX
    assert backlog.add(Errand(1, 10, "a", "m"), 0.0), "others do not suffer for it"


def test_progress_tells_what_is_left_and_how_long_it_takes() -> None:
    backlog = Backlog()
    for blob in "abcd":
        backlog.add(Errand(1, 100, blob, "n"), 10.0)
    assert backlog.progress(10.0, walking=True, checked=4).left_s is None
    first = backlog.take()
    assert first
    backlog.finish(first, 12.0, sent=True)
    progress = backlog.progress(12.0, walking=False, checked=4)
    assert (progress.blobs_left, progress.bytes_left, progress.blobs_sent) == (3, 300, 1)
    assert (progress.bytes_per_s, progress.left_s) == (50.0, 6.0)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9), st.integers(0, 5)), max_size=30))
def test_what_is_left_is_what_was_added_and_not_finished(adds: list[tuple[int, int, int]]) -> None:
    backlog = Backlog()
    known: dict[str, int] = {}
    for number, (copies, size, name) in enumerate(adds):
        blob = f"b{name}"
        if blob not in known:
            known[blob] = size
        backlog.add(Errand(copies, known[blob], blob, "n", asked=2.0), 0.0)
        if number % 3 == 2 and (errand := backlog.take()):
            backlog.finish(errand, 1.0, sent=True)
            del known[errand.blob]
        left = backlog.progress(1.0, walking=False, checked=0)
        assert (left.blobs_left, left.bytes_left) == (len(known), sum(known.values()))
        assert all(blob in backlog for blob in known)


# -- the pace


def test_a_pace_lets_so_many_bytes_pass_and_no_more() -> None:
    pace = Pace()
    assert pace.reserve(50, 100, 7.0) == 0.0
    assert pace.reserve(50, 100, 7.0) == 0.5
    assert pace.reserve(10, 100, 7.0) == 1.0
    assert pace.reserve(10, 100, 9.0) == 0.0, "what was not used is not saved up"
    assert pace.reserve(10**9, 1, 9.0) <= WAIT_S_MAX
    assert pace.reserve(1, 1, 9.0) == WAIT_S_MAX


def test_background_work_yields_to_people_unless_it_is_in_a_hurry(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        loop, traffic = asyncio.get_running_loop(), Traffic()
        throttle = Throttle(traffic, 1000, 100)

        async def seconds(*, hurry: bool = False) -> float:
            began = loop.time()
            for _ in range(11):
                await throttle.take(10, hurry=hurry)
            await asyncio.sleep(1)
            return loop.time() - began - 1

        assert await seconds() == pytest.approx(0.1)
        with traffic.foreground():
            assert await seconds() == pytest.approx(1.0)
            assert await seconds(hurry=True) == pytest.approx(0.1)
        await asyncio.sleep(2)
        assert await seconds() == pytest.approx(0.1)
        throttle = Throttle(Traffic(lambda: True), 1000, 100)
        assert await seconds() == pytest.approx(1.0)

    world(story, 0)


# -- a cluster


async def fill(cluster: Cluster, count: int, size: int = LARGE) -> list[str]:
    """Blobs with all their copies."""
    draws = random.Random(5)
    blobs = []
    for number in range(count):
        node = cluster[number % len(cluster.nodes)]
        info = await node.storage.blobs.put_bytes(draws.randbytes(size), durability=Durability.ALL)
        blobs.append(info.id)
    return blobs


def home_of(cluster: Cluster, blob: str) -> set[str]:
    return set(next(iter(cluster.network.up.values())).storage.blobs.home(blob))


def all_home(cluster: Cluster, blobs: list[str]) -> bool:
    return all(home_of(cluster, blob) <= set(cluster.replicas(blob)) for blob in blobs)


def test_when_one_of_ten_nodes_is_lost_all_others_send_and_receive(world: World) -> None:
    """No single source, no single target: the issue's demand, on ten nodes."""

    async def story(cluster: Cluster) -> None:
        blobs = await fill(cluster, 300)
        victim = cluster[3]
        held = sum(victim.id in home_of(cluster, blob) for blob in blobs)
        await cluster.crash("n3")
        cluster.network.pushes.clear()
        cluster.change(RemoveNodes((victim.id,)))
        await cluster.eventually(lambda: all_home(cluster, blobs), 120.0)
        senders: dict[str, int] = {}
        receivers: dict[str, int] = {}
        for sender, receiver in cluster.network.pushes:
            senders[sender] = senders.get(sender, 0) + 1
            receivers[receiver] = receivers.get(receiver, 0) + 1
        others = {node.id for node in cluster.nodes.values()} - {victim.id}
        assert set(senders) == others
        assert set(receivers) == others
        moved = sum(senders.values())
        assert moved < 1.5 * held, "hardly anything moves but the copies that were lost"
        assert max(senders.values()) < 2.5 * moved / len(others)

    world(story, 10)


def test_repair_goes_on_after_a_restart_and_does_not_begin_anew(world: World) -> None:
    slow = replace(CONFIG, repair_bytes_per_s=400_000, repair_concurrency=1)

    async def story(cluster: Cluster) -> None:
        blobs = await fill(cluster, 60)
        cluster.start("n4")
        await cluster[4].storage.wait_started()
        cluster.network.pushes.clear()
        cluster.add(4)
        await asyncio.sleep(3)
        done = sum(cluster[4].id in cluster.replicas(blob) for blob in blobs)
        assert 0 < done
        assert not all_home(cluster, blobs), "too quick to be interrupted"
        for name in ("n0", "n1"):
            await cluster.crash(name)
            cluster.start(name).storage.adopt(cluster.layout)
        await cluster.eventually(lambda: all_home(cluster, blobs), 300.0)
        wanted = sum(cluster[4].id in home_of(cluster, blob) for blob in blobs)
        # Copies on their way were cut off, and others took over a share that was theirs again soon.
        assert len(cluster.network.pushes) <= wanted + 4 * 2

    world(story, 4, config=slow)


def test_the_limit_of_repair_is_kept_and_its_progress_told(world: World) -> None:
    limited = replace(
        CONFIG,
        repair_concurrency=1,
        repair_bytes_per_s=200_000,
        repair_busy_bytes_per_s=200_000,
    )

    async def story(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        blobs = await fill(cluster, 40)
        cluster.start("n3")
        await cluster[3].storage.wait_started()
        began = loop.time()
        cluster.add(3)
        await asyncio.sleep(5)
        progress = [each.repair for each in (await cluster[3].storage.health.conditions()).values()]
        assert len(progress) == 4
        assert any(each.bytes_left and each.left_s for each in progress)
        await cluster.eventually(lambda: all_home(cluster, blobs), 300.0)
        moved = LARGE * sum(cluster[3].id in home_of(cluster, blob) for blob in blobs)
        # One node receives everything, so its limit is that of the whole.
        assert loop.time() - began >= (moved - LARGE) / 200_000
        await asyncio.sleep(2)
        for each in (await cluster[3].storage.health.conditions()).values():
            assert each.repair.blobs_left == 0
            assert each.repair.left_s == 0.0

    world(story, 3, config=limited)


def test_a_drained_node_is_empty_in_the_end_and_everything_is_elsewhere(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        blobs = await fill(cluster, 40)
        leaver = cluster[2]
        cluster.change(SetState(leaver.id, NodeState.DRAINING))
        await cluster.eventually(lambda: all_home(cluster, blobs), 120.0)

        def rest() -> list[str]:
            rows = [leaver.storage._shelf.row(blob) for blob in blobs]
            return [row.where for row in rows if row and row.role is Role.REPLICA]

        await cluster.eventually(lambda: not rest(), 120.0)

    world(story, 5)


@pytest.mark.parametrize("seed", range(4))
def test_a_drained_node_lets_go_of_what_others_sent_for_it_without_another_walk(
    world: World, seed: int
) -> None:
    async def story(cluster: Cluster) -> None:
        blobs = await fill(cluster, 6)
        leaver = cluster[3]
        cluster.change(SetState(leaver.id, NodeState.DRAINING))
        shelf = leaver.storage._shelf
        await cluster.eventually(
            lambda: (
                not any(
                    row.role is Role.REPLICA
                    for blob in blobs
                    if (row := shelf.row(blob)) is not None
                )
            ),
            30.0,
        )

    world(story, 4, seed=seed, config=replace(CONFIG, repair_interval_s=3600.0))


@pytest.mark.parametrize("size", [300, LARGE])
def test_a_copy_that_could_not_be_given_is_offered_again_soon_but_not_at_once(
    world: World, size: int
) -> None:
    async def story(cluster: Cluster) -> None:
        blobs = await fill(cluster, 12, size)
        joined = cluster.start("n3")
        await joined.storage.wait_started()
        shelf, tries = joined.storage._shelf, dict.fromkeys(blobs, 0)
        keep_inline, keep_file = shelf.keep_inline, shelf.keep_file

        def refuse(blob: str) -> None:
            tries[blob] += 1
            raise OSError("the disk is ill")

        shelf.keep_inline = lambda blob, *_: refuse(blob)  # type: ignore[assignment,method-assign]
        shelf.keep_file = lambda _, chunks, *__: refuse(chunks.id)  # type: ignore[assignment,method-assign]
        cluster.add(3)
        await asyncio.sleep(20)
        assert 2 <= max(tries.values()) <= 3 * 6, "each of three holders, and ever more seldom"
        shelf.keep_inline, shelf.keep_file = keep_inline, keep_file  # type: ignore[method-assign]
        await cluster.eventually(lambda: all_home(cluster, blobs), BACKOFF_S_MAX)

    world(story, 3, config=replace(CONFIG, repair_interval_s=3600.0))
