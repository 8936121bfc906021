"""Raft under everything at once, judged as it happens; then calm, in which it has to work.

Two groups of three voters on four nodes, each with the real driver, links, datagrams and a store.
Clients append to replicated ledgers in sessions, repeating what they do not know the outcome of,
and read. Power cuts, kills, partitions, pauses, slow, full and failing disks strike, half of them
or more at a leader; members change, those that went forget the group and may be wanted again, and
leadership is handed over.

Judged: the rules of Raft (`checkers/raft_rules.py`), by looking into cores and stores; that every
acknowledged append stands in the ledger exactly once where it was said to, and no other twice;
that appends and reads are linearizable; that all members are equal in the end; and that after the
storm every group works again.
"""

from __future__ import annotations

import asyncio
import errno
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from peerdisco_election import Group, RaftConfig, RaftError, Refusal, Session, register
from peerdisco_sim.checkers.raft import RaftChecker
from peerdisco_sim.cluster import Cluster
from peerdisco_sim.machine import disk_of
from peerdisco_sim.network import Conditions
from peerdisco_sim.node import SimNode
from peerdisco_sim.recorder import Recorder
from peerdisco_sim.scenario import Scenario, Tally
from peerdisco_sim.scenarios.raft_node import Code, Plan, RaftNode, Request, ask
from peerdisco_sim.world import World

if TYPE_CHECKING:
    from peerdisco.node import Node
    from peerdisco_sim.arena import Arena
    from peerdisco_sim.streams import Stream

STORM_S = 2.0
CALM_S = 20.0
ASK_S = 2.5
CLIENTS = {"one": 2, "two": 1}
"""Groups, and how many clients use each."""

GROUPS = tuple(CLIENTS)
CONFIG = RaftConfig(
    election_timeout=0.4,
    heartbeat_interval=0.15,
    evidence_delay_min=0.005,
    evidence_delay_max=0.05,
    resend_interval=0.08,
)


@dataclass(slots=True)
class Append:
    """A client's append. `end` is infinite and `place` 0 while the outcome is unknown."""

    token: bytes
    call: float
    end: float = math.inf
    place: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """A client's read of the ledger's length."""

    call: float
    end: float
    length: int


@dataclass(slots=True)
class History:
    """What the clients of one group did."""

    appends: list[Append] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)


def judge(history: History, ledger: Sequence[bytes]) -> str:
    """What is wrong with a history, given the ledger in the end; empty when nothing is.

    Appends to one list are totally ordered by their places, so linearizability needs no search:
    what ended before another began must come before it.
    """
    if len(set(ledger)) != len(ledger):
        return "an append was applied twice"
    calls = {append.token: append.call for append in history.appends}
    latest = [0.0]
    for token in ledger:
        latest.append(max(latest[-1], calls[token]))
    done = [append for append in history.appends if append.place]
    for append in done:
        if append.place > len(ledger) or ledger[append.place - 1] != append.token:
            return f"acknowledged append {append.token!r} is not at {append.place}"
    # Each event says: from `end` on, nobody may be told of less than `place`.
    events = [(append.end, append.place, append.call, True) for append in done]
    events += [(read.end, read.length, read.call, False) for read in history.reads]
    ended = sorted(events)
    floor = at = 0
    for _, place, call, appended in sorted(events, key=lambda event: event[2]):
        while ended[at][0] < call:
            floor, at = max(floor, ended[at][1]), at + 1
        if place < floor + appended:
            return f"what began at {call} was told of {place}, though {floor} was known before"
    if any(latest[place] > end for end, place, _, _ in events):
        return "somebody knew of an append before it began"
    return ""


class _Stage:
    """The little that the Raft checker needs to see of an arena."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.recorder = Recorder(lambda: world.now)
        self.fail = world.fail
        self.watch: Callable[[str, Node], None] = lambda _name, _node: None

    def observe(self, callback: Callable[[str, Node], None]) -> None:
        self.watch = callback

    def name_of(self, node_id: str) -> str:
        return node_id


class Play:
    """One seeded run."""

    def __init__(self, world: World, nodes: int) -> None:
        self.world = world
        self.draws = world.stream("storm")
        self.cluster = Cluster(world, self._serve)
        self.names = [f"n{number}" for number in range(1, nodes + 1)]
        self.histories = {group: History() for group in GROUPS}
        self.lives: dict[str, RaftNode] = {}
        self._changing: dict[str, RaftNode] = {}
        self.operations = 0
        self._config = self._draw_config(self.draws)
        self._aim = self.draws.choice([0.5, 0.9])
        size = min(3, nodes)
        founders = {"one": self.names[:size], "two": self.names[-size:]}
        self._plans = {group: Plan(voters, voters) for group, voters in founders.items()}
        self._addresses: dict[str, str] = {}
        self._stage = _Stage(world)
        self._checker = RaftChecker()
        self._checker.begin(cast("Arena", self._stage))

    @staticmethod
    def _draw_config(draws: Stream) -> RaftConfig:
        """Batches of one, quick snapshots and lazy notices each in some of the runs."""
        return replace(
            CONFIG,
            append_entries_max=draws.choice([1, 3, 4096]),
            inflight_appends_max=draws.choice([2, 64]),
            notice_delay=draws.choice([0.0, 0.005, 0.05]),
            snapshot_entries=draws.choice([8, 40, 100_000]),
            trailing_entries=draws.choice([0, 5]),
            snapshot_chunk_bytes=draws.choice([64, 512 << 10]),
        )

    def run(self) -> Tally:
        """Storm, then calm."""
        for name in self.names:
            node = self.cluster.start(name)
            self._addresses[name] = node.ip
        self.world.run_for(0.5)
        for _ in range(self.draws.randint(6, 12)):
            self.world.after(self.draws.uniform(0.0, STORM_S), self._disturb)
        self.world.after(STORM_S, self._calm)
        self.cluster.client(self._clients, timeout=STORM_S + 2 * CALM_S)
        self._compare()
        return Tally(self.operations, faults=self.cluster.faults)

    async def _serve(self, machine: SimNode) -> None:
        life = RaftNode(machine, self._addresses, self._config, self._plans)
        self.lives[machine.name] = life
        self._stage.watch(machine.name, cast("Node", life))
        await life.run()

    # Clients.

    async def _clients(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for group in GROUPS:
                for number in range(CLIENTS[group]):
                    tasks.create_task(self._client(group, f"{group}{number}"))

    async def _client(self, group: str, me: str) -> None:
        """Work through the storm, and once more in the calm after it, within its time."""
        history, draws = self.histories[group], self.world.stream("client", me)
        number = 0
        async with asyncio.timeout(STORM_S + CALM_S):
            session = await self._register(group, draws)
            done = False
            while not done:
                done = self.world.now > STORM_S + 0.5
                if draws.random() < 0.3:
                    await self._read(group, history, draws)
                number += 1
                append = Append(f"{me}.{number}".encode(), self.world.now)
                history.appends.append(append)
                if not await self._append(group, session, append, draws):
                    session, done = await self._register(group, draws), False
                await asyncio.sleep(draws.uniform(0.0, 0.12))

    async def _register(self, group: str, draws: Stream) -> Session:
        while True:
            code, value = await self._ask(Request(group, register()), draws)
            if code is Code.DONE and isinstance(value, int):
                return Session(value)

    async def _append(self, group: str, session: Session, append: Append, draws: Stream) -> bool:
        """Repeat until it is known; False when the session was forgotten."""
        wrapped = session.wrap(append.token)
        while True:
            code, value = await self._ask(Request(group, wrapped.command), draws)
            if code is Code.DONE and isinstance(value, int):
                append.end, append.place = self.world.now, value
                session.settled(wrapped)
                return True
            if code is Code.DONE:
                assert value == Refusal.EXPIRED
                return False

    async def _read(self, group: str, history: History, draws: Stream) -> None:
        call = self.world.now
        code, value = await self._ask(Request(group, None), draws)
        if code is Code.DONE and isinstance(value, int):
            history.reads.append(Read(call, self.world.now, value))

    async def _ask(self, request: Request, draws: Stream) -> tuple[Code, int | str]:
        """Ask some node, and the one that it names."""
        self.operations += 1
        name = draws.choice(self.names)
        for _ in range(2):
            try:
                async with asyncio.timeout(ASK_S):
                    answer = await ask(self._addresses[name], request)
            except (OSError, TimeoutError):
                break
            if answer.code is not Code.ELSEWHERE or answer.value not in self._addresses:
                return answer.code, answer.value
            name = str(answer.value)
        await asyncio.sleep(0.03)
        return Code.UNKNOWN, ""

    # Disasters.

    def _leader(self) -> str | None:
        """A node that leads a group, if any does."""
        leading = [
            name
            for name in self.cluster.running
            for group in GROUPS
            if (member := self._member(name, group)) is not None and member.is_leader
        ]
        return self.draws.choice(leading) if leading else None

    def _member(self, name: str, group: str) -> Group | None:
        return self.lives[name].groups.get(group)

    def _disturb(self) -> None:
        draws = self.draws
        name = draws.choice(self.names)
        if draws.random() < self._aim:
            name = self._leader() or name
        disasters: list[Callable[[str], None]] = [
            self._crash,
            self._crash,
            self._disconnect,
            self._disconnect,
            self._spoil_disk,
            self._stall,
            self._degrade,
            self._reorganise,
            self._reorganise,
        ]
        draws.choice(disasters)(name)

    def _crash(self, name: str) -> None:
        if self.draws.random() < 0.5:
            self.cluster.kill(name)
        else:
            self.cluster.cut_power(name)
        self._later(lambda: self._revive(name))

    def _disconnect(self, name: str) -> None:
        if self.draws.random() < 0.6:
            self.cluster.isolate(name)
        else:
            self.cluster.cut([name], [other for other in self.names if other != name])
        self._later(self.cluster.heal)

    def _spoil_disk(self, name: str) -> None:
        disk = disk_of(self.cluster.node(name))
        kind = self.draws.choice(["sync", "full", "slow"])
        self.cluster.faults[f"disk {kind}"] += 1
        if kind == "sync":
            disk.faults.sync_error = errno.EIO
        elif kind == "full":
            disk.files.capacity_bytes = disk.files.capacity_bytes - disk.files.free_bytes
        else:
            disk.faults.slowness = self.draws.choice([20.0, 200.0])
        self._later(lambda: self._revive(name))

    def _stall(self, name: str) -> None:
        if self.draws.random() < 0.5:
            self.cluster.pause(name, self.draws.uniform(0.1, 1.5))
        else:
            self.cluster.clog(name, self.draws.uniform(0.1, 1.0))

    def _degrade(self, _: str) -> None:
        loss = self.draws.choice([0.02, 0.1])
        self.cluster.degrade(Conditions(0.0005, 0.02, loss=loss, duplicate=0.05, reorder=0.1))
        self._later(lambda: self.cluster.degrade(Conditions()))

    def _reorganise(self, name: str) -> None:
        """Change members, hand over, or spread a false rumour."""
        if name not in self.cluster.running:
            return
        group = self._member(name, self.draws.choice(GROUPS))
        if group is None:
            return
        others = [other for other in self.names if other != name]
        kind = self.draws.choice(["change", "change", "transfer", "rumour"])
        self.cluster.faults[kind] += 1
        if kind == "rumour":
            life = self.lives[name]
            self.cluster.node(name).spawn(_rumour(life, self.draws.choice(others)))
        elif group.is_leader and kind == "transfer":
            handing = group.transfer(self.draws.choice(others), timeout=3.0)
            self.cluster.node(name).spawn(_succeeds(handing))
        elif group.is_leader and not self._is_changing(group.name):
            voters = self.draws.sample(self.names, self.draws.choice([1, 2, 3, 3]))
            self._changing[group.name] = self.lives[name]
            self.cluster.node(name).spawn(self._change(group, voters))

    def _is_changing(self, group: str) -> bool:
        """Whether a life that still goes on is changing the members."""
        life = self._changing.get(group)
        return life is not None and life is self.lives[life.me] and life.me in self.cluster.running

    async def _change(self, group: Group, voters: Sequence[str]) -> None:
        """As the product does it: newcomers join first, and who is out forgets the group."""
        plan = self._plans[group.name]
        plan.wanted = list(dict.fromkeys([*plan.wanted, *voters]))
        plan.floor = max(plan.floor, group.known_commit)
        for name in self.cluster.running:
            self.cluster.node(name).spawn(_succeeds(self.lives[name].join(group.name)))
        if await _succeeds(group.change_voters(voters, timeout=3.0)):
            plan.wanted = voters
            for name in self.cluster.running:
                self.cluster.node(name).spawn(_succeeds(self.lives[name].leave(group.name)))
        self._changing.pop(group.name, None)

    def _later(self, undo: Callable[[], object]) -> None:
        self.world.after(self.draws.uniform(0.05, 0.9), undo)

    def _revive(self, name: str) -> None:
        disk = disk_of(self.cluster.node(name))
        disk.faults.sync_error = 0
        disk.faults.slowness = 1.0
        disk.files.capacity_bytes = 1 << 40
        if not self.cluster.node(name).is_running:
            self.cluster.restart(name)

    def _calm(self) -> None:
        self.cluster.heal()
        self.cluster.degrade(Conditions())
        for name in self.names:
            self._revive(name)
        # What was scheduled to be undone later may only undo more.

    # The end.

    def _compare(self) -> None:
        """All members of a group become equal, and its clients' histories make sense."""
        end = self.world.now + CALM_S
        while (wrong := self._unequal()) and self.world.now < end and not self.world.failures:
            self.world.run_for(0.5)
        if wrong:
            self.world.fail("no calm after the storm", wrong)
            return
        for group in GROUPS:
            leader = next(name for name in self.names if self._leads(name, group))
            ledger = self.lives[leader].ledgers[group].entries
            if wrong := judge(self.histories[group], ledger):
                self.world.fail("history", f"{group}: {wrong}")

    def _leads(self, name: str, group: str) -> bool:
        member = self._member(name, group) if name in self.cluster.running else None
        return member is not None and member.is_leader

    def _unequal(self) -> str:
        """What is not settled yet: who leads, or whose ledger lags."""
        for group in GROUPS:
            leaders = [name for name in self.names if self._leads(name, group)]
            if len(leaders) != 1:
                return f"{group}: led by {leaders}"
            ledger = self.lives[leaders[0]].ledgers[group].entries
            member = self._member(leaders[0], group)
            assert member is not None
            for name in member.voters:
                if self.lives[name].ledgers[group].entries != ledger:
                    return f"{group}: {leaders[0]} and {name} differ"
        return ""


async def _succeeds(doing: Awaitable[object]) -> bool:
    try:
        await doing
    except RaftError:
        return False
    return True


async def _rumour(life: RaftNode, about: str) -> None:
    life.groups.evidence(about, suspected=True)


def _play(world: World, nodes: int) -> Tally:
    return Play(world, nodes).run()


RAFT = Scenario("raft", "Raft groups through crashes, cuts, bad disks and changes", 4, _play)
