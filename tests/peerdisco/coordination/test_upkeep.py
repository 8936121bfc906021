"""Which voters a group should have."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from peerdisco.coordination.config import CoordinationConfig
from peerdisco.coordination.messages import Form, JobPointer, PointerState, Reply, ReplyCode
from peerdisco.coordination.pointers import JobPointers
from peerdisco.coordination.upkeep import VoterUpkeep, choose_voters, plan_voters
from peerdisco.messages import decode, encode

ALL = ["n0", "n1", "n2", "n3", "n4"]


def plan(voters: list[str], missing: list[str], alive: list[str]) -> tuple[str, ...] | None:
    return plan_voters(voters[0], voters, missing, alive, 3, random.Random(1))


def test_a_new_group_begins_with_this_node_and_has_three_voters() -> None:
    chosen = choose_voters("n1", ALL, ALL, 3, random.Random(1))
    assert chosen[0] == "n1"
    assert len(set(chosen)) == 3


@pytest.mark.parametrize("alive", [["n1"], ["n0", "n1"]])
def test_a_small_cluster_has_one_voter(alive: list[str]) -> None:
    assert choose_voters("n1", alive, alive, 3, random.Random(1)) == ("n1",)


def test_nodes_that_seem_dead_still_count_as_voters_where_no_others_are() -> None:
    """Found by seed 89: a job named one node, which nobody reached, and could begin nowhere."""
    chosen = choose_voters("n1", ["n0", "n1"], ["n0", "n1", "n2"], 3, random.Random(1))
    assert chosen == ("n1", "n0", "n2")
    alone = choose_voters("n1", ["n1"], ["n0", "n1", "n2"], 3, random.Random(1))
    assert sorted(alone) == ["n0", "n1", "n2"]
    enough = choose_voters("n1", ["n1", "n3", "n4"], ALL, 3, random.Random(1))
    assert sorted(enough) == ["n1", "n3", "n4"]


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


class Register:
    """The one register that a pointer lies in, which notes what it has named."""

    def __init__(self, *voters: str) -> None:
        self.version = 1
        self.value = encode(JobPointer(PointerState.ACTIVE, voters, b""))
        self.named: list[tuple[str, ...]] = []

    async def read(self, key: str) -> SimpleNamespace:
        del key
        return SimpleNamespace(version=self.version, value=self.value)

    async def compare_and_set(self, key: str, expected_version: int, value: bytes) -> bool:
        del key
        if expected_version == self.version:
            self.version, self.value = self.version + 1, value
            self.named.append(decode(value, JobPointer).voters)
        return expected_version < self.version


class Changing:
    """A group that changes its voters when asked, or fails to."""

    def __init__(self, register: Register, *voters: str) -> None:
        self.era = 0
        self.known_commit = (7, 2)
        self.voters = voters
        self.named_at_change: list[tuple[str, ...]] = []
        self.fails = False
        self._register = register

    async def change_voters(self, voters: tuple[str, ...], *, timeout: float) -> None:
        del timeout
        self.named_at_change.append(self._register.named[-1])
        if self.fails:
            raise TimeoutError
        self.voters = voters


class Willing:
    """Peers that join when asked.

    Attributes:
        told: Whom each was told to be the voters, at first.
    """

    def __init__(self) -> None:
        self.told: dict[str, tuple[str, ...]] = {}

    async def call(self, peer: str, method: str, body: bytes, *, timeout: float) -> bytes:
        del timeout
        assert method == "job/form"
        form = decode(body, Form)
        assert form.floor == (7, 2), "who forgot the group must not undo anything"
        self.told.setdefault(peer, form.voters)
        return encode(Reply(ReplyCode.OK))


def upkeep(
    register: Register, group: Changing, alive: list[str], peers: Willing | None = None
) -> VoterUpkeep:
    ports = SimpleNamespace(
        me="n0",
        registers=register,
        members=SimpleNamespace(alive=lambda: alive),
        rpc=peers or Willing(),
        rng=random.Random(1),
        failures=SimpleNamespace(any=(OSError,)),
    )
    config = CoordinationConfig(upkeep_interval_s=0.001, voter_missing_s=0.0)
    return VoterUpkeep("j", ports, group, config)  # type: ignore[arg-type]  # the parts that are used


async def until(keeper: VoterUpkeep, condition: Callable[[], bool]) -> None:
    task = asyncio.get_running_loop().create_task(keeper.run())
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for are values
            await asyncio.sleep(0.001)
    task.cancel()


async def test_the_pointer_names_old_voters_until_they_are_out() -> None:
    """Found by seed 81: one that restarted meanwhile left, and the old ones had no majority."""
    register = Register("n0", "n1", "n2")
    group = Changing(register, "n0", "n1", "n2")
    await until(upkeep(register, group, ["n0", "n1", "n3"]), lambda: len(register.named) == 2)
    assert group.voters == ("n0", "n1", "n3")
    assert {*group.named_at_change[0]} == {"n0", "n1", "n2", "n3"}
    assert register.named[-1] == group.voters


async def test_who_joins_late_is_told_of_the_founders_while_nobody_has_changed_them() -> None:
    """The log holds changes only: one that knew no voters could never stand for election."""
    register, peers = Register("n0", "n1", "n2"), Willing()
    keeper = upkeep(register, Changing(register, "n0", "n1", "n2"), ["n0", "n1", "n2"], peers)
    await until(keeper, lambda: len(peers.told) == 2)
    assert peers.told == {"n1": ("n0", "n1", "n2"), "n2": ("n0", "n1", "n2")}
    assert await JobPointers(register).move("j", ("n0", "n1", "n3"))  # type: ignore[arg-type]  # likewise
    peers = Willing()
    keeper = upkeep(register, Changing(register, "n0", "n1", "n3"), ["n0", "n1", "n3"], peers)
    await until(keeper, lambda: len(peers.told) == 2)
    assert peers.told == {"n1": (), "n3": ()}


async def test_the_pointer_counts_how_often_a_voter_was_left_out() -> None:
    """While that is never, whoever has not joined has never voted."""
    register = Register("n0", "n1", "n2")
    pointers = JobPointers(register)  # type: ignore[arg-type]  # the parts that are used
    removals = []
    for voters in (("n0", "n1", "n2", "n3"), ("n3", "n2", "n1", "n0"), ("n0", "n1", "n3")):
        assert await pointers.move("j", voters)
        removals.append(decode(register.value, JobPointer).removals)
    assert await pointers.finish("j", PointerState.DONE)
    assert [*removals, decode(register.value, JobPointer).removals] == [0, 0, 1, 1]


async def test_the_next_leader_finishes_a_change_that_was_left_half_done() -> None:
    register = Register("n0", "n1", "n3", "n2")
    group = Changing(register, "n0", "n1", "n3")
    await until(upkeep(register, group, ["n0", "n1", "n2", "n3"]), lambda: bool(register.named))
    assert register.named[-1] == ("n0", "n1", "n3")


async def test_a_change_that_fails_leaves_everybody_named() -> None:
    register = Register("n0", "n1", "n2")
    group = Changing(register, "n0", "n1", "n2")
    group.fails = True
    alive = ["n0", "n1", "n3"]
    await until(upkeep(register, group, alive), lambda: len(group.named_at_change) > 1)
    assert {*register.named[-1]} == {"n0", "n1", "n2", "n3"}
