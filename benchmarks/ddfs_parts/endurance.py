"""Appends while everything goes wrong: real daemons, each with a network of its own (needs root).

Many clients append to many tags, and read them, each one operation at a time. Meanwhile daemons
are killed and started again, minorities are cut off in both directions or in one, a node joins,
and nodes are drained and taken back, which are changes of the layout's epoch. When enough appends
were acknowledged everything is healed, and every tag's history is judged: nothing acknowledged may
be missing, nothing may be there twice, and what each client saw must agree with one order, and that
with the clock. The harness is that of `peerdisco simulate real`.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from peerdisco.client.cluster import Cluster
from peerdisco.errors import PeerdiscoError
from peerdisco_sim.linearizability import NEVER
from peerdisco_sim.list_append import Append, Read, judge
from peerdisco_sim.real.abilities import Abilities, find_abilities
from peerdisco_sim.real.cluster import RealCluster, open_cluster
from peerdisco_sim.real.daemons import Daemon
from peerdisco_sim.real.namespaces import run_inside
from peerdisco_webui.upkeep_messages import LayoutAction, LayoutRequest

NODES = 5
CLIENTS = 32
TAGS_AT_A_TIME = 24
APPENDS_PER_TAG = 200
READ_SHARE = 0.05
GAP_S, LASTS_S = (1.0, 3.0), (2.0, 5.0)
SETTLE_S_MAX = 120.0
DRAIN_EVERY_S = 20.0

Say = Callable[[str], None]


@dataclass(slots=True)
class _Tag:
    """What clients did to one tag and saw of it."""

    name: str
    appends: list[Append] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)


@dataclass(slots=True)
class Endured:
    """What came of it.

    Attributes:
        acked: Appends that were acknowledged.
        unknown: Appends that brought no answer.
        reads: Answered.
        lost: Acknowledged, and not there.
        doubled: There more often than once.
        wrong: Tags whose history is not linearizable, with the reason.
        faults: Inflicted, by kind.
        tags: Whose histories were judged.
        epochs: Changes of the layout.
        seconds: Of appending.
    """

    acked: int = 0
    unknown: int = 0
    reads: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    tags: int = 0
    epochs: int = 0
    seconds: float = 0.0


def endure(appends: int, seed: int, say: Say) -> Endured | None:
    """Have so many appends acknowledged under faults; None where networks cannot be cut."""
    abilities = find_abilities()
    if abilities.no_network:
        say(f"endurance: left out, since networks cannot be cut here: {abilities.no_network}")
        return None
    # Ordinary directories: the disks that can lose power hold too little for this.
    with open_cluster(Abilities("", "not asked for")) as cluster:
        return run_inside(cluster.client_wire, lambda: _Storm(cluster, appends, seed).run())


class _Storm:
    """One run in one open cluster."""

    def __init__(self, cluster: RealCluster, appends: int, seed: int) -> None:
        self._cluster = cluster
        self._wanted = appends
        self._seed = seed
        self._draws = random.Random(seed)
        self._endured = Endured()
        self._tags: list[_Tag] = []
        self._open: list[_Tag] = []
        self._lock = threading.Lock()

    def run(self) -> Endured:
        """From the first start to the verdict."""
        self._cluster.start(NODES)
        self._cluster.wait_settled()
        rest = self._cluster.rest()
        _wait(lambda: len(rest.layout().nodes) == NODES and not rest.layout().moving)
        before = rest.layout().epoch
        threads = [
            threading.Thread(target=self._append, args=(number,)) for number in range(CLIENTS)
        ]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        self._torment(rest)
        for thread in threads:
            thread.join()
        self._endured.seconds = time.monotonic() - began
        self._heal()
        self._endured.epochs = rest.layout().epoch - before
        for tag in self._tags:
            self._judge(rest, tag)
        return self._endured

    # -- what clients do ----------------------------------------------------------------------

    def _append(self, client: int) -> None:
        rest = self._cluster.rest(first=client)
        draws = random.Random(f"{self._seed}/{client}")
        number = 0
        while self._endured.acked < self._wanted:
            number += 1
            tag = self._draw_tag(draws)
            if draws.random() < READ_SHARE:
                self._read(rest, tag)
            else:
                self._append_once(rest, tag, f"raw://{client}-{number}")

    def _draw_tag(self, draws: random.Random) -> _Tag:
        """One of a few tags; those that had enough appends make room for new ones."""
        with self._lock:
            self._open = [tag for tag in self._open if len(tag.appends) < APPENDS_PER_TAG]
            while len(self._open) < TAGS_AT_A_TIME:
                tag = _Tag(f"endure:{len(self._tags):05}")
                self._tags.append(tag)
                self._open.append(tag)
            return draws.choice(self._open)

    def _append_once(self, rest: Cluster, tag: _Tag, value: str) -> None:
        call, end = time.monotonic(), NEVER
        try:
            rest.append(tag.name, [[value]], brief=True)
            end = time.monotonic()
        except PeerdiscoError:
            pass  # nobody knows
        with self._lock:
            tag.appends.append(Append(call, end, (value,)))
            self._endured.acked += end != NEVER
            self._endured.unknown += end == NEVER

    def _read(self, rest: Cluster, tag: _Tag) -> None:
        call = time.monotonic()
        try:
            values = _values(rest, tag.name)
        except PeerdiscoError:
            return
        with self._lock:
            tag.reads.append(Read(call, time.monotonic(), values))
            self._endured.reads += 1

    # -- what befalls them --------------------------------------------------------------------

    def _torment(self, rest: Cluster) -> None:
        """One fault after the other until enough appends are acknowledged."""
        kinds = {"kill": self._kill, "partition": self._partition, "one way": self._one_way}
        self._cluster.add()
        self._endured.faults["join"] += 1
        drained, next_change = "", time.monotonic() + DRAIN_EVERY_S
        while self._endured.acked < self._wanted:
            if time.monotonic() >= next_change:
                next_change = time.monotonic() + DRAIN_EVERY_S
                drained = self._change_layout(rest, drained)
            kind = self._draws.choice(list(kinds))
            self._endured.faults[kind] += 1
            kinds[kind](self._draws.uniform(*LASTS_S))
            time.sleep(self._draws.uniform(*GAP_S))

    def _change_layout(self, rest: Cluster, drained: str) -> str:
        """Take back what was drained, else drain a node; who is drained now."""
        action = LayoutAction.ADD if drained else LayoutAction.DRAIN
        node = drained or self._draws.choice(list(self._cluster.daemons)[:NODES])
        try:
            rest.change_layout(LayoutRequest(action=action, node=node))
        except PeerdiscoError:  # too many handovers are under way, or nobody answers
            self._endured.faults[f"refused {action}"] += 1
            return drained
        self._endured.faults[str(action)] += 1
        return "" if drained else node

    def _kill(self, seconds: float) -> None:
        victim = self._draws.choice(list(self._cluster.daemons.values()))
        victim.kill()
        time.sleep(seconds)
        victim.start()

    def _partition(self, seconds: float) -> None:
        minority, majority = self._split()
        self._cut(majority, minority)
        self._cut(minority, majority)
        self._mend(seconds)

    def _one_way(self, seconds: float) -> None:
        minority, majority = self._split()
        deaf, others = self._draws.sample([minority, majority], 2)
        self._cut(deaf, others)
        self._mend(seconds)

    def _split(self) -> tuple[list[Daemon], list[Daemon]]:
        daemons = list(self._cluster.daemons.values())
        self._draws.shuffle(daemons)
        size = self._draws.randint(1, (len(daemons) - 1) // 2)
        return daemons[:size], daemons[size:]

    def _cut(self, deaf: list[Daemon], others: list[Daemon]) -> None:
        sources = [daemon.wire.address for daemon in others if daemon.wire is not None]
        for daemon in deaf:
            assert daemon.wire is not None
            daemon.wire.deafen(sources)

    def _mend(self, seconds: float) -> None:
        time.sleep(seconds)
        for daemon in self._cluster.daemons.values():
            assert daemon.wire is not None
            daemon.wire.heal()

    def _heal(self) -> None:
        """All nodes are up again and agree, so that every tag can be read."""
        for daemon in self._cluster.daemons.values():
            if not daemon.is_running:
                daemon.start()
        rest = self._cluster.rest()
        _wait(lambda: all(node.alive for node in rest.layout().nodes) and not rest.layout().moving)

    # -- what is said of it -------------------------------------------------------------------

    def _judge(self, rest: Cluster, tag: _Tag) -> None:
        if not tag.appends:
            return
        self._endured.tags += 1
        final = _values(rest, tag.name)
        there = Counter(final)
        acked = [append.values[0] for append in tag.appends if append.end != NEVER]
        self._endured.lost += sum(value not in there for value in acked)
        self._endured.doubled += sum(count - 1 for count in there.values())
        self._endured.wrong += [
            f"{tag.name}: {why}" for why in judge(tag.appends, tag.reads, final)
        ]


def _values(rest: Cluster, name: str) -> tuple[str, ...]:
    """The entries of a tag, oldest first."""
    return tuple(entry[0] for entry in reversed(rest.tag(name).urls))


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SETTLE_S_MAX
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"the cluster did not settle in {SETTLE_S_MAX:.0f} s")
        time.sleep(0.2)
